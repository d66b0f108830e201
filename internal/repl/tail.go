package repl

import (
	"errors"
	"runtime"

	"github.com/skeindb/skein/internal/rdb"
)

// Tail reads the stream of effects from a cut on, for someone who is no replica:
// a slot on its way to another node. It keeps what it has not read from being
// dropped, within the output limit of replicas.
type Tail struct {
	r    *Repl
	rd   *reader
	sent int
}

// ErrNotPrimary says that a replica has no effects of its own.
var ErrNotPrimary = errors.New("repl: not a primary")

// OpenTail makes a cut, as every snapshot begins with one, calls begin there and
// returns a reader of what comes after it. It makes a node whose effects nobody
// took so far log them. Not under slot locks.
func (r *Repl) OpenTail(begin func() error) (t *Tail, err error) {
	r.Cut(func(*rdb.ReplInfo) {
		if r.IsReplica() {
			err = ErrNotPrimary
			return
		}
		if err = begin(); err != nil {
			return
		}
		r.log.begin(r.o.Settings().BacklogSize)
		r.updateLogOn()
		r.log.mu.Lock()
		t = &Tail{r: r, rd: r.log.attach(r.log.off)}
		r.log.tails++
		r.log.mu.Unlock()
	})
	return t, err
}

// Next returns at most the next max bytes after those of the last call, which
// are done with; nil when there are none yet. ok is false once the stream is no
// longer to be had. Pieces end anywhere. The bytes are valid until the next call.
func (t *Tail) Next(max int64) (p []byte, ok bool) {
	p, ok = t.r.log.next(t.rd, t.sent)
	p = p[:min(int64(len(p)), max)]
	t.sent = len(p)
	if ok && p == nil {
		runtime.Gosched() // as for a replica's feed: let those who can run add first
	}
	return p, ok
}

// Wake tells, after Next returned nothing, that there is something.
func (t *Tail) Wake() <-chan struct{} { return t.rd.wake }

// Lag returns how many bytes are not read yet.
func (t *Tail) Lag() int64 {
	l := t.r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.rd.lost {
		return 0
	}
	return l.off - t.rd.cur.pos - int64(t.sent)
}

// Pos returns the offset behind the last bytes that Next returned, and End that
// of the stream.
func (t *Tail) Pos() int64 {
	l := t.r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.rd.cur.pos + int64(t.sent)
}

func (t *Tail) End() int64 { return t.r.log.Offset() }

// Close ends it.
func (t *Tail) Close() {
	t.r.log.detach(t.rd)
	t.r.log.mu.Lock()
	t.r.log.tails--
	t.r.log.mu.Unlock()
}

// tailed reports whether someone reads the stream through a Tail.
func (l *Log) tailed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tails > 0
}

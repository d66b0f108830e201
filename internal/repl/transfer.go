package repl

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/store"
)

// A transfer is one snapshot on its way to all replicas that waited for it.
// One goroutine walks the keyspace and hands pieces of the file to a queue per
// replica; the feed of each sends them. A full queue makes the walk wait, never
// a writer. A replica that does not take bytes for long is dropped by the tick,
// which lets the walk go on. What a replica sees:
//
//	+FULLRESYNC <id> <offset>\r\n         at the cut
//	$EOF:<mark>\r\n <RDB> <mark>          mark: 40 random bytes
//	... stream from offset on             once it has acknowledged the offset
//
// A replica without "capa eof", or any with repl-diskless-sync no, gets
// $<size>\r\n <RDB> and the stream at once; its file is spooled first.
type transfer struct {
	r     *Repl
	mark  string
	eof   []*peer // sent as it is made
	sized []*peer // sent when it is complete
	spool Spool
	size  atomic.Int64  // bytes given to the replicas' queues
	users atomic.Int32  // of spool; the last one closes it
	done  chan struct{} // the file is complete, or err says why not
	err   error

	snap    *store.Snapshot
	c       *rdb.Collector
	in, out flow // of c and of size; guarded by Repl.mu
	free    chan *piece
}

// piece is a part of the file that several queues share.
type piece struct {
	buf  []byte
	uses atomic.Int32 // queues and feeds that still need it
}

// take returns an empty piece for n queues.
func (t *transfer) take(n int) *piece {
	var k *piece
	select {
	case k = <-t.free:
	default:
		k = &piece{buf: make([]byte, 0, chunkSize)}
	}
	k.uses.Store(int32(n))
	return k
}

// drop says that a queue needs k no more.
func (t *transfer) drop(k *piece) {
	if k.uses.Add(-1) == 0 {
		k.buf = k.buf[:0]
		select {
		case t.free <- k:
		default:
		}
	}
}

const (
	chunkSize  = 64 << 10
	chunkQueue = 256 // chunks, 16 MB unsent per replica at most
	busyRetry  = 20 * time.Millisecond
)

var errNoReplica = errors.New("repl: the last waiting replica is gone")

// requestFull puts a replica on the list for the next snapshot.
func (r *Repl) requestFull(p *peer) {
	now := time.Now()
	p.ackAt.Store(now.UnixNano())
	p.sentAt.Store(now.UnixNano())
	r.mu.Lock()
	p.state, p.asked, p.nudged = peerWaitStart, now, now
	ok := r.addLocked(p)
	if ok && !r.syncing {
		r.syncing = true
		r.wg.Go(r.makeSnapshots)
	}
	r.mu.Unlock()
	if !ok {
		p.close()
		return
	}
	select {
	case r.syncKick <- struct{}{}:
	default:
	}
}

// makeSnapshots makes one snapshot after the other while replicas wait.
func (r *Repl) makeSnapshots() {
	for {
		s := r.o.Settings()
		r.mu.Lock()
		var first time.Time
		waiting := 0
		for _, p := range r.peers {
			if p.state == peerWaitStart {
				if waiting++; waiting == 1 || p.asked.Before(first) {
					first = p.asked
				}
			}
		}
		if waiting == 0 || r.ctx.Err() != nil {
			r.syncing = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		if left := time.Until(first.Add(s.DisklessDelay)); left > 0 && (s.DisklessMax == 0 || waiting < s.DisklessMax) {
			if waiting == 1 {
				r.slog.Info("Delay next BGSAVE for diskless SYNC")
			}
			r.pause(left)
			continue
		}
		if errors.Is(r.makeSnapshot(&s), store.ErrSnapshotRunning) {
			r.pause(busyRetry)
		}
	}
}

// pause waits for a time, a new replica, or the end.
func (r *Repl) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.syncKick:
	case <-r.ctx.Done():
	}
}

// makeSnapshot makes one and sends it. ErrSnapshotRunning: not now.
func (r *Repl) makeSnapshot(s *Settings) error {
	turn := r.e.Store.SnapshotTurn()
	turn.Lock()
	defer turn.Unlock()
	t := &transfer{r: r, done: make(chan struct{}), free: make(chan *piece, chunkQueue)}
	var mark [20]byte
	rand.Read(mark[:])
	t.mark = hex.EncodeToString(mark[:])

	var snap *store.Snapshot
	var c *rdb.Collector
	var at *rdb.ReplInfo
	var states string
	var err error
	r.Cut(func(*rdb.ReplInfo) {
		if f := r.follower.Load(); f != nil && f.linkState() != linkConnected {
			err = errClosed // the data set may be half of one
			return
		}
		c = rdb.NewCollector(r.e.Store, rdb.RecordOptions{Compress: s.Compress, Second: uint32(r.e.Now() / 1000)})
		if snap, err = r.e.Store.BeginSnapshot(c); err != nil {
			return
		}
		r.log.begin(s.BacklogSize)
		r.updateLogOn()
		at = r.SaveInfo()
		r.log.reselect()
		if r.o.Functions != nil {
			c.Functions = r.o.Functions()
		}
		if r.o.SaveDelay != nil {
			c.KeyDelay = func() time.Duration {
				if r.ctx.Err() != nil || t.abandoned() {
					return 0
				}
				return r.o.SaveDelay()
			}
		}
		r.cuts.Add(1) // before the states are read: see Confirm
		if r.o.SlotStates != nil {
			states = r.o.SlotStates()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range r.peers {
			if p.state != peerWaitStart {
				continue
			}
			p.state, p.cutAt = peerWaitEnd, time.Now()
			p.sentAt.Store(p.cutAt.UnixNano())
			p.ackOff.Store(at.Offset)
			r.log.mu.Lock()
			p.reader = r.log.attach(at.Offset)
			r.log.mu.Unlock()
			if p.eof && (s.Diskless || r.o.NewSpool == nil) {
				p.chunks = make(chan *piece, chunkQueue)
				t.eof = append(t.eof, p)
			} else {
				t.sized = append(t.sized, p)
			}
		}
	})
	if errors.Is(err, store.ErrSnapshotRunning) {
		return err
	}
	if err == nil {
		r.mu.Lock()
		t.snap, t.c, r.sending = snap, c, t
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			r.sending = nil
			r.mu.Unlock()
		}()
	}
	if err != nil {
		r.refuseWaiting()
		return err
	}
	// From here the log keeps what these replicas will need.
	if len(t.sized) > 0 {
		if t.spool, err = r.o.NewSpool(); err != nil {
			r.slog.Warn("Can't make a file for the snapshot of a full sync", "err", err)
			for _, p := range t.sized {
				p.close()
			}
			t.spool, t.sized = nil, nil
		}
	}
	t.users.Store(1)
	defer t.release()
	r.slog.Info("Background RDB transfer started by pid " + strconv.Itoa(os.Getpid()))
	for _, p := range append(append([]*peer{}, t.eof...), t.sized...) {
		rd := p.takeReader()
		if rd == nil {
			continue // gone already
		}
		t.users.Add(1)
		r.wg.Go(func() {
			defer t.release()
			defer p.close()
			defer r.log.detach(rd)
			t.serve(p, rd, at)
		})
	}
	err = t.write(snap, c, at, states, s)
	t.err = err
	close(t.done)
	for _, p := range t.eof {
		close(p.chunks)
	}
	if err != nil {
		if errors.Is(err, errNoReplica) {
			r.slog.Warn("Diskless rdb transfer, last replica dropped, killing fork child.")
		} else {
			r.slog.Warn("Background RDB transfer failed", "err", err)
		}
		return nil
	}
	up := 0
	for _, p := range t.eof {
		select {
		case <-p.gone:
		default:
			up++
		}
	}
	r.slog.Info(fmt.Sprintf("Diskless rdb transfer, done reading from pipe, %d replicas still up.", up))
	r.slog.Info("Background RDB transfer terminated with success", "keys", c.Keys(), "bytes", t.size.Load(), "replicas", len(t.eof)+len(t.sized))
	return nil
}

// heldLocked returns the bytes of the snapshot under way that are encoded and not
// in a queue yet; r.mu is held.
func (r *Repl) heldLocked() int64 {
	if r.sending == nil {
		return 0
	}
	return max(r.sending.c.Bytes()-r.sending.size.Load(), 0)
}

// snapshotHeld returns the bytes of the snapshot under way that wait to be sent.
func (r *Repl) snapshotHeld() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	queued := 0
	for _, p := range r.peers {
		queued = max(queued, len(p.chunks))
	}
	return r.heldLocked() + int64(queued)*chunkSize
}

// takeReader returns the place in the stream of a peer that is still there.
func (p *peer) takeReader() *reader {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.fed = p.reader != nil
	return p.reader
}

// release ends one use of the spool.
func (t *transfer) release() {
	if t.users.Add(-1) == 0 && t.spool != nil {
		t.spool.Close()
	}
}

// refuseWaiting tells replicas that no snapshot can be made, and hangs up.
func (r *Repl) refuseWaiting() {
	for _, p := range r.allPeers() {
		r.mu.Lock()
		waits := p.state == peerWaitStart
		r.mu.Unlock()
		if waits {
			p.conn.Write([]byte("-ERR BGSAVE failed, replication can't continue\r\n"))
			p.close()
		}
	}
}

// abandoned reports whether all replicas that the snapshot is for are gone.
func (t *transfer) abandoned() bool {
	for _, list := range [][]*peer{t.eof, t.sized} {
		for _, p := range list {
			select {
			case <-p.gone:
			default:
				return false
			}
		}
	}
	return true
}

// write makes the file.
func (t *transfer) write(snap *store.Snapshot, c *rdb.Collector, at *rdb.ReplInfo, states string, s *Settings) error {
	w := rdb.NewWriter(t, rdb.WriterOptions{Version: c.Version(), Compress: s.Compress, Checksum: s.Checksum})
	info := rdb.Info{ServerVersion: engine.Version, CreatedSec: time.Now().Unix(), SlotStates: states, Repl: at}
	if t.r.o.UsedMemory != nil {
		info.UsedMemory = t.r.o.UsedMemory()
	}
	if err := c.Write(snap, w, &info); err != nil {
		return err
	}
	return w.Close()
}

// Write hands a piece of the file to the replicas; it waits for the slowest.
func (t *transfer) Write(b []byte) (n int, err error) {
	n = len(b)
	if t.spool != nil {
		if _, err := t.spool.Write(b); err != nil {
			return 0, err
		}
	}
	for len(b) > 0 {
		chunk := t.take(len(t.eof))
		chunk.buf = append(chunk.buf, b[:min(len(b), chunkSize)]...)
		size := int64(len(chunk.buf))
		b = b[size:]
		alive := t.spool != nil
		for _, p := range t.eof {
			select {
			case <-p.gone:
				t.drop(chunk)
				continue
			default:
			}
			select {
			case p.chunks <- chunk:
				alive = true
			case <-p.gone:
				t.drop(chunk)
			}
		}
		t.size.Add(size)
		if !alive {
			return 0, errNoReplica
		}
		if t.r.ctx.Err() != nil {
			return 0, errClosed
		}
	}
	return n, nil
}

// serve is the feed of one replica: snapshot, then stream.
func (t *transfer) serve(p *peer, rd *reader, at *rdb.ReplInfo) {
	if p.psync && p.write([]byte("+FULLRESYNC "+at.ID+" "+strconv.FormatInt(at.Offset, 10)+"\r\n")) != nil {
		return
	}
	var ok bool
	if p.chunks != nil {
		ok = t.sendEOF(p)
	} else {
		ok = t.sendSized(p)
	}
	if !ok {
		return
	}
	if p.rdbOnly {
		t.r.slog.Info("RDB transfer completed, rdb only replica will be closed", "replica", p.name())
		return
	}
	p.online()
	if p.chunks != nil {
		// The mark must be the last thing that the replica reads for now.
		select {
		case <-p.acked:
		case <-p.gone:
			return
		}
	}
	t.r.slog.Info("Synchronization with replica " + p.name() + " succeeded")
	p.feed(rd)
}

func (p *peer) online() {
	now := time.Now()
	p.ackAt.Store(now.UnixNano())
	p.r.mu.Lock()
	p.state, p.onlineAt, p.loading = peerOnline, now, p.psync
	p.r.mu.Unlock()
}

// write sends b and notes that the replica took it.
func (p *peer) write(b []byte) error {
	err := p.conn.Write(b)
	p.sentAt.Store(time.Now().UnixNano())
	return err
}

func (t *transfer) sendEOF(p *peer) bool {
	select { // what the replica said before the mark acknowledges nothing
	case <-p.acked:
	default:
	}
	if p.write([]byte("$EOF:"+t.mark+"\r\n")) != nil {
		return false
	}
	for chunk := range p.chunks {
		err := p.write(chunk.buf)
		t.drop(chunk)
		if err != nil {
			return false
		}
	}
	<-t.done
	return t.err == nil && p.write([]byte(t.mark)) == nil
}

func (t *transfer) sendSized(p *peer) bool {
	select {
	case <-t.done:
	case <-p.gone:
		return false
	}
	if t.err != nil {
		return false
	}
	p.sentAt.Store(time.Now().UnixNano())
	size := t.size.Load()
	p.r.mu.Lock()
	p.state, p.bulk = peerSendBulk, size
	p.r.mu.Unlock()
	if p.write([]byte("$"+strconv.FormatInt(size, 10)+"\r\n")) != nil {
		return false
	}
	buf := make([]byte, chunkSize)
	for off := int64(0); off < size; {
		n, err := t.spool.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n == 0 && err != nil && err != io.EOF {
			t.r.slog.Warn("Read error sending the snapshot to a replica", "err", err)
			return false
		}
		if n == 0 || p.write(buf[:n]) != nil {
			return false
		}
		off += int64(n)
		p.bulkSent.Store(off)
	}
	return true
}

// sendFiltered gives a client that wants no keys the rest of a snapshot.
func (r *Repl) sendFiltered(p *peer) {
	r.mu.Lock()
	want := p.wantFunctions
	r.mu.Unlock()
	t := &transfer{r: r, mark: newID(), done: make(chan struct{})}
	var functions [][]byte
	if want && r.o.Functions != nil {
		functions = r.o.Functions()
	}
	r.wg.Go(func() {
		defer p.close()
		var b bytes.Buffer
		w := rdb.NewWriter(&b, rdb.WriterOptions{Checksum: true})
		w.Info(&rdb.Info{ServerVersion: engine.Version, CreatedSec: time.Now().Unix()})
		for _, f := range functions {
			w.Function(f)
		}
		if w.Close() != nil || p.write([]byte("$EOF:"+t.mark+"\r\n")) != nil || p.write(b.Bytes()) != nil || p.write([]byte(t.mark)) != nil {
			return
		}
		<-p.gone // the client has what it came for and hangs up
	})
}

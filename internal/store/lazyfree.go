package store

import (
	"sync"
	"sync/atomic"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/mem"
)

// lazyElements is the size of a collection above which its memory is freed in
// the background (64 in Redis, lazyfree).
const lazyElements = 64

// inPlaceElements is the size up to which a collection may be freed in place: some
// 20 ms, for which its slot is locked. Larger ones always go to the background.
const inPlaceElements = 1 << 18

// lazyQueue bounds the jobs that wait; beyond it the caller frees in place.
const lazyQueue = 1024

type lazyJob struct {
	a     ds.Arena
	enc   Encoding
	hdr   []byte // a copy
	slots []slot
}

// lazyFreer frees detached memory in one goroutine.
type lazyFreer struct {
	st      *Store
	jobs    chan lazyJob
	wg      sync.WaitGroup
	pending atomic.Int64 // objects queued and not yet freed
	freed   atomic.Int64
}

func (l *lazyFreer) start(st *Store) {
	l.st = st
	l.jobs = make(chan lazyJob, lazyQueue)
	l.wg.Add(1)
	go func() {
		defer l.wg.Done()
		for j := range l.jobs {
			n := l.run(j)
			l.pending.Add(int64(-n))
			l.freed.Add(int64(n))
		}
	}()
}

func (l *lazyFreer) stop() {
	close(l.jobs)
	l.wg.Wait()
}

// LazyfreePending and Lazyfreed count objects waiting to be freed in the
// background, and freed there.
func (st *Store) LazyfreePending() int64 { return st.lazy.pending.Load() }
func (st *Store) Lazyfreed() int64       { return st.lazy.freed.Load() }

// SetLazyDelete says where Delete frees the memory of big values
// (lazyfree-lazy-server-del).
func (st *Store) SetLazyDelete(background bool) { st.lazyDelete.Store(background) }

// ResetLazyfreed sets the count of Lazyfreed to zero.
func (st *Store) ResetLazyfreed() { st.lazy.freed.Store(0) }

// free releases what an encoding owns, in the background if that is much and if
// asked, or if it is very much; hdr is only read.
func (l *lazyFreer) free(a ds.Arena, enc Encoding, hdr []byte, background bool) {
	if n := elements(a, enc, hdr); n > lazyElements && (background || n > inPlaceElements) {
		j := lazyJob{a: a, enc: enc, hdr: append([]byte(nil), hdr...)}
		l.pending.Add(1)
		select {
		case l.jobs <- j:
			return
		default:
			l.pending.Add(-1)
		}
	}
	freeOwned(a, enc, hdr)
}

// freeSlots releases whole slot dictionaries with their records.
func (l *lazyFreer) freeSlots(slots []slot, async bool) {
	j := lazyJob{slots: slots}
	if async {
		n := 0
		for i := range slots {
			n += slots[i].dict.Len()
		}
		l.pending.Add(int64(n))
		l.jobs <- j
		return
	}
	l.run(j)
}

func (l *lazyFreer) run(j lazyJob) (objects int) {
	if j.slots == nil {
		freeOwned(j.a, j.enc, j.hdr)
		return 1
	}
	h := l.st.Heap
	for i := range j.slots {
		d := &j.slots[i].dict
		n := d.Len()
		if n == 0 {
			continue
		}
		objects += n
		a := l.st.arena(uint16(i))
		for pos := uint64(0); ; {
			pos = d.Scan(h, pos, func(ref mem.Ref, _ bool) {
				var o Obj
				o.open(&DB{st: l.st}, uint16(i), 0, ref)
				freeOwned(a, o.Encoding(), o.Bytes())
				h.Free(a.Shard, ref, mem.Records)
			})
			if pos == 0 {
				break
			}
		}
		d.Free(a)
	}
	return objects
}

func elements(a ds.Arena, enc Encoding, hdr []byte) int {
	switch enc {
	case Hashtable:
		return ds.OpenTable(a, hdr).Len()
	case Quicklist:
		return ds.OpenQuicklist(a, hdr).Len()
	case Skiplist:
		return ds.OpenZSet(a, hdr).Len()
	case StreamTree:
		return ds.OpenStream(a, hdr).Len()
	case HashtableTTL:
		return ds.OpenTTLTable(a, hdr).Len()
	}
	return 0
}

func freeOwned(a ds.Arena, enc Encoding, hdr []byte) {
	switch enc {
	case Hashtable:
		ds.OpenTable(a, hdr).Free()
	case Quicklist:
		ds.OpenQuicklist(a, hdr).Free()
	case Skiplist:
		ds.OpenZSet(a, hdr).Free()
	case StreamTree:
		ds.OpenStream(a, hdr).Free()
	case HashtableTTL:
		ds.OpenTTLTable(a, hdr).Free()
	}
}

//go:build linux && (amd64 || arm64)

package uring

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// The layouts and numbers are those of linux/io_uring.h.

// sqe is an entry of the submission queue.
type sqe struct {
	opcode   uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	off      uint64
	addr     uint64
	len      uint32
	msgFlags uint32
	userData uint64 // index of the Op
	_        [3]uint64
}

// cqe is an entry of the completion queue; res is a count or a negated errno.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

type params struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, wqFD uint32
	_                                                                  [3]uint32
	sq                                                                 struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		userAddr                                            uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		userAddr                                            uint64
	}
}

const (
	sysSetup = 425
	sysEnter = 426

	mapRings = 0
	mapSQEs  = 0x10000000

	featSingleMmap = 1 << 0
	enterGetEvents = 1 << 0

	opSend = 26
	opRecv = 27
)

// Ring is a pair of queues shared with the kernel. One goroutine uses it at a time.
type Ring struct {
	fd             int
	rings, sqesMem []byte

	sqHead, sqTail *uint32 // the kernel takes from head, we put at tail
	cqHead, cqTail *uint32 // the other way round
	sqMask, cqMask uint32
	sqes           []sqe
	cqes           []cqe
}

// New makes a ring that does up to entries transfers, a power of two, with one
// system call. It fails where the kernel has no io_uring or none of the kind that
// is needed, or a sandbox forbids it; what it needs it tries.
func New(entries int) (*Ring, error) {
	r, err := setup(entries)
	if err != nil {
		return nil, err
	}
	if err := r.try(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func setup(entries int) (*Ring, error) {
	var p params
	fd, _, e := syscall.Syscall(sysSetup, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
	if e != 0 {
		return nil, fmt.Errorf("uring: io_uring_setup: %w", e)
	}
	r := &Ring{fd: int(fd)}
	if p.features&featSingleMmap == 0 {
		r.Close()
		return nil, errors.New("uring: the kernel is too old")
	}
	size := max(int(p.sq.array+4*p.sqEntries), int(p.cq.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(cqe{})))
	var err error
	if r.rings, err = mapped(r.fd, mapRings, size); err == nil {
		r.sqesMem, err = mapped(r.fd, mapSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})))
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("uring: mmap: %w", err)
	}
	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[off])) }
	r.sqHead, r.sqTail, r.sqMask = word(p.sq.head), word(p.sq.tail), *word(p.sq.mask)
	r.cqHead, r.cqTail, r.cqMask = word(p.cq.head), word(p.cq.tail), *word(p.cq.mask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.sqesMem[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.rings[p.cq.cqes])), p.cqEntries)
	for i := range p.sqEntries { // the n-th place of the queue is the n-th entry
		*word(p.sq.array + 4*i) = i
	}
	return r, nil
}

func mapped(fd int, off int64, size int) ([]byte, error) {
	return syscall.Mmap(fd, off, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_POPULATE)
}

// try sends through a pair of sockets and receives, once more than was sent: the
// kernel must finish all three without waiting.
func (r *Ring) try() error {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("uring: socketpair: %w", err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	ops := []*Op{
		{FD: pair[0], Send: true, Buf: []byte("x")},
		{FD: pair[1], Buf: make([]byte, 8)},
		{FD: pair[1], Buf: make([]byte, 8)},
	}
	tail := r.queue(ops)
	_, _, e := syscall.RawSyscall6(sysEnter, uintptr(r.fd), uintptr(len(ops)), 0, 0, 0, 0)
	if done := r.harvest(ops); e != 0 || done != len(ops) || atomic.LoadUint32(r.sqHead) != tail {
		return fmt.Errorf("uring: io_uring_enter did %d of %d transfers: %w", done, len(ops), e)
	}
	if ops[0].N != 1 || ops[1].N != 1 || ops[2].Err != syscall.EAGAIN {
		return fmt.Errorf("uring: sockets are not served as needed: %d, %d, %v", ops[0].N, ops[1].N, ops[2].Err)
	}
	return nil
}

// Close gives the ring up; once more does nothing.
func (r *Ring) Close() {
	if r.fd < 0 {
		return
	}
	if r.rings != nil {
		syscall.Munmap(r.rings)
	}
	if r.sqesMem != nil {
		syscall.Munmap(r.sqesMem)
	}
	syscall.Close(r.fd)
	*r = Ring{fd: -1}
}

// Do runs ops in their order and returns how many of them it has run, all unless
// the error says why not; a closed ring runs none. It does not wait for any socket,
// and does not tell the scheduler of the system call: see netio's rawfd_linux.go. So
// it is for a number of transfers that take the kernel a fraction of a millisecond.
func (r *Ring) Do(ops []*Op) (n int, err error) {
	if r.fd < 0 {
		return 0, os.ErrClosed
	}
	for n < len(ops) {
		k, err := r.round(ops[n:min(n+len(r.sqes), len(ops))])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// round is Do for what fits in the queue.
func (r *Ring) round(ops []*Op) (n int, err error) {
	released()
	defer acquired()
	tail := r.queue(ops)
	for done := 0; ; {
		left := tail - atomic.LoadUint32(r.sqHead)
		var e syscall.Errno
		if left > 0 {
			_, _, e = syscall.RawSyscall6(sysEnter, uintptr(r.fd), uintptr(left), 0, 0, 0, 0)
		}
		done += r.harvest(ops)
		if done == len(ops) {
			return done, nil
		}
		now := tail - atomic.LoadUint32(r.sqHead)
		taken := len(ops) - int(now)
		for done < taken {
			// The kernel took a transfer and did not finish it; try has seen that it
			// does, but the buffer must not be left to it.
			if _, _, e := syscall.Syscall6(sysEnter, uintptr(r.fd), 0, 1, enterGetEvents, 0, 0); e != 0 && e != syscall.EINTR {
				panic(fmt.Sprintf("uring: io_uring_enter with %d transfers under way: %v", taken-done, e))
			}
			done += r.harvest(ops)
		}
		if now == left && e != syscall.EINTR { // not one step further: out of memory, or forbidden
			atomic.StoreUint32(r.sqTail, tail-now)
			return done, fmt.Errorf("uring: io_uring_enter: %w", e)
		}
	}
}

// queue puts ops, which fit, into the submission queue and returns its new end.
func (r *Ring) queue(ops []*Op) (tail uint32) {
	tail = *r.sqTail // written by us only
	for i, o := range ops {
		s := &r.sqes[tail&r.sqMask]
		*s = sqe{
			opcode:   opRecv,
			fd:       int32(o.FD),
			addr:     uint64(uintptr(unsafe.Pointer(unsafe.SliceData(o.Buf)))), // o keeps it alive
			len:      uint32(len(o.Buf)),
			msgFlags: syscall.MSG_DONTWAIT,
			userData: uint64(i),
		}
		if o.Send {
			s.opcode = opSend
			s.msgFlags |= syscall.MSG_NOSIGNAL
		}
		tail++
	}
	atomic.StoreUint32(r.sqTail, tail)
	return tail
}

// harvest takes the results that are there. The completion queue is twice as long as
// the other and empty between rounds, so it cannot overflow.
func (r *Ring) harvest(ops []*Op) (done int) {
	head := *r.cqHead // written by us only
	end := atomic.LoadUint32(r.cqTail)
	for ; head != end; head++ {
		c := &r.cqes[head&r.cqMask]
		o := ops[c.userData]
		o.N, o.Err = int(c.res), 0
		if c.res < 0 {
			o.N, o.Err = -1, syscall.Errno(-c.res)
		}
		done++
	}
	atomic.StoreUint32(r.cqHead, head)
	return done
}

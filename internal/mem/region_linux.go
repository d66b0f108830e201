//go:build linux && !race

package mem

import "golang.org/x/sys/unix"

const defaultReserve = maxRegion

// discardZeroes: discarded memory reads as zero.
const discardZeroes = true

// reserveBytes maps n bytes of zeros that take no memory until touched.
func reserveBytes(n int64) (b []byte, free func() error, err error) {
	b, err = unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, err
	}
	return b, func() error { return unix.Munmap(b) }, nil
}

// discard gives the pages of b back; they read as zero afterwards.
func discard(b []byte) {
	if err := unix.Madvise(b, unix.MADV_DONTNEED); err != nil {
		// Locked memory (mlockall) refuses. The pages stay with us, but they must
		// be as promised.
		clear(b)
	}
}

// adviseHuge asks for huge pages. A kernel without them refuses; nothing is lost.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }

// makeHuge turns an aligned block in small pages into a huge one, with its content. It
// fails when no huge page is free. That there is nothing to do, or the kernel
// (before 6.1) cannot, is as good as done.
func makeHuge(b []byte) bool {
	err := unix.Madvise(b, unix.MADV_COLLAPSE)
	return err == nil || err == unix.EINVAL
}

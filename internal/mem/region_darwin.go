//go:build darwin && !race

package mem

import "golang.org/x/sys/unix"

const defaultReserve = maxRegion

// discardZeroes: MADV_FREE keeps the content until the system wants the pages.
const discardZeroes = false

// reserveBytes maps n bytes of zeros that take no memory until touched.
func reserveBytes(n int64) (b []byte, free func() error, err error) {
	b, err = unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, err
	}
	return b, func() error { return unix.Munmap(b) }, nil
}

// discard lets the system have the pages of b. A refusal costs memory only.
func discard(b []byte) { _ = unix.Madvise(b, unix.MADV_FREE) }

func adviseHuge([]byte) {}

func makeHuge([]byte) bool { return true }

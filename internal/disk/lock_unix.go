//go:build unix

package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another open file holds the lock, in this process or in
// another one.
var ErrLocked = errors.New("locked by another server")

// Lock is an advisory lock (flock) on a file of its own. The system releases it
// when the process ends, however it ends.
//
// The file must never be replaced or removed while servers may start, because a
// lock belongs to the file and not to its name. nodes.conf is replaced on every
// save, so Lock verifies after locking that the name still leads to the locked
// file, and whoever replaces a locked file calls Relock.
type Lock struct {
	path string
	f    *os.File
}

// LockFile locks the file at path, which it creates if it is missing. It does
// not wait: errors.Is(err, ErrLocked) if another holds it.
func LockFile(path string) (*Lock, error) {
	for {
		f, err := lockOpen(path)
		if err != nil {
			return nil, err
		}
		same, err := sameFile(f, path)
		if err == nil && same {
			return &Lock{path: path, f: f}, nil
		}
		f.Close() // replaced or removed meanwhile: lock what stands there now
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("disk: lock: %w", err)
		}
	}
}

func lockOpen(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("disk: lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			err = ErrLocked
		}
		return nil, fmt.Errorf("disk: lock %s: %w", path, err)
	}
	return f, nil
}

func sameFile(f *os.File, path string) (bool, error) {
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return os.SameFile(held, named), nil
}

// Relock moves the lock to the file that now has the path, after it was
// replaced. The old lock is kept until the new one is held.
func (l *Lock) Relock() error {
	if same, err := sameFile(l.f, l.path); err == nil && same {
		return nil
	}
	f, err := lockOpen(l.path)
	if err != nil {
		return err
	}
	l.f.Close()
	l.f = f
	return nil
}

// Unlock releases the lock and leaves the file.
func (l *Lock) Unlock() error { return l.f.Close() }

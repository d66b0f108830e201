// Package disk is what survives: the seam through which everything that must
// outlive a crash reaches the file system (FS), files that are replaced as a
// whole (Replace), and the lock that keeps two servers out of one place (Lock).
//
// What stands in the files is for others to say: rdb for snapshots, cluster for
// nodes.conf, config for the configuration. Tests put disktest.FS behind the
// seam, which loses what a crash would lose and fails when told to.
//
// Read fs.go, replace.go, lock_unix.go, wait.go. An FS may be used by any goroutine, a
// File by one at a time.
package disk

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is the part of a file system that is used. Paths are those of the operating
// system. Errors carry operation and path as *fs.PathError does, and answer to
// errors.Is(err, fs.ErrNotExist).
type FS interface {
	// OpenFile opens with flags and, for a new file, permissions as os.OpenFile.
	OpenFile(path string, flag int, perm fs.FileMode) (File, error)
	// Rename gives a file another name, in place of one that had it. The change
	// is durable only after SyncDir.
	Rename(from, to string) error
	Remove(path string) error
	// MkdirAll makes a directory and those above it that are missing.
	MkdirAll(path string, perm fs.FileMode) error
	// ReadDir returns the names in a directory in order.
	ReadDir(path string) ([]string, error)
	// Stat returns the size of a file.
	Stat(path string) (size int64, err error)
	// SyncDir makes what was created, renamed and removed in a directory durable.
	SyncDir(path string) error
}

// File is an open file. Write may be partial only with an error.
type File interface {
	io.ReadWriteCloser
	io.ReaderAt
	io.Seeker
	// Sync makes all that was written durable.
	Sync() error
	// Truncate sets the length; the position of Write does not move.
	Truncate(size int64) error
	Name() string
}

// OS is the real file system.
type OS struct{}

var _ FS = OS{}

func (OS) OpenFile(path string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err // not a File that holds a nil *os.File
	}
	return osFile{f}, nil
}

func (OS) Remove(path string) error { return os.Remove(path) }

func (OS) Rename(from, to string) error {
	return wait(func() error { return os.Rename(from, to) })
}

func (OS) MkdirAll(path string, perm fs.FileMode) error { return os.MkdirAll(path, perm) }

func (OS) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (OS) Stat(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (OS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = wait(d.Sync)
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}

// Open opens a file for reading.
func Open(fsys FS, path string) (File, error) { return fsys.OpenFile(path, os.O_RDONLY, 0) }

// ReadFile returns a file's content.
func ReadFile(fsys FS, path string) ([]byte, error) {
	f, err := Open(fsys, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// dirOf returns the directory that holds path, "." for a bare name.
func dirOf(path string) string { return filepath.Dir(path) }

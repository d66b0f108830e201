package disk

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// Replacement is a new content for a file, written beside it. The file at the
// path is the old one until Commit succeeds and the new one after; a crash at
// any time leaves one of the two whole:
//
//	write temp | fsync temp | rename temp -> path | fsync directory
//
// Without sync the middle steps are left to the system, and a crash of the
// machine (not of the process) may leave anything.
type Replacement struct {
	fs   FS
	f    File
	path string
	temp string
	sync bool
}

// TempSuffix ends the names of files being written. What a crash left of them is
// overwritten by the next attempt.
const TempSuffix = ".tmp"

// Create starts to replace path, with temp in the same directory, or path +
// TempSuffix if temp is empty. Two replacements of one path at a time need
// different temps. End it with Commit or Abort.
func Create(fsys FS, path, temp string, sync bool) (*Replacement, error) {
	if temp == "" {
		temp = path + TempSuffix
	}
	f, err := fsys.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("disk: create: %w", err)
	}
	return &Replacement{fs: fsys, f: f, path: path, temp: temp, sync: sync}, nil
}

// Write adds to the new content, unbuffered.
func (r *Replacement) Write(p []byte) (int, error) {
	n, err := r.f.Write(p)
	if err != nil {
		err = fmt.Errorf("disk: write: %w", err)
	}
	return n, err
}

// Sync makes durable what was written so far, so that little is left to Commit.
func (r *Replacement) Sync() error {
	err := r.f.Sync()
	if err != nil {
		err = fmt.Errorf("disk: fsync: %w", err)
	}
	return err
}

// autoSync is how much Syncing writes between two fsyncs, so that the last one is
// short, and that of others on the same disk, too. Redis has the same figure.
const autoSync = 4 << 20

// Syncing returns a writer of the new content that syncs it now and then.
func (r *Replacement) Syncing() io.Writer { return &syncing{r: r} }

type syncing struct {
	r *Replacement
	n int
}

func (s *syncing) Write(p []byte) (int, error) {
	n, err := s.r.Write(p)
	if s.n += n; err == nil && s.n >= autoSync {
		s.n = 0
		err = s.r.Sync()
	}
	return n, err
}

// Commit puts the new content in place. After an error the old one may still be
// there or the new one; the file at the path is whole in both cases.
func (r *Replacement) Commit() error {
	if r.sync {
		if err := r.Sync(); err != nil {
			r.Abort()
			return err
		}
	}
	if err := r.f.Close(); err != nil {
		r.fs.Remove(r.temp)
		return fmt.Errorf("disk: close: %w", err)
	}
	if err := r.fs.Rename(r.temp, r.path); err != nil {
		r.fs.Remove(r.temp)
		return fmt.Errorf("disk: rename: %w", err)
	}
	if r.sync {
		if err := r.fs.SyncDir(dirOf(r.path)); err != nil {
			return fmt.Errorf("disk: fsync directory: %w", err)
		}
	}
	return nil
}

// Abort gives the new content up.
func (r *Replacement) Abort() {
	r.f.Close()
	r.fs.Remove(r.temp)
}

// AtomicReplace replaces the file at path by what write writes, through a
// buffer. With sync it is durable when AtomicReplace returns without error. If
// write fails the old file stays, and its error is returned as it is.
func AtomicReplace(fsys FS, path string, write func(io.Writer) error, sync bool) error {
	r, err := Create(fsys, path, "", sync)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(r, 64<<10)
	if err = write(b); err == nil {
		err = b.Flush()
	}
	if err != nil {
		r.Abort()
		return err
	}
	return r.Commit()
}

// AtomicWrite is AtomicReplace by given bytes.
func AtomicWrite(fsys FS, path string, content []byte, sync bool) error {
	return AtomicReplace(fsys, path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}, sync)
}

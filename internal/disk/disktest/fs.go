// Package disktest is a file system in memory for tests of what must survive.
// FS keeps, beside what programs see, what a disk would hold: Crash throws the
// rest away. It counts operations and fails or stops at the one it is told.
//
// The model is as strict as POSIX allows. Content is durable by File.Sync only;
// names by SyncDir only, and each without the other. What was not made durable
// may survive in part: of a file's unsynced writes any prefix, the last perhaps
// cut, or its end zeros; of a directory's unsynced changes any prefix. What a
// failed Sync was to make durable will not be, whatever a later Sync says: it is
// zeros after a crash.
package disktest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/skeindb/skein/internal/disk"
)

// ErrCrashed is what every operation returns once the machine has stopped, until
// Crash starts it again.
var ErrCrashed = errors.New("disktest: the machine has stopped")

// FS is the file system. The zero value is not usable; see New. Its methods may
// be called from any goroutine.
type FS struct {
	mu      sync.Mutex
	names   map[string]*inode // what programs see
	durable map[string]*inode // what the disk holds
	pending []nameChange      // made since the last SyncDir of their directories
	dirs    map[string]bool
	ops     int
	failAt  int
	failErr error
	fail    func(op, path string) error
	stopAt  int
	stopped bool
	gen     int // crashes so far; files opened before one are dead
}

// nameChange is one name leading to another file, nil for none.
type nameChange struct {
	dir, name string
	to        *inode
	group     int // the two halves of a rename happen together
}

type inode struct {
	data   []byte
	synced []byte
	writes []write // since the last Sync
	lost   []write // that a Sync failed to make durable
}

// write is a change of content: bytes at an offset, or a new length.
type write struct {
	off      int
	p        []byte
	truncate bool
}

var _ disk.FS = (*FS)(nil)

// New returns an empty file system with a root and a current directory.
func New() *FS {
	return &FS{names: map[string]*inode{}, durable: map[string]*inode{}, dirs: map[string]bool{"/": true, ".": true}}
}

// Ops returns how many changing operations (opening to write, write, truncate,
// sync, rename, remove, directory sync) have been made.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// FailAt makes the nth changing operation from now (1 is the next) return err.
// A write that fails has written half.
func (f *FS) FailAt(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.failErr = f.ops+n, err
}

// Fail makes each changing operation for which f returns an error fail with it; nil
// ends that. Operations are open, write, truncate, sync, rename, remove, syncdir.
func (f *FS) Fail(fail func(op, path string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// StopAt makes the machine stop just before the nth changing operation from now.
func (f *FS) StopAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopAt = f.ops + n
}

// Crash loses what was not durable, as rnd chooses, and starts the machine again.
// Files open before it are dead.
func (f *FS) Crash(rnd *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gen++
	f.stopped, f.stopAt, f.failAt, f.fail = false, 0, 0, nil
	for _, dir := range f.pendingDirs() {
		keep := rnd.IntN(len(f.pending) + 1)
		seen, group := 0, -1
		for _, c := range f.pending {
			if c.dir != dir {
				continue
			}
			if c.group != group {
				seen++
				group = c.group
			}
			if seen <= keep {
				set(f.durable, c.name, c.to)
			}
		}
	}
	f.pending = nil
	for _, name := range slices.Sorted(maps.Keys(f.durable)) {
		f.durable[name].crash(rnd)
	}
	f.names = maps.Clone(f.durable)
}

func (f *FS) pendingDirs() []string {
	var dirs []string
	for _, c := range f.pending {
		if !slices.Contains(dirs, c.dir) {
			dirs = append(dirs, c.dir)
		}
	}
	return dirs
}

// crash leaves the durable content and a random part of the writes after it.
func (n *inode) crash(rnd *rand.Rand) {
	data := slices.Clone(n.synced)
	keep := rnd.IntN(len(n.writes) + 1)
	for i, w := range n.writes[:keep] {
		if i == keep-1 && !w.truncate && len(w.p) > 0 {
			whole := len(w.p)
			w.p = slices.Clone(w.p[:rnd.IntN(len(w.p)+1)])
			if rnd.IntN(3) == 0 {
				w.p = append(w.p, make([]byte, whole-len(w.p))...)
			}
		}
		data = w.apply(data)
	}
	n.loseTo(data)
	n.data, n.synced, n.writes, n.lost = data, slices.Clone(data), nil, nil
}

// loseTo zeroes what a failed Sync has lost in data, which is n's or is to be.
func (n *inode) loseTo(data []byte) {
	for _, w := range n.lost {
		clear(data[min(w.off, len(data)):min(w.off+len(w.p), len(data))])
	}
}

func (w write) apply(data []byte) []byte {
	end := w.off + len(w.p)
	if w.truncate && end < len(data) {
		return data[:end]
	}
	if end > len(data) {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[w.off:], w.p)
	return data
}

func set(m map[string]*inode, name string, to *inode) {
	if to == nil {
		delete(m, name)
	} else {
		m[name] = to
	}
}

// step counts a changing operation and says whether it happens.
func (f *FS) step(op, path string) error {
	if f.stopped {
		return &fs.PathError{Op: op, Path: path, Err: ErrCrashed}
	}
	f.ops++
	switch f.ops {
	case f.stopAt:
		f.stopped = true
		return &fs.PathError{Op: op, Path: path, Err: ErrCrashed}
	case f.failAt:
		return &fs.PathError{Op: op, Path: path, Err: f.failErr}
	}
	if f.fail != nil {
		if err := f.fail(op, path); err != nil {
			return &fs.PathError{Op: op, Path: path, Err: err}
		}
	}
	return nil
}

func (f *FS) change(name string, to *inode) {
	set(f.names, name, to)
	f.pending = append(f.pending, nameChange{dir: filepath.Dir(name), name: name, to: to, group: f.ops})
}

func (f *FS) OpenFile(path string, flag int, perm fs.FileMode) (disk.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	fail := func(err error) (disk.File, error) { return nil, &fs.PathError{Op: "open", Path: path, Err: err} }
	if f.stopped {
		return fail(ErrCrashed)
	}
	if !f.dirs[filepath.Dir(path)] {
		return fail(fs.ErrNotExist)
	}
	n := f.names[path]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return fail(fs.ErrNotExist)
	case n != nil && flag&os.O_EXCL != 0:
		return fail(fs.ErrExist)
	}
	if n == nil || flag&os.O_TRUNC != 0 {
		if err := f.step("open", path); err != nil {
			return nil, err
		}
		if n == nil {
			n = &inode{}
			f.change(path, n)
		} else {
			n.write(write{truncate: true})
		}
	}
	return &file{fs: f, n: n, name: path, gen: f.gen, appends: flag&os.O_APPEND != 0}, nil
}

func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, to = filepath.Clean(from), filepath.Clean(to)
	if err := f.step("rename", from); err != nil {
		return err
	}
	n := f.names[from]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	if from != to {
		f.change(to, n)
		f.change(from, nil)
	}
	return nil
}

func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	if err := f.step("remove", path); err != nil {
		return err
	}
	if f.names[path] == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	f.change(path, nil)
	return nil
}

// MkdirAll makes directories, which are durable at once: no test here is about
// their loss.
func (f *FS) MkdirAll(path string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return &fs.PathError{Op: "mkdir", Path: path, Err: ErrCrashed}
	}
	for path = filepath.Clean(path); !f.dirs[path]; path = filepath.Dir(path) {
		f.dirs[path] = true
	}
	return nil
}

func (f *FS) ReadDir(path string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	if !f.dirs[path] {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: fs.ErrNotExist}
	}
	var names []string
	for name := range f.names {
		if filepath.Dir(name) == path {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (f *FS) Stat(path string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[filepath.Clean(path)]
	if n == nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return int64(len(n.data)), nil
}

func (f *FS) SyncDir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	if err := f.step("syncdir", path); err != nil {
		return err
	}
	f.pending = slices.DeleteFunc(f.pending, func(c nameChange) bool {
		if c.dir == path {
			set(f.durable, c.name, c.to)
		}
		return c.dir == path
	})
	return nil
}

func (n *inode) write(w write) {
	if w.truncate {
		n.lost = slices.DeleteFunc(n.lost, func(l write) bool { return l.off >= w.off })
	}
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
}

// file is an open file.
type file struct {
	fs      *FS
	n       *inode
	name    string
	gen     int
	off     int
	appends bool
	closed  bool
}

// enter takes the lock and says whether the file still lives.
func (h *file) enter(op string) error {
	h.fs.mu.Lock()
	switch {
	case h.closed:
		return &fs.PathError{Op: op, Path: h.name, Err: fs.ErrClosed}
	case h.gen != h.fs.gen || h.fs.stopped:
		return &fs.PathError{Op: op, Path: h.name, Err: ErrCrashed}
	}
	return nil
}

func (h *file) Name() string { return h.name }

func (h *file) Read(p []byte) (int, error) {
	err := h.enter("read")
	defer h.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := h.readAt(p, h.off)
	h.off += n
	if n > 0 {
		err = nil
	}
	return n, err
}

func (h *file) ReadAt(p []byte, off int64) (int, error) {
	err := h.enter("read")
	defer h.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return h.readAt(p, int(off))
}

func (h *file) readAt(p []byte, off int) (int, error) {
	n := copy(p, h.n.data[min(off, len(h.n.data)):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) Write(p []byte) (int, error) {
	err := h.enter("write")
	defer h.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	done := len(p)
	if err = h.fs.step("write", h.name); err != nil {
		if done /= 2; errors.Is(err, ErrCrashed) {
			done = 0
		}
	}
	if h.appends {
		h.off = len(h.n.data)
	}
	h.n.write(write{off: h.off, p: slices.Clone(p[:done])})
	h.off += done
	return done, err
}

func (h *file) Seek(offset int64, whence int) (int64, error) {
	err := h.enter("seek")
	defer h.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	switch whence {
	case io.SeekCurrent:
		offset += int64(h.off)
	case io.SeekEnd:
		offset += int64(len(h.n.data))
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek %s: before the start", h.name)
	}
	h.off = int(offset)
	return offset, nil
}

func (h *file) Truncate(size int64) error {
	err := h.enter("truncate")
	defer h.fs.mu.Unlock()
	if err != nil {
		return err
	}
	if err := h.fs.step("truncate", h.name); err != nil {
		return err
	}
	h.n.write(write{off: int(size), truncate: true})
	return nil
}

func (h *file) Sync() error {
	err := h.enter("sync")
	defer h.fs.mu.Unlock()
	if err != nil {
		return err
	}
	if err := h.fs.step("sync", h.name); err != nil {
		if !errors.Is(err, ErrCrashed) {
			for _, w := range h.n.writes {
				if !w.truncate {
					h.n.lost = append(h.n.lost, w)
				}
			}
		}
		return err
	}
	h.n.synced, h.n.writes = slices.Clone(h.n.data), nil
	h.n.loseTo(h.n.synced)
	return nil
}

func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return &fs.PathError{Op: "close", Path: h.name, Err: fs.ErrClosed}
	}
	h.closed = true
	return nil
}

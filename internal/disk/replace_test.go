package disk_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/disk/disktest"
)

const path = "data/nodes.conf"

var (
	oldContent = bytes.Repeat([]byte("old "), 30_000) // two buffers, so two writes
	newContent = bytes.Repeat([]byte("new!"), 50_000)
)

// world returns a file system where the old content is durable.
func world(t *testing.T) *disktest.FS {
	t.Helper()
	f := disktest.New()
	f.MkdirAll("data", 0o755)
	if err := disk.AtomicWrite(f, path, oldContent, true); err != nil {
		t.Fatal(err)
	}
	return f
}

// replace writes the new content in pieces, so that it takes several writes.
func replace(f disk.FS) error {
	return disk.AtomicReplace(f, path, func(w io.Writer) error {
		for p := newContent; len(p) > 0; p = p[1000:] {
			if _, err := w.Write(p[:1000]); err != nil {
				return err
			}
		}
		return nil
	}, true)
}

func content(t *testing.T, f disk.FS) []byte {
	t.Helper()
	b, err := disk.ReadFile(f, path)
	if err != nil {
		t.Fatalf("the file is gone: %v", err)
	}
	return b
}

// The machine stops before every operation of a replacement, and whatever subset
// of the unsynced survives, the file is the old or the new one, whole; and it is
// the new one once AtomicReplace has returned.
func TestReplaceSurvivesCrashes(t *testing.T) {
	for at := 1; ; at++ {
		finished := false
		outcomes := map[bool]int{}
		for seed := range uint64(15) {
			f := world(t)
			f.StopAt(at)
			err := replace(f)
			finished = err == nil
			if err != nil && !errors.Is(err, disktest.ErrCrashed) {
				t.Fatalf("stopped at %d: %v", at, err)
			}
			f.Crash(rand.New(rand.NewPCG(seed, uint64(at))))
			switch got := content(t, f); {
			case bytes.Equal(got, newContent):
				outcomes[true]++
			case bytes.Equal(got, oldContent) && !finished:
				outcomes[false]++
			default:
				t.Fatalf("stopped at %d, seed %d, finished %v: %d bytes, neither old nor new", at, seed, finished, len(got))
			}
			if err := replace(f); err != nil || !bytes.Equal(content(t, f), newContent) {
				t.Fatalf("stopped at %d, seed %d: the next attempt: %v", at, seed, err)
			}
		}
		if finished {
			if at < 7 {
				t.Errorf("a replacement took only %d operations", at-1)
			}
			return
		}
		if at == 1 && outcomes[true] > 0 {
			t.Error("the new content came from nowhere")
		}
	}
}

// The crash model has teeth: without sync some crash leaves a torn file.
func TestCrashTearsUnsynced(t *testing.T) {
	for seed := range uint64(200) {
		f := world(t)
		if err := disk.AtomicWrite(f, path, newContent, false); err != nil {
			t.Fatal(err)
		}
		f.Crash(rand.New(rand.NewPCG(seed, 0)))
		if got := content(t, f); !bytes.Equal(got, newContent) && !bytes.Equal(got, oldContent) {
			return
		}
	}
	t.Error("200 crashes without a torn file")
}

// An error at any operation is reported and leaves the old file or, from the
// rename on, the new one; no temporary file stays behind where it can be removed.
func TestReplaceFails(t *testing.T) {
	for at := 1; ; at++ {
		f := world(t)
		f.FailAt(at, syscall.ENOSPC)
		err := replace(f)
		got := content(t, f)
		if err == nil {
			if !bytes.Equal(got, newContent) {
				t.Error("no error and not the new content")
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), "disk: ") {
			t.Errorf("failed at %d: %v", at, err)
		}
		if !bytes.Equal(got, oldContent) && !strings.Contains(err.Error(), "fsync directory") {
			t.Errorf("failed at %d with %v: the old content is gone", at, err)
		}
		if names, _ := f.ReadDir("data"); len(names) != 1 {
			t.Errorf("failed at %d: files %q are left", at, names)
		}
	}
}

func TestReplaceByFailingWriter(t *testing.T) {
	f := world(t)
	broken := errors.New("broken")
	err := disk.AtomicReplace(f, path, func(w io.Writer) error {
		w.Write(newContent)
		return broken
	}, true)
	if err != broken || !bytes.Equal(content(t, f), oldContent) {
		t.Errorf("AtomicReplace = %v, want %v and the old content", err, broken)
	}
}

// The real file system behaves as the seam says.
func TestOS(t *testing.T) {
	var f disk.OS
	dir := filepath.Join(t.TempDir(), "a", "b")
	p := filepath.Join(dir, "file")
	if _, err := disk.Open(f, p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
	if err := f.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{oldContent, newContent, nil} {
		if err := disk.AtomicWrite(f, p, content, true); err != nil {
			t.Fatal(err)
		}
		got, err := disk.ReadFile(f, p)
		if size, serr := f.Stat(p); err != nil || serr != nil || !bytes.Equal(got, content) || size != int64(len(content)) {
			t.Errorf("read %d bytes (Stat says %d), %v, %v, want %d", len(got), size, err, serr, len(content))
		}
	}
	if names, err := f.ReadDir(dir); err != nil || len(names) != 1 || names[0] != "file" {
		t.Errorf("ReadDir = %q, %v", names, err)
	}
	if err := f.Rename(p, p+"2"); err != nil {
		t.Error(err)
	}
	if err := f.Remove(p + "2"); err != nil {
		t.Error(err)
	}
}

// A second server is kept out, in this process and in another one, also after
// the locked file was replaced; the end of the holder frees it.
func TestLock(t *testing.T) {
	p := filepath.Join(t.TempDir(), "nodes.conf")
	l, err := disk.LockFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.LockFile(p); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("second lock: %v, want %v", err, disk.ErrLocked)
	}
	if out, err := lockElsewhere(p); !strings.Contains(out, disk.ErrLocked.Error()) {
		t.Errorf("lock by another process: %q, %v", out, err)
	}
	if err := disk.AtomicWrite(disk.OS{}, p, newContent, false); err != nil {
		t.Fatal(err)
	}
	if err := l.Relock(); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.LockFile(p); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("second lock after a replacement: %v, want %v", err, disk.ErrLocked)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	if out, err := lockElsewhere(p); !strings.Contains(out, "locked it") {
		t.Errorf("lock by another process after the release: %q, %v", out, err)
	}
}

// lockElsewhere runs this test binary again to lock p and say what came of it.
func lockElsewhere(p string) (string, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockChild$", "-test.v")
	cmd.Env = append(os.Environ(), "DISK_LOCK_CHILD="+p)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestLockChild(t *testing.T) {
	p := os.Getenv("DISK_LOCK_CHILD")
	if p == "" {
		t.Skip("only as a child of TestLock")
	}
	if _, err := disk.LockFile(p); err != nil {
		t.Log(err)
		return
	}
	t.Log("locked it")
}

// Of what goes through Syncing, no more than 4 MB and a write are not durable.
func TestSyncing(t *testing.T) {
	f := world(t)
	syncs := 0
	f.Fail(func(op, _ string) error {
		if op == "sync" {
			syncs++
		}
		return nil
	})
	r, err := disk.Create(f, path, "", true)
	if err != nil {
		t.Fatal(err)
	}
	w := r.Syncing()
	piece := make([]byte, 64<<10)
	for i := 1; i <= 160; i++ { // 10 MB
		if n, err := w.Write(piece); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
		if want := i / 64; syncs != want {
			t.Fatalf("%d fsyncs after %d KB, want %d", syncs, i*64, want)
		}
	}
	f.Fail(func(op, _ string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	})
	for i := 161; i < 192; i++ {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(piece); !errors.Is(err, syscall.EIO) {
		t.Errorf("the write with a failing fsync: %v", err)
	}
	r.Abort()
}

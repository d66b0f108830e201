package disk

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A process with one processor has two while it waits for a disk, and as many as it
// should when the last wait has ended.
func TestSecondProcessor(t *testing.T) {
	if os.Getenv("GOMAXPROCS") != "" {
		t.Skip("GOMAXPROCS is set in the environment")
	}
	before := runtime.GOMAXPROCS(0) // -test.cpu may have set it
	runtime.SetDefaultGOMAXPROCS()
	normal := runtime.GOMAXPROCS(1)
	defer func() {
		second.allowed = false
		runtime.GOMAXPROCS(before)
	}()
	UseSecondProcessor()
	failed := errors.New("failed")
	if err := wait(func() error {
		if n := runtime.GOMAXPROCS(0); n != 2 {
			t.Errorf("%d processors during a wait, want 2", n)
		}
		return wait(func() error { return failed })
	}); err != failed {
		t.Errorf("wait returns %v, want the error of the call", err)
	}
	if second.lent || second.waiting != 0 {
		t.Errorf("after the waits: %d waiting, second processor %v", second.waiting, second.lent)
	}
	if n := runtime.GOMAXPROCS(1); n != normal {
		t.Errorf("%d processors after it, want %d", n, normal)
	}

	// A disk that answers at once gets none, until it is slow once.
	during := func(call time.Duration) (n int) {
		wait(func() error {
			n = runtime.GOMAXPROCS(0)
			time.Sleep(call)
			return nil
		})
		runtime.GOMAXPROCS(1)
		return n
	}
	second.last = 0
	if n := during(2 * worthSecond); n != 1 {
		t.Errorf("%d processors after a short wait, want 1", n)
	}
	if n := during(0); n != 2 {
		t.Errorf("%d processors after a long wait, want 2", n)
	}
}

// A file of the system keeps what it was given, as others do.
func TestOSFileSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := OS{}.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Sync of a closed file: %v", err)
	}
	if b, err := ReadFile(OS{}, path); err != nil || string(b) != "text" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

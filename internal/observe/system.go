package observe

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"syscall"
	"time"
)

// residentBytes is the resident memory of this process, 0 where /proc is not.
func residentBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}

// systemMemory is the memory of the machine, 0 if unknown.
func systemMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 || string(f[0]) != "MemTotal:" {
		return 0
	}
	kb, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return kb << 10
}

// cpuTimes are the processor times of this process.
func cpuTimes() (system, user time.Duration) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0, 0
	}
	return time.Duration(u.Stime.Nano()), time.Duration(u.Utime.Nano())
}

// osName is the system as uname tells it: "Linux 6.1.0 x86_64".
func osName() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	name := map[string]string{"linux": "Linux", "darwin": "Darwin", "freebsd": "FreeBSD"}[runtime.GOOS]
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	if name == "" {
		name = runtime.GOOS
	}
	if arch == "" {
		arch = runtime.GOARCH
	}
	if err != nil {
		return name + " " + arch
	}
	return name + " " + string(bytes.TrimSpace(release)) + " " + arch
}

// goMemory returns what Go's own heap holds live, and all that Go's runtime has
// from the system. Neither contains data of the keyspace.
func goMemory() (heap, total int64) {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	for i := range s {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0, 0
		}
	}
	return int64(s[0].Value.Uint64()), int64(s[1].Value.Uint64() - s[2].Value.Uint64())
}

// human is a size as INFO prints it for people.
func human(n int64) string {
	switch f := float64(n); {
	case n < 1<<10:
		return fmt.Sprintf("%dB", n)
	case n < 1<<20:
		return fmt.Sprintf("%.2fK", f/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.2fM", f/(1<<20))
	case n < 1<<40:
		return fmt.Sprintf("%.2fG", f/(1<<30))
	default:
		return fmt.Sprintf("%.2fT", f/(1<<40))
	}
}

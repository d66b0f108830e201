package server

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/skeindb/skein/internal/config"
)

// The environment variable that tells a daemon that it is one.
const daemonMark = "SKEIN_DAEMONIZED"

// isDaemon reports whether this process is what daemonize started.
func isDaemon() bool {
	_, yes := os.LookupEnv(daemonMark)
	return yes
}

// daemonize starts this program again in a session of its own, detached from
// the terminal; the caller exits. A Go program cannot fork. The new process
// gets the same arguments, and input, what was read from standard input, again.
func daemonize(input []byte) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("server: find own program: %w", err)
	}
	cmd := &exec.Cmd{Path: exe, Args: os.Args, Env: append(os.Environ(), daemonMark+"=1"), SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	w, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("server: pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := w.Write(input); err != nil {
		return fmt.Errorf("server: hand over standard input: %w", err)
	}
	return w.Close()
}

// supervision reports whether systemd or upstart watches this process and wants
// to hear from it.
func supervision(cfg *config.Config, log *slog.Logger) bool {
	mode := cfg.Supervised.Get()
	if mode == config.SupervisedAuto {
		switch {
		case os.Getenv("UPSTART_JOB") != "":
			mode = config.SupervisedUpstart
		case os.Getenv("NOTIFY_SOCKET") != "":
			mode = config.SupervisedSystemd
		default:
			return false
		}
	}
	switch mode {
	case config.SupervisedSystemd:
		if os.Getenv("NOTIFY_SOCKET") == "" {
			log.Warn("systemd supervision requested, but NOTIFY_SOCKET not found")
			return false
		}
		log.Info("supervised by systemd - you MUST set appropriate values for TimeoutStartSec and TimeoutStopSec in your service unit.")
		return true
	case config.SupervisedUpstart:
		if os.Getenv("UPSTART_JOB") == "" {
			log.Warn("upstart supervision requested, but UPSTART_JOB not found")
			return false
		}
		log.Info("supervised by upstart, will stop to signal readiness")
		os.Unsetenv("UPSTART_JOB")
		syscall.Kill(os.Getpid(), syscall.SIGSTOP) // expect stop: upstart continues us
		return true
	}
	return false
}

// notifySystemd sends a state to the service manager; without one it does
// nothing. A leading @ means an abstract socket, which package net knows too.
func notifySystemd(state string, supervised bool) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" || !supervised {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("server: notify systemd: %w", err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}

// Descriptors kept for everything but clients: files, listeners, the bus.
const reservedFiles = 32

// raiseFileLimit makes room for maxclients descriptors, or lowers maxclients to
// what the system grants.
func raiseFileLimit(cfg *config.Config, log *slog.Logger) {
	clients := cfg.MaxClients.Get()
	want := uint64(clients) + reservedFiles
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		log.Warn("Unable to obtain the current NOFILE limit, assuming 1024 and setting the max clients configuration accordingly.", "err", err)
		limit.Cur = 1024
	}
	if limit.Cur >= want {
		return
	}
	old := limit.Cur
	raised := syscall.Rlimit{Cur: want, Max: max(limit.Max, want)}
	err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised)
	if err != nil && limit.Max > old { // not root: as far as the hard limit goes
		raised = syscall.Rlimit{Cur: min(limit.Max, want), Max: limit.Max}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			limit.Cur = raised.Cur
		}
	}
	if err == nil {
		log.Info(fmt.Sprintf("Increased maximum number of open files to %d (it was originally set to %d).", want, old))
		return
	}
	fit := max(int64(limit.Cur)-reservedFiles, 1)
	log.Warn(fmt.Sprintf("You requested maxclients of %d requiring at least %d max file descriptors.", clients, want))
	log.Warn(fmt.Sprintf("Server can't set maximum open files to %d because of OS error: %s.", want, config.Strerror(err)))
	log.Warn(fmt.Sprintf("Current maximum open files is %d. maxclients has been reduced to %d to compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'.", limit.Cur, fit))
	if err := cfg.Assign("maxclients", strconv.FormatInt(fit, 10)); err != nil {
		panic(err)
	}
}

// checkSystem looks for settings that hurt this server; the result is the exit
// code. Fork-related ones of Redis do not matter: we never fork.
func checkSystem(out io.Writer) int {
	code := 0
	report := func(name string, bad bool, advice string) {
		if !bad {
			fmt.Fprintf(out, "[%s]...OK\n", name)
			return
		}
		fmt.Fprintf(out, "[%s]...WARNING:\n%s\n", name, advice)
		code = 1
	}
	word := func(path string) string {
		b, _ := os.ReadFile(path) // a system without the file has not the problem
		return strings.TrimSpace(string(b))
	}
	report("overcommit", word("/proc/sys/vm/overcommit_memory") == "2",
		"vm.overcommit_memory is 2 (strict): only a small address range can be reserved for data. Set it to 0 or 1, or set memory-reserve.")
	report("THP", strings.Contains(word("/sys/kernel/mm/transparent_hugepage/enabled"), "[always]"),
		"Transparent huge pages are always on: memory given back may stay resident. Use madvise: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
	somaxconn, err := strconv.Atoi(word("/proc/sys/net/core/somaxconn"))
	report("somaxconn", err == nil && somaxconn < 511,
		"net.core.somaxconn is below 511: bursts of new connections wait for a second or are refused.")
	return code
}

package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/logfmt"
)

const (
	Version = "0.1.0" // of Skein

	// RedisVersion is the version we claim to clients and tools, so that they
	// take the paths we implement.
	RedisVersion = "7.2.4"
)

// Main is the program skein-server: the arguments after the name, as
// redis-server takes them; the result is the exit code. It reads the
// configuration, turns the process into a server, and lets Run do the rest.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if code, done := information(args, stdout, stderr); done {
		return code
	}
	sink := logfmt.New(stdout)
	log := sink.Logger()

	cl := config.ParseCommandLine(args)
	var input []byte // kept for the daemon, which reads it again
	if cl.Stdin {
		log.Warn("Reading config from stdin")
		var err error
		if input, err = io.ReadAll(stdin); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
	}
	cfg := config.New()
	if err := newLoader().Load(cfg, cl, bytes.NewReader(input)); err != nil {
		var le *config.LoadError
		if errors.As(err, &le) {
			io.WriteString(stderr, le.Block(RedisVersion))
		} else {
			log.Warn(err.Error())
		}
		return 1
	}
	if err := startLog(cfg, sink); err != nil {
		le := config.LoadError{Reason: errors.New("Can't open the log file: " + config.Strerror(err))}
		io.WriteString(stderr, le.Block(RedisVersion))
		return 1
	}

	supervised := supervision(cfg, log)
	background := cfg.Daemonize.Get() && !supervised
	if background && !isDaemon() {
		if err := daemonize(input); err != nil {
			log.Warn("Can't daemonize", "err", err)
			return 1
		}
		return 0
	}
	log.Warn("oO0OoO0OoO0Oo Skein is starting oO0OoO0OoO0Oo")
	log.Warn(fmt.Sprintf("Skein version=%s, redis_version=%s, bits=64, commit=%s, pid=%d, just started", Version, RedisVersion, commit(), os.Getpid()))
	if len(args) == 0 {
		log.Warn("Warning: no config file specified, using the default config. In order to specify a config file use skein-server /path/to/redis.conf")
	} else {
		log.Warn("Configuration loaded")
	}

	if cfg.ACLFile.Get() != "" && len(cfg.Users) > 0 {
		log.Warn("The configuration has users and names an ACL file too: define users in one place, not in both")
		return 1
	}
	raiseFileLimit(cfg, log)
	disk.UseSecondProcessor()
	if background && cfg.PidFile.Get() == "" {
		if err := cfg.Assign("pidfile", "/var/run/redis.pid"); err != nil {
			panic(err)
		}
	}
	if path := cfg.PidFile.Get(); path != "" {
		path = cfg.Path(path)
		if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
			log.Warn("Failed to write PID file: " + config.Strerror(err))
		} else {
			defer os.Remove(path)
		}
	}

	sink.SetRole(logfmt.Primary)
	showLogo(cfg, log, stdout)
	node, err := New(cfg, log)
	if err == nil {
		defer catchSignals(log, node.Signal)()
		err = node.Run(context.Background(), func() {
			log.Warn("Server initialized")
			log.Info("Ready to accept connections")
			if err := notifySystemd("STATUS=Ready to accept connections\nREADY=1\n", supervised); err != nil {
				log.Warn("Can't tell systemd that the server is ready", "err", err)
			}
		})
	}
	if err != nil {
		log.Warn(err.Error())
		return 1
	}
	notifySystemd("STOPPING=1\n", supervised) // systemd sees the exit anyway
	log.Warn("Skein is now ready to exit, bye bye...")
	return 0
}

// information answers the arguments that start no server.
func information(args []string, stdout, stderr io.Writer) (code int, done bool) {
	if len(args) == 0 {
		return 0, false
	}
	for _, a := range args {
		if a == "--sentinel" {
			fmt.Fprintln(stderr, "skein: sentinel mode is not built in; a Skein cluster fails over by itself")
			return 1, true
		}
	}
	switch args[0] {
	case "-v", "--version":
		fmt.Fprintln(stdout, VersionLine())
	case "-h", "--help":
		io.WriteString(stdout, usage)
	case "--test-memory":
		fmt.Fprintln(stderr, "skein: --test-memory is not built in; use a memory tester that runs without an operating system")
		return 1, true
	case "--check-system":
		return checkSystem(stdout), true
	default:
		return 0, false
	}
	return 0, true
}

const usage = `Usage: skein-server [/path/to/redis.conf] [options] [-]
       skein-server -                    read the configuration from standard input
       skein-server -v | --version
       skein-server -h | --help
       skein-server --check-system       look for settings of the system that hurt

Options are directives of the configuration file with two dashes:
       skein-server --port 7777 --replicaof 127.0.0.1 8888
       skein-server /etc/redis.conf --loglevel verbose
       echo 'maxmemory 128mb' | skein-server -
`

// VersionLine is the one line of --version, in the form that tools parse.
func VersionLine() string {
	return fmt.Sprintf("Redis server v=%s sha=%.8s:0 malloc=skein-%s bits=64 build=%s", RedisVersion, commit(), Version, runtime.Version())
}

// commit is the revision this binary was built from.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 8 {
				return s.Value[:8]
			}
		}
	}
	return "00000000"
}

// newLoader judges the lines of a configuration file that name commands.
func newLoader() config.Loader {
	var names func(string) bool
	changed := make(map[string]bool) // by renames so far: lower case name -> exists
	exists := func(name string) bool {
		if names == nil { // most files rename nothing
			table := command.NewTable(engine.Specs(), datatypes.Specs())
			names = func(name string) bool { return table.ByName(name) != nil && !strings.Contains(name, "|") }
		}
		name = strings.ToLower(name)
		if is, ok := changed[name]; ok {
			return is
		}
		return names(name)
	}
	return config.Loader{Rename: func(from, to string) error {
		if !exists(from) {
			return errors.New("No such command in rename-command")
		}
		changed[strings.ToLower(from)] = false
		if to == "" {
			return nil
		}
		if exists(to) {
			return errors.New("Target command name already exists")
		}
		changed[strings.ToLower(to)] = true
		return nil
	}}
}

// startLog directs the log as configured and follows later changes.
func startLog(cfg *config.Config, sink *logfmt.Sink) error {
	if path := cfg.LogFile.Get(); path != "" {
		if err := sink.SetFile(cfg.Path(path)); err != nil {
			return err
		}
	}
	apply := func([]config.Change) error {
		levels := [...]slog.Level{
			config.LogDebug: logfmt.Debug, config.LogVerbose: logfmt.Verbose, config.LogNotice: logfmt.Notice,
			config.LogWarning: logfmt.Warning, config.LogNothing: logfmt.Nothing,
		}
		sink.SetLevel(levels[cfg.LogLevel.Get()])
		sink.SetFormat(logfmt.Format(cfg.LogFormat.Get()))
		sink.SetTimestamp(logfmt.Timestamp(cfg.LogTimestampFormat.Get()))
		return nil
	}
	cfg.OnChanges(apply, "loglevel", "log-format", "log-timestamp-format")
	return apply(nil)
}

// catchSignals tells stop, which reports whether a stop is under way already, of
// each SIGTERM and SIGINT; if it is, SIGINT ends the process at once. SIGHUP and
// SIGPIPE are ignored, SIGUSR1 is harmless: the log file is opened for every line.
// SIGQUIT keeps Go's goroutine dump.
func catchSignals(log *slog.Logger, stop func(os.Signal) (again bool)) (release func()) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	in := make(chan os.Signal, 4) // a person's signals; more in a moment say nothing new
	done := make(chan struct{})
	signal.Notify(in, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	go func() {
		defer close(done)
		for sig := range in {
			switch sig {
			case syscall.SIGUSR1:
				log.Info("Received SIGUSR1: the log file is opened anew for every line")
				continue
			case syscall.SIGINT:
				log.Warn("Received SIGINT scheduling shutdown...")
			default:
				log.Warn("Received SIGTERM scheduling shutdown...")
			}
			if stop(sig) && sig == syscall.SIGINT {
				log.Warn("You insist... exiting now.")
				os.Exit(1)
			}
		}
	}()
	return func() {
		signal.Stop(in)
		close(in)
		<-done
	}
}

// showLogo prints where the server is and who, as art if asked for or on a
// terminal. Test harnesses wait for " PID: <pid>" of the art.
func showLogo(cfg *config.Config, log *slog.Logger, stdout io.Writer) {
	mode, port := "standalone", cfg.Port.Get()
	if cfg.ClusterEnabled.Get() {
		mode = "cluster"
	}
	if port == 0 {
		port = cfg.TLSPort.Get()
	}
	onTerminal := cfg.LogFile.Get() == "" && isTerminal(stdout)
	if !cfg.AlwaysShowLogo.Get() && !onTerminal {
		log.Info(fmt.Sprintf("Running mode=%s, port=%d.", mode, port))
		return
	}
	art := fmt.Sprintf(`
      _        _
  ___| | _____(_)_ __
 / __| |/ / _ \ | '_ \     Skein %s, Redis %s (%s)
 \__ \   <  __/ | | | |    Running in %s mode
 |___/_|\_\___|_|_| |_|    Port: %d
                           PID: %d
`, Version, RedisVersion, commit(), mode, port, os.Getpid())
	log.Info("Welcome" + strings.TrimRight(art, "\n"))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && filepath.Clean(f.Name()) != os.DevNull
}

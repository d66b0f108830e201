package e2e

import (
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// feeder is a data file that comes as slowly as the test wants: a named pipe.
type feeder struct {
	pipe *os.File
	rest []byte
}

// feed makes the file of n a pipe that gives what file holds.
func feed(t *testing.T, n *proc.Node, file []byte) *feeder {
	t.Helper()
	path := n.Path("dump.rdb")
	os.Remove(path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0) // does not wait for the reader
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	return &feeder{pipe, file}
}

// give hands over the next bytes.
func (f *feeder) give(t *testing.T, n int) {
	t.Helper()
	n = min(n, len(f.rest))
	f.pipe.SetWriteDeadline(time.Now().Add(proc.Patience))
	if _, err := f.pipe.Write(f.rest[:n]); err != nil {
		t.Fatal(err)
	}
	f.rest = f.rest[n:]
}

// While a file is loaded INFO tells how far it is, commands that need the data are
// refused and others work; a shutdown, by signal or by command, ends the process at
// once and leaves the file alone, whatever it is told to save.
func TestLoading(t *testing.T) {
	n := proc.NewNode(t, proc.Skein(t))
	n.Start()
	n.Must("DEBUG", "POPULATE", 100000, "key", 64)
	n.Must("SAVE")
	n.Stop()
	file, err := os.ReadFile(n.Path("dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	half := func() *feeder {
		f := feed(t, n, file)
		n.Launch()
		f.give(t, len(file)/2)
		proc.Wait(t, proc.Patience, "a third of the file is loaded", func() string {
			text, err := n.Do("INFO", "persistence")
			if err != nil {
				return err.Error()
			}
			if loaded := loadedBytes(text); loaded < len(file)/3 {
				return strconv.Itoa(loaded) + " bytes of " + strconv.Itoa(len(file))
			}
			return ""
		})
		return f
	}

	before := time.Now().Unix()
	f := half()
	info := n.Info("persistence")
	for name, want := range map[string]string{"loading": "1", "async_loading": "0", "loading_total_bytes": "0"} {
		if info[name] != want {
			t.Errorf("%s:%s, want %s", name, info[name], want)
		}
	}
	number := func(name string) float64 {
		v, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			t.Errorf("%s:%s", name, info[name])
		}
		return v
	}
	if at := number("loading_start_time"); at < float64(before)-5 || at > float64(time.Now().Unix()) {
		t.Errorf("loading_start_time:%v", at)
	}
	if p, used := number("loading_loaded_perc"), number("loading_rdb_used_mem"); used < 1e6 || p < 1 || p > 99.99 {
		t.Errorf("loading_loaded_perc:%v with loading_rdb_used_mem:%v", p, used)
	}
	number("loading_eta_seconds")
	for _, cmd := range [][]any{{"GET", "key:1"}, {"SET", "a", "b"}, {"PING"}, {"DBSIZE"}, {"BGSAVE"}, {"SAVE"}, {"FLUSHALL"}} {
		if _, err := n.Do(cmd...); err == nil || err.Error() != "LOADING Redis is loading the dataset in memory" {
			t.Errorf("%v: %v", cmd, err)
		}
	}
	for _, cmd := range [][]any{{"CONFIG", "GET", "port"}, {"CONFIG", "SET", "loglevel", "verbose"}, {"CLIENT", "LIST"}, {"COMMAND", "COUNT"}, {"ROLE"}, {"TIME"}, {"LATENCY", "RESET"}} {
		if _, err := n.Do(cmd...); err != nil {
			t.Errorf("%v: %v", cmd, err)
		}
	}
	if _, err := n.Do("DEBUG", "RELOAD"); err == nil {
		t.Error("DEBUG RELOAD while loading saves a part of the data")
	}
	f.give(t, len(file))
	n.WaitReady()
	info = n.Info("persistence")
	if size := n.Text("DBSIZE"); size != "100000" || info["loading"] != "0" || info["rdb_last_load_keys_loaded"] != "100000" || info["loading_total_bytes"] != "" {
		t.Errorf("loaded: %s keys, %v", size, info)
	}
	n.Stop()

	for _, end := range []string{"SIGTERM", "SIGINT", "SHUTDOWN", "SHUTDOWN SAVE"} {
		f := half()
		switch end {
		case "SIGTERM":
			n.Signal(syscall.SIGTERM)
		case "SIGINT":
			n.Signal(syscall.SIGINT)
		default:
			conn, err := net.Dial("tcp", n.Addr()) // there will be no reply
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, end+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		proc.Wait(t, proc.Patience, end+" while loading ends the process", func() string {
			if !n.Running() {
				return ""
			}
			if len(f.rest) > 0 { // it looks after some hundred keys each
				f.pipe.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
				k, _ := f.pipe.Write(f.rest[:min(10000, len(f.rest))])
				f.rest = f.rest[k:]
			}
			return "it runs"
		})
		if code := n.Exit(); code != 0 {
			t.Errorf("%s while loading: exit code %d", end, code)
		}
		if st, err := os.Stat(n.Path("dump.rdb")); err != nil || st.Mode()&os.ModeNamedPipe == 0 {
			t.Errorf("%s while loading: the file was replaced: %v", end, err)
		}
	}

	// A damaged file ends the start, with the place and the reason.
	damaged := append([]byte{}, file...)
	damaged[len(damaged)-5] ^= 1
	os.Remove(n.Path("dump.rdb"))
	if err := os.WriteFile(n.Path("dump.rdb"), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	n.Launch()
	if code := n.Exit(); code != 1 {
		t.Errorf("a damaged file: exit code %d, want 1", code)
	}
	if want := "offset " + strconv.Itoa(len(file)) + ": checksum: wrong checksum"; !strings.Contains(n.Log(), want) {
		t.Errorf("the log does not say %q", want)
	}
}

// INFO tells of a load that comes from a primary too.
func TestLoadingFromPrimary(t *testing.T) {
	primary := proc.StartNode(t, proc.Skein(t))
	primary.Must("DEBUG", "POPULATE", 100000, "key", 64)
	replica := proc.StartNode(t, proc.Skein(t), "--repl-diskless-load", "on-empty-db")
	link := proc.NewLink(t, primary, 1<<20)
	replica.Must(link.Args()...)
	var last error
	proc.Wait(t, proc.Patience, "INFO of a replica that loads", func() string {
		info := replica.Info("persistence")
		if info["loading"] != "1" || info["loading_rdb_used_mem"] == "0" || info["loading_loaded_perc"] == "0.00" {
			return "loading:" + info["loading"]
		}
		_, last = replica.Do("GET", "key:1")
		return ""
	})
	if last == nil || !strings.HasPrefix(last.Error(), "LOADING ") {
		t.Errorf("GET while loading: %v", last)
	}
	link.SetRate(1 << 30)
	proc.WaitInStep(t, primary, replica)
	if info := replica.Info("persistence"); info["loading"] != "0" || info["rdb_last_load_keys_loaded"] != "100000" {
		t.Errorf("after the load: %v", info)
	}
}

func loadedBytes(info any) int {
	text, _ := info.(string)
	_, text, _ = strings.Cut(text, "loading_loaded_bytes:")
	text, _, _ = strings.Cut(text, "\r\n")
	n, _ := strconv.Atoi(text)
	return n
}

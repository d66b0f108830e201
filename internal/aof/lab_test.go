package aof_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/skeindb/skein/internal/aof"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/labtest"
	"github.com/skeindb/skein/internal/persist"
)

// lab is a node of the laboratory with an append-only file, in the directory "data"
// of some file system.
type lab struct {
	*labtest.Node
	aof *aof.AOF

	mu  sync.Mutex
	set aof.Settings

	running bool
}

var defaults = aof.Settings{Fsync: aof.EverySec, LoadTruncated: true, RDBPreamble: true, IncrementalFsync: true, GrowthPercent: 100, MinSize: 64 << 20}

// newLab makes a node whose log is off.
func newLab(t testing.TB, fsys disk.FS, dir string, change func(*aof.Settings)) *lab {
	t.Helper()
	l := onNode(labtest.New(t, fsys, 16<<20), fsys, dir, change)
	t.Cleanup(func() {
		if t.Failed() && l.running {
			t.Logf("the node said:\n%s", l.Log)
		}
		l.stop()
	})
	return l
}

// onNode gives a node a log, in the place of another if it had one, which is off.
func onNode(n *labtest.Node, fsys disk.FS, dir string, change func(*aof.Settings)) *lab {
	l := &lab{Node: n, set: defaults, running: true}
	if change != nil {
		change(&l.set)
	}
	l.aof = aof.New(aof.Options{
		Engine: l.E, Log: l.Slog, FS: fsys, Name: "appendonly.aof", DirName: "appendonlydir", Dir: func() string { return dir },
		Settings: func() aof.Settings { l.mu.Lock(); defer l.mu.Unlock(); return l.set },
		Attach: func(on bool) {
			if on {
				l.Repl.SetTap(l.aof.Append)
			} else {
				l.Repl.SetTap(nil)
			}
		},
		Snapshot: func(ctx context.Context, w io.Writer, compress bool, cut aof.Cut) error {
			return l.Saver.Snapshot(ctx, w, persist.SnapshotOptions{Compress: compress, Checksum: true, AOFBase: true, BeforeCut: cut.Before, AtCut: cut.At, AfterCut: cut.After})
		},
		Pending: 1 << 20, Loading: l.Saver.Loading, Saving: l.Saver.Running, Offset: l.Repl.Offset, Synced: l.Repl.Synced,
	})
	l.Serve(l.aof.Specs())
	l.E.EndTurn = l.aof.EndTurn
	return l
}

// open loads the log and starts.
func (l *lab) open() *lab {
	l.T.Helper()
	if err := l.aof.Open(); err != nil {
		l.T.Fatalf("Open: %v\n%s", err, l.Log)
	}
	l.aof.Start()
	return l
}

// stop ends the node as well as it can.
func (l *lab) stop() (err error) {
	if !l.running {
		return nil
	}
	l.running = false
	err = l.aof.Close()
	l.Close()
	l.aof = nil
	return err
}

func (l *lab) change(f func(*aof.Settings)) {
	l.mu.Lock()
	f(&l.set)
	l.mu.Unlock()
	l.aof.Refresh()
}

// info is a field of the log's INFO.
func (l *lab) info(field string) string {
	for line := range strings.SplitSeq(l.aof.Info(), "\r\n") {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return v
		}
	}
	return ""
}

// rewrite makes one and waits for its end.
func (l *lab) rewrite() {
	l.T.Helper()
	c := l.Client()
	if got := c.Do("BGREWRITEAOF"); got != "+Background append only file rewriting started" {
		l.T.Fatalf("BGREWRITEAOF: %q", got)
	}
	l.settled()
}

// settled waits until no rewrite is under way.
func (l *lab) settled() {
	l.T.Helper()
	labtest.Eventually(l.T, func() string {
		info := l.aof.Info()
		if resting(info) {
			return ""
		}
		return info
	})
}

// resting reports whether INFO, read once, shows no rewrite under way or to come.
func resting(info string) bool {
	return strings.Contains(info, "aof_rewrite_in_progress:0\r\n") && strings.Contains(info, "aof_rewrite_scheduled:0\r\n")
}

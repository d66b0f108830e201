package server

import (
	"context"
	"errors"
	"io"

	"github.com/skeindb/skein/internal/aof"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/persist"
)

// newAOF makes the node's append-only file, which is off.
func (s *Server) newAOF() {
	c := s.Config
	s.aof = aof.New(aof.Options{
		Engine: s.engine, Log: s.Log, FS: disk.OS{}, Settings: s.aofSettings,
		Dir: func() string { return c.Path(".") }, Name: c.AppendFilename.Get(), DirName: c.AppendDirname.Get(),
		Attach: func(on bool) {
			if on {
				s.repl.SetTap(s.aof.Append)
			} else {
				s.repl.SetTap(nil)
			}
		},
		Snapshot: func(ctx context.Context, w io.Writer, compress bool, cut aof.Cut) error {
			return s.saver.Snapshot(ctx, w, persist.SnapshotOptions{Compress: compress, Checksum: c.RDBChecksum.Get(), AOFBase: true,
				BeforeCut: cut.Before, AtCut: cut.At, AfterCut: cut.After})
		},
		KeyDelay: s.Config.LoadDelay, LoadFunction: s.functions.LoadFile, ClearFunctions: s.functions.Clear,
		Loading: s.saver.Loading, Saving: s.saver.Running, Offset: s.repl.Offset, Synced: s.repl.Synced,
	})
	s.engine.EndTurn = func(by *engine.Session, wrote bool) bool {
		ok := s.aof.EndTurn(by, wrote)
		if wrote {
			s.repl.Pace(by)
		}
		return ok
	}
	c.OnChanges(func([]config.Change) error { s.aof.Refresh(); return nil }, "appendfsync", "no-appendfsync-on-rewrite", "aof-timestamp-enabled")
	c.OnChanges(func([]config.Change) error {
		if !c.AppendOnly.Get() {
			s.aof.SwitchOff()
			return nil
		}
		if err := s.aof.SwitchOn(); err != nil {
			s.Log.Warn("Can't begin an append-only file", "err", err)
			return errors.New("Unable to turn on AOF. Check server logs.")
		}
		return nil
	}, "appendonly")
}

func (s *Server) aofSettings() aof.Settings {
	c := s.Config
	return aof.Settings{
		Fsync:            map[config.FsyncPolicy]aof.Fsync{config.FsyncAlways: aof.Always, config.FsyncEverySec: aof.EverySec, config.FsyncNo: aof.Never}[c.AppendFsync.Get()],
		NoFsyncOnRewrite: c.NoAppendfsyncOnRewrite.Get(), LoadTruncated: c.AOFLoadTruncated.Get(), Timestamps: c.AOFTimestampEnabled.Get(),
		SkipModules: c.SkipModules(), AnyVersion: c.AnyRDBVersion(),
		RDBPreamble: c.AOFUseRDBPreamble.Get(), IncrementalFsync: c.AOFRewriteIncrementalFsync.Get(), KeepHistory: c.AOFDisableAutoGC.Get(),
		GrowthPercent: c.AutoAOFRewritePercentage.Get(), MinSize: c.AutoAOFRewriteMinSize.Get(), Compress: c.RDBCompression.Get(),
	}
}

// openAOF fills the node from its append-only file. A snapshot beside it is not
// looked at, as everywhere.
func (s *Server) openAOF() error {
	if _, err := (disk.OS{}).Stat(s.saver.Path()); err == nil && !s.aof.Exists() {
		s.Log.Warn("appendonly is on and there is no append-only file: starting empty, " + s.saver.Path() + " is not loaded. " +
			"To take its data over, start with appendonly no and then CONFIG SET appendonly yes")
	}
	return s.aof.Open()
}

// resumeAOF begins the append-only file anew, if there is to be one, after the data
// set was replaced.
func (s *Server) resumeAOF() {
	if !s.Config.AppendOnly.Get() {
		return
	}
	if err := s.aof.SwitchOn(); err != nil {
		s.Log.Warn("Can't begin an append-only file", "err", err)
	}
}

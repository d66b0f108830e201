package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/skeindb/skein/internal/admin"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
)

// ending is how the node is brought down by SHUTDOWN or a signal: writes wait, the
// replicas get what they lack, what has to be is saved, and only then the node stops.
// If something cannot be saved it goes on as before, unless that was to be forced.
type ending struct {
	mu     sync.Mutex
	under  bool // one is under way
	abort  context.CancelFunc
	failed []func() // to be told if it fails; each once
}

// An exitOrder is the cause of a stop that was ordered; what had to be saved is saved.
type exitOrder struct{}

func (exitOrder) Error() string { return "server: ordered to stop" }

// ackPoll is how often replicas that lag behind a node that ends are looked at.
const ackPoll = 10 * time.Millisecond

// shutdown begins to bring the node down and returns at once; failed, which may be
// nil, is called if it goes on. One at a time: who asks while one is under way waits
// for its outcome. again reports that.
func (s *Server) shutdown(how admin.Shutdown, failed func()) (again bool) {
	e := &s.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	if failed != nil {
		e.failed = append(e.failed, failed)
	}
	if e.under {
		return true
	}
	ctx, abort := context.WithCancel(s.ctx)
	e.under, e.abort = true, abort
	go func() {
		defer abort()
		if err := s.bringDown(ctx, how); err != nil {
			s.Log.Warn(err.Error())
			s.repl.HoldStream(false)
			s.engine.Unpause("shutdown")
			e.mu.Lock()
			tell := e.failed
			e.under, e.abort, e.failed = false, nil, nil
			e.mu.Unlock()
			for _, f := range tell {
				f()
			}
			return
		}
		s.stop(exitOrder{})
	}()
	return false
}

// abortShutdown ends a shutdown that waits for replicas, and reports whether there
// was one.
func (s *Server) abortShutdown() bool {
	e := &s.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.abort == nil {
		return false
	}
	e.abort()
	e.abort = nil
	return true
}

var (
	errAborted  = errors.New("Shutdown manually aborted.")
	errCantExit = errors.New("Errors trying to shut down the server. Check the logs for more information.")
)

// bringDown does what has to be done before the node may stop; an error says that it
// must not. The end of ctx aborts the wait for replicas.
func (s *Server) bringDown(ctx context.Context, how admin.Shutdown) error {
	if s.engine.Gate(engine.GateLoading) {
		return nil // what is loaded so far must not replace what is on disk
	}
	s.engine.Pause("shutdown", 1<<62, false)
	s.repl.HoldStream(true) // what is written by a primary, too
	if timeout := time.Duration(s.Config.ShutdownTimeout.Get()) * time.Second; !how.Now && timeout > 0 {
		if err := s.awaitReplicas(ctx, timeout); err != nil {
			return err
		}
	}
	s.ending.mu.Lock()
	aborted := s.ending.abort == nil
	s.ending.abort = nil // too late from here on
	s.ending.mu.Unlock()
	if aborted {
		return errAborted
	}
	in, of, lagging := s.repl.InSync()
	for _, l := range lagging {
		s.Log.Warn(fmt.Sprintf("Lagging replica %s reported offset %d behind master, lag=%d, state=online.", l.Name, l.Bytes, int(l.ACK.Seconds())))
	}
	if of > 0 {
		s.Log.Info(fmt.Sprintf("%d of %d replicas are in sync when shutting down.", in, of))
	}
	if how.Save || !how.NoSave && len(s.Config.Save.Get()) > 0 {
		s.saver.Stop() // a background save would be in the way
		s.Log.Info("Saving the final RDB snapshot before exiting.")
		if err := s.saver.Save(); err != nil {
			s.Log.Warn("Error trying to save the DB, can't exit.", "err", err)
			if !how.Force {
				return errCantExit
			}
		}
	}
	if s.aof.Enabled() {
		s.Log.Info("Calling fsync() on the AOF file.")
		if err := s.aof.Flush(); err != nil {
			s.Log.Warn("The append-only file is not durable, can't exit.", "err", err)
			if !how.Force {
				return errCantExit
			}
		}
	}
	return nil
}

// awaitReplicas waits until the replicas have all there is.
func (s *Server) awaitReplicas(ctx context.Context, timeout time.Duration) error {
	late := time.After(timeout)
	for told := false; ; told = true {
		if in, of, _ := s.repl.InSync(); in == of {
			return nil
		}
		if !told {
			s.Log.Info("Waiting for replicas before shutting down.")
			s.repl.AskAcks()
		}
		select {
		case <-ctx.Done():
			return errAborted
		case <-late:
			return nil
		case <-time.After(ackPoll):
		}
	}
}

// Signal brings the node down in the way that shutdown-on-sigterm or
// shutdown-on-sigint says. again reports that this is under way already.
func (s *Server) Signal(sig os.Signal) (again bool) {
	flags := s.Config.ShutdownOnSIGTERM.Get()
	if sig == syscall.SIGINT {
		flags = s.Config.ShutdownOnSIGINT.Get()
	}
	has := func(f config.ShutdownFlags) bool { return flags&f != 0 }
	return s.shutdown(admin.Shutdown{Save: has(config.ShutdownSave), NoSave: has(config.ShutdownNosave), Now: has(config.ShutdownNow), Force: has(config.ShutdownForce)}, nil)
}

// saveAtExit reports whether the data set is saved when the node stops for the
// given reason.
func (s *Server) saveAtExit(cause error) bool {
	return !errors.As(cause, new(exitOrder)) && !s.engine.Gate(engine.GateLoading) && len(s.Config.Save.Get()) > 0
}

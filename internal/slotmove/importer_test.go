package slotmove

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
)

// heldConn is a connection that keeps what is pushed.
type heldConn struct {
	engine.Conn
	mu  sync.Mutex
	out []byte
}

func (c *heldConn) Push(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, b...)
}
func (*heldConn) Kick() {}

// An import that waits for its node's replicas ends with the node at once. That they
// have not acknowledged is told after the long wait, not after the short one while the
// source's writers stand still: these go on then, and it waits for the replicas again.
func TestImportWaitsForReplicas(t *testing.T) {
	for _, tt := range []struct {
		name   string
		paused bool
		acked  bool
		close  bool
		told   bool
	}{
		{name: "the long wait ends without them", told: true},
		{name: "with them", acked: true},
		{name: "the short wait ends without them", paused: true},
		{name: "the node stops", close: true},
	} {
		var log bytes.Buffer
		env := &command.Env{}
		env.SetLimits(command.DefaultLimits())
		waits := make(chan time.Duration, 2)
		conn := &heldConn{}
		m := New(Options{
			Engine: engine.New(engine.Options{Env: env}), Slog: slog.New(slog.NewTextHandler(&log, nil)),
			Settings: func() Settings { return Settings{Silence: time.Minute, NodeTimeout: time.Minute, LogLen: 1} },
			AwaitReplicas: func(ctx context.Context, limit time.Duration) bool {
				waits <- limit
				if tt.close {
					<-ctx.Done()
				}
				return tt.acked || tt.paused && limit > time.Second
			},
		})
		i := &importer{m: m, s: m.o.Engine.Open(conn), conn: conn, name: "n"}
		i.i = NewImport(Job{Name: "n"}, m.limits(), m.now())
		m.imports = []*importer{i}
		i.step(Event{Kind: EvMsg, Msg: &Msg{Kind: MsgAck}})
		if tt.paused {
			i.i.State = WaitingForPaused
			i.step(Event{Kind: EvMsg, Msg: &Msg{Kind: MsgPaused}})
		} else {
			i.step(Event{Kind: EvMsg, Msg: &Msg{Kind: MsgEOF}})
		}
		if short := <-waits < time.Second; short != tt.paused {
			t.Errorf("%s: short %v", tt.name, short)
		}
		if tt.close {
			began := time.Now()
			if m.Close(); time.Since(began) > 2*time.Second {
				t.Errorf("%s: only after %v", tt.name, time.Since(began))
			}
		} else {
			m.wg.Wait()
		}
		words := strings.Join(strings.Fields(string(conn.out)), " ")
		if again := strings.Contains(words, "REQUEST-RESUME") && strings.HasSuffix(words, "REQUEST-PAUSE"); again != tt.paused {
			t.Errorf("%s: the source is told %q", tt.name, words)
		}
		if told := strings.Contains(log.String(), "Replicas have not acknowledged"); told != tt.told {
			t.Errorf("%s: told %v: %s", tt.name, told, log.String())
		}
	}
}

package engine_test

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// nullConn takes replies and drops them.
type nullConn struct{ bytes int }

func (c *nullConn) Write(b []byte) error    { c.bytes += len(b); return nil }
func (c *nullConn) Push(b []byte)           { c.bytes += len(b) }
func (c *nullConn) Kick()                   {}
func (c *nullConn) Close()                  {}
func (c *nullConn) RemoteAddr() string      { return "127.0.0.1:1" }
func (c *nullConn) LocalAddr() string       { return "127.0.0.1:2" }
func (c *nullConn) LocalIP() string         { return "127.0.0.1" }
func (c *nullConn) Unix() bool              { return false }
func (c *nullConn) TLS() bool               { return false }
func (c *nullConn) FD() int                 { return 3 }
func (c *nullConn) QueryBuffer() (int, int) { return 0, 0 }
func (c *nullConn) OutputPending() int      { return 0 }
func (c *nullConn) SetClass(engine.Class)   {}
func (c *nullConn) Created() time.Time      { return time.Time{} }

func benchEngine(b testing.TB, keys int) (*engine.Engine, *engine.Session) {
	h, err := mem.New(mem.Options{Shards: 8})
	if err != nil {
		b.Fatal(err)
	}
	st := store.New(h, 1)
	b.Cleanup(func() { st.Close(); h.Close() })
	env := &command.Env{}
	env.SetLimits(command.DefaultLimits())
	e := engine.New(engine.Options{Store: st, Env: env})
	e.SetTable(command.NewTable(engine.Specs(), datatypes.Specs()))
	s := e.Open(&nullConn{})
	var buf []byte
	val := make([]byte, 64)
	for i := 0; i < keys; i++ {
		buf = resp.AppendCommand(buf, []byte("SET"), fmt.Appendf(nil, "key:%012d", i), val)
		if len(buf) > 1<<16 || i == keys-1 {
			s.Feed(buf)
			buf = buf[:0]
		}
	}
	return e, s
}

// BenchmarkFeed runs pipelined commands on random ones of many keys, without
// sockets; an op is one command.
func BenchmarkFeed(b *testing.B) {
	const keys = 2_000_000
	_, s := benchEngine(b, keys)
	val := make([]byte, 64)
	for _, name := range []string{"GET", "SET"} {
		for _, pipeline := range []int{1, 16, 64} {
			rnd := rand.New(rand.NewSource(1))
			var batches [][]byte
			for i := 0; i < 4096; i++ {
				var buf []byte
				for j := 0; j < pipeline; j++ {
					key := fmt.Appendf(nil, "key:%012d", rnd.Intn(keys))
					if name == "GET" {
						buf = resp.AppendCommand(buf, []byte(name), key)
					} else {
						buf = resp.AppendCommand(buf, []byte(name), key, val)
					}
				}
				batches = append(batches, buf)
			}
			b.Run(fmt.Sprintf("%s/P%d", name, pipeline), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; i < b.N; i += pipeline {
					s.Feed(batches[i/pipeline%len(batches)])
				}
			})
		}
	}
}

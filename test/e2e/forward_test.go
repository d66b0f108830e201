package e2e

import (
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// forwarder is what a NAT does: a port that leads to another.
type forwarder struct {
	port  int
	conns atomic.Int64
}

// forward makes a loopback port that leads to another one, until the test ends.
func forward(t *testing.T, to int) *forwarder {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	f := &forwarder{port: ln.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(to)))
			if err != nil {
				in.Close()
				continue
			}
			f.conns.Add(1)
			for _, d := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					io.Copy(d[0], d[1])
					d[0].Close()
					d[1].Close()
				}()
			}
		}
	}()
	return f
}

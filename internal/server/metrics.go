package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serveMetrics serves /metrics and the status page on metrics-port, at the
// addresses of bind, until ctx ends. While protected mode guards the client port
// it guards this one too.
func (s *Server) serveMetrics(ctx context.Context) error {
	port := s.Config.MetricsPort.Get()
	if port == 0 {
		return nil
	}
	var lns []net.Listener
	closeAll := func() {
		for _, l := range lns {
			l.Close()
		}
	}
	for _, addr := range s.Config.Bind.Get() {
		host, optional := strings.CutPrefix(addr, "-")
		network := "tcp"
		switch host {
		case "*":
			host, network = "", "tcp4"
		case "::*":
			host, network = "", "tcp6"
		}
		l, err := net.Listen(network, net.JoinHostPort(host, strconv.FormatInt(port, 10)))
		if err != nil && optional {
			continue
		}
		if err != nil {
			closeAll()
			return fmt.Errorf("server: metrics-port: %w", err)
		}
		lns = append(lns, l)
	}
	handler := s.observer.Handler()
	web := &http.Server{ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.protected() && !loopback(r.RemoteAddr) {
				http.Error(w, "protected mode: only connections from this machine", http.StatusForbidden)
				return
			}
			handler.ServeHTTP(w, r)
		})}
	for _, l := range lns {
		s.wg.Go(func() {
			if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.Log.Warn("Metrics are no longer served", "err", err)
			}
		})
	}
	s.wg.Go(func() {
		<-ctx.Done()
		web.Close()
	})
	return nil
}

// protected reports whether only clients on this machine are let in.
func (s *Server) protected() bool {
	return s.Config.ProtectedMode.Get() && s.Config.RequirePass.Get() == ""
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/skeindb/skein/internal/netio"
)

// rueidis with its default options (RESP3, CLIENT TRACKING ON OPTIN, SETINFO)
// caches values and hears of changes, over real sockets.
func TestRueidisCachesValues(t *testing.T) {
	l := newLab(t)
	srv := netio.New(netio.Options{Open: func(c *netio.Conn) netio.Handler { return l.Open(c) }})
	group, err := srv.ListenTCP([]string{"127.0.0.1"}, 0, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	addr := group.Addrs()[0].String()
	dial := func() rueidis.Client {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	reader, writer := dial(), dial()
	defer reader.Close()
	defer writer.Close()
	set := func(v string) {
		t.Helper()
		if err := writer.Do(ctx, writer.B().Set().Key("k").Value(v).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	get := func() (string, bool) {
		t.Helper()
		r := reader.DoCache(ctx, reader.B().Get().Key("k").Cache(), time.Minute)
		v, err := r.ToString()
		if err != nil {
			t.Fatal(err)
		}
		return v, r.IsCacheHit()
	}
	set("1")
	if v, hit := get(); v != "1" || hit {
		t.Errorf("first read %q, from the cache %v", v, hit)
	}
	if v, hit := get(); v != "1" || !hit {
		t.Errorf("second read %q, from the cache %v", v, hit)
	}
	set("2")
	l.until("the change is seen", func() bool { v, _ := get(); return v == "2" })
	if v, hit := get(); v != "2" || !hit {
		t.Errorf("read %q, from the cache %v", v, hit)
	}
	names := 0
	for _, s := range l.Clients() {
		if s.Library() == "rueidis" {
			names++
		}
	}
	if names == 0 {
		t.Error("no client has told its library")
	}

	// Blocking commands and messages through the same client.
	go func() {
		writer.Do(ctx, writer.B().Rpush().Key("q").Element("x").Build())
		for {
			n, err := writer.Do(ctx, writer.B().Publish().Channel("ch").Message("hi").Build()).AsInt64()
			if err != nil || n > 0 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if v, err := reader.Do(ctx, reader.B().Blpop().Key("q").Timeout(5).Build()).AsStrSlice(); err != nil || len(v) != 2 || v[1] != "x" {
		t.Errorf("BLPOP: %q, %v", v, err)
	}
	got := make(chan string, 1)
	subCtx, stop := context.WithCancel(ctx)
	defer stop()
	go reader.Receive(subCtx, reader.B().Subscribe().Channel("ch").Build(), func(m rueidis.PubSubMessage) {
		select {
		case got <- m.Message:
		default:
		}
	})
	select {
	case m := <-got:
		if m != "hi" {
			t.Errorf("message %q", m)
		}
	case <-ctx.Done():
		t.Error("no message")
	}
}

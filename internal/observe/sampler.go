package observe

import (
	"sync"
	"time"
)

// Rates are averages over the last samples, one each 100 ms, as in Redis.
const samples = 16

// series is a counter looked at in intervals.
type series struct {
	last  int64
	rates [samples]float64 // per second
	n     int              // samples taken
}

func (s *series) add(now int64, since time.Duration) {
	s.rates[s.n%samples] = float64(max(now-s.last, 0)) / since.Seconds()
	s.last = now
	s.n++
}

// rate is the average per second.
func (s *series) rate() float64 {
	sum := 0.0
	for _, r := range s.rates {
		sum += r
	}
	return sum / samples
}

// sampler keeps the rates that INFO calls instantaneous.
type sampler struct {
	mu                                       sync.Mutex
	at                                       time.Time
	commands, netIn, netOut, replIn, replOut series
	rss                                      int64
}

// Tick takes a sample; the server's cron calls it ten times a second.
func (ob *Observer) Tick() {
	now := time.Now()
	used := ob.o.Heap.Used()
	for {
		peak := ob.peak.Load()
		if used <= peak || ob.peak.CompareAndSwap(peak, used) {
			break
		}
	}
	n, r := ob.rawNet(), ob.repl()
	commands := ob.o.Engine.Stats.Commands.Load()
	rss := residentBytes()
	s := &ob.sample
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rss = rss
	since := now.Sub(s.at)
	first := s.at.IsZero()
	s.at = now
	if since <= 0 {
		return
	}
	for _, x := range []struct {
		s   *series
		now int64
	}{{&s.commands, commands}, {&s.netIn, n.BytesIn}, {&s.netOut, n.BytesOut}, {&s.replIn, r.BytesIn}, {&s.replOut, r.BytesOut}} {
		if first {
			x.s.last = x.now
		} else {
			x.s.add(x.now, since)
		}
	}
}

func (s *sampler) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range []*series{&s.commands, &s.netIn, &s.netOut, &s.replIn, &s.replOut} {
		*x = series{last: x.last}
	}
	s.commands.last = 0
}

// rates is a copy of the present rates, per second.
type rates struct{ commands, netIn, netOut, replIn, replOut float64 }

func (s *sampler) rates() rates {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rates{s.commands.rate(), s.netIn.rate(), s.netOut.rate(), s.replIn.rate(), s.replOut.rate()}
}

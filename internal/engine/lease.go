package engine

import "math"

// A node of a cluster may be stopped (SIGSTOP, a suspended machine) for longer
// than the others wait for it. When it goes on, requests are in its sockets, and
// its clients run before the cluster's machine has noticed; what it would
// acknowledge now its successor does not have. So commands on slots run under a
// lease that the driver of the machine renews with every tick. A session reads it
// once a batch and compares it with the clock readings that it makes anyway.

// noLease is the lease of an engine that needs none.
const noLease = math.MaxInt64

// Until is the time from now, for RenewLease, until which millis pass.
func (e *Engine) Until(millis int64) int64 { return e.nanos() + millis*1e6 }

// RenewLease lets a primary serve its slots until the given time (Until), which
// never comes nearer. The caller has published what the cluster knows of this
// node. Any goroutine.
func (e *Engine) RenewLease(until int64) {
	for {
		old := e.lease.Load()
		if until <= old && old != noLease {
			return
		}
		if now := e.nanos(); now > old {
			e.wokeAt.Store(now) // before the lease, for napped
		}
		if e.lease.CompareAndSwap(old, until) {
			return
		}
	}
}

// EndLease lets this engine serve for ever, as before the first RenewLease.
func (e *Engine) EndLease() { e.lease.Store(noLease) }

// lapsed reports whether the lease has run out.
func (e *Engine) lapsed(now int64) bool { return now > e.lease.Load() }

// napped is called when the lease that the batch began with is over. It reports
// whether the node slept since then: whether the lease has run out, or had and
// was renewed. So it does when a slot that one of the commands that ran writes to was
// lost meanwhile: such a command has outlasted the time in which others take over.
// Otherwise lease is the present one.
func (s *Session) napped(began, now int64, lease *int64, ran []planned) bool {
	*lease = s.e.lease.Load()
	s.asleep = now > *lease
	return s.asleep || s.e.wokeAt.Load() > began || s.wrote && s.lostSince(began, ran)
}

package store

import (
	"math/rand/v2"
	"sync/atomic"
)

// The access field of a record, 24 bits, is one of two things, the same for all
// records of a store at a time:
//
//	| second of the last access, modulo 2^24 |       AccessClock, AccessIdle
//	| minute u16 (high) | uses u8 (low)      |       AccessUses
//
// uses grows with the logarithm of the number of accesses and falls by one for
// every decay period without any since minute, which is when it was last brought
// up to date. What a field holds is not rewritten when its meaning changes: old
// values then mislead eviction until the keys are used. Source: the description of
// eviction by frequency of use in the documentation of Redis.

// AccessKind says what the access field is.
type AccessKind uint8

const (
	AccessClock AccessKind = iota
	AccessIdle             // the clock, and eviction goes by it: files keep it
	AccessUses             // the counter; files keep it
)

// firstUses is the counter of a new key, so that it is not the first to go.
const firstUses = 5

// accessSettings may change at any time.
type accessSettings struct {
	kind      atomic.Uint32
	decay     atomic.Uint32 // minutes, 0: never
	logFactor atomic.Int64
}

// SetAccess says what the access fields are from now on. A counter that stands
// n above firstUses grows by an access with probability 1/(n*logFactor+1), and falls by
// one every decayMinutes (0: never). Any goroutine, any locks.
func (st *Store) SetAccess(kind AccessKind, logFactor, decayMinutes int64) {
	st.access.logFactor.Store(max(logFactor, 0))
	st.access.decay.Store(uint32(min(max(decayMinutes, 0), 1<<17)))
	st.access.kind.Store(uint32(kind))
}

// AccessKind tells what the access fields are.
func (st *Store) AccessKind() AccessKind { return AccessKind(st.access.kind.Load()) }

// firstAccess is the field of a key that is new at a second.
func (st *Store) firstAccess(second uint32) uint32 {
	if st.AccessKind() == AccessUses {
		return uses(second, firstUses)
	}
	return second
}

func uses(second uint32, n uint8) uint32 { return second/60<<8 | uint32(n) }

// Access returns the access field.
func (o *Obj) Access() uint32 {
	return uint32(o.rec[offAccess]) | uint32(o.rec[offAccess+1])<<8 | uint32(o.rec[offAccess+2])<<16
}

func (o *Obj) setAccess(v uint32) {
	o.rec[offAccess], o.rec[offAccess+1], o.rec[offAccess+2] = byte(v), byte(v>>8), byte(v>>16)
}

// Touch notes an access at the given second.
func (o *Obj) Touch(second uint32) {
	if o.db.st.AccessKind() == AccessUses {
		o.use(second)
		return
	}
	o.setAccess(second)
}

func (o *Obj) use(second uint32) {
	n := o.Uses(second)
	above := float64(n) - firstUses
	if n < 255 && rand.Float64()*(max(above, 0)*float64(o.db.st.access.logFactor.Load())+1) < 1 {
		n++
	}
	o.setAccess(uses(second, n))
}

// IdleSeconds returns the seconds since the last access; it means nothing with
// AccessUses.
func (o *Obj) IdleSeconds(second uint32) uint32 { return (second - o.Access()) & (1<<24 - 1) }

// Uses returns the counter of accesses as it is at the given second; it means
// something with AccessUses only.
func (o *Obj) Uses(second uint32) uint8 {
	v := o.Access()
	n := uint32(v & 255)
	if decay := o.db.st.access.decay.Load(); decay != 0 {
		n -= min(n, (second/60-v>>8)&0xffff/decay)
	}
	return uint8(n)
}

// AccessFacts returns what a file says of a key's use: the seconds since the last
// access, the counter, or neither; -1 is nothing to say.
func (o *Obj) AccessFacts(second uint32) (idle int64, freq int) {
	switch o.db.st.AccessKind() {
	case AccessIdle:
		return int64(o.IdleSeconds(second)), -1
	case AccessUses:
		return -1, int(o.Uses(second))
	}
	return -1, -1
}

// maxIdleSec is the longest that a record can say it was idle.
const maxIdleSec = 1<<24 - 1

// SetAccessFacts gives a key that was made at the given second the use that a file
// or another node tells of it; -1 is not told. What does not go with AccessKind is
// ignored.
func (o *Obj) SetAccessFacts(second uint32, idle int64, freq int) {
	switch counted := o.db.st.AccessKind() == AccessUses; {
	case counted && freq >= 0:
		o.setAccess(uses(second, uint8(min(freq, 255))))
	case !counted && idle > 0:
		o.setAccess(second - uint32(min(idle, maxIdleSec)))
	}
}

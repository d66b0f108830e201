package engine

import "sync"

// pushState keeps what other goroutines send to a client (messages,
// invalidations, MONITOR lines) behind the replies of the batch that runs. A
// client may rely on that order: an invalidation that overtook the reply with
// the value it is about would leave the old value in the client's cache.
//
// Only sessions that can be sent such things hold them back, so the others pay
// nothing.
type pushState struct {
	holding bool // the owner's copy of held

	mu    sync.Mutex // a leaf
	held  bool
	later []byte
}

// maxHeld is how many bytes may be held back for a client whose replies are
// being written; it must read, or go. The hard output limit of subscribers has
// the same default.
const maxHeld = 32 << 20

// holdPushes makes pushes wait for releasePushes; the session's owner.
func (s *Session) holdPushes() {
	if s.special&(specialSub|specialTracking|specialMonitor) != 0 {
		s.holdPushesNow()
	}
}

func (s *Session) holdPushesNow() {
	p := &s.pushes
	if p.holding {
		return
	}
	p.holding = true
	p.mu.Lock()
	p.held = true
	p.mu.Unlock()
}

// releasePushes sends what was held back. The replies must be out.
func (s *Session) releasePushes() {
	p := &s.pushes
	if !p.holding {
		return
	}
	p.holding = false
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	if len(p.later) > 0 {
		s.conn.Push(p.later)
	}
	if cap(p.later) > flushAt {
		p.later = nil
	}
	p.later = p.later[:0]
}

// push sends b, which is borrowed, to the client outside of the order of
// replies. Any goroutine, any locks but this one; it never blocks.
func (s *Session) push(b []byte) {
	p := &s.pushes
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.held:
		s.conn.Push(b)
	case len(p.later)+len(b) > maxHeld:
		s.Kill()
	default:
		p.later = append(p.later, b...)
	}
}

// afterSpecial ends what lasts for one command only: CLIENT REPLY SKIP and
// CLIENT CACHING. quiet says that replies were off before it ran; then the
// buffer holds its reply and nothing else.
func (s *Session) afterSpecial(p *planned, quiet bool) {
	if s.special&specialImport != 0 {
		s.afterImport()
		return
	}
	if s.special&specialReply != 0 {
		if quiet && s.flags&(flagReplyOff|flagReplySkip) != 0 && !confirmsByPush(p) {
			s.out.Buf = s.out.Buf[:0]
		}
		s.flags &^= flagReplySkip
		if s.flags&flagReplySkipNext != 0 {
			s.flags = s.flags&^flagReplySkipNext | flagReplySkip
		}
		if s.flags&(flagReplyOff|flagReplySkip) == 0 {
			s.special &^= specialReply
		}
	}
	if s.track.caching && s.special&specialMulti == 0 && !isClientCommand(p) {
		s.track.caching = false
	}
}

// confirmsByPush reports whether the command answers by pushes, which CLIENT
// REPLY does not concern.
func confirmsByPush(p *planned) bool {
	if p.spec == nil {
		return false
	}
	switch p.spec.Full {
	case "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe":
		return true
	}
	return false
}

func isClientCommand(p *planned) bool {
	return p.spec != nil && p.spec.Parent != nil && p.spec.Parent.Name == "client"
}

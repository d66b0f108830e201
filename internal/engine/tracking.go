package engine

import "sync/atomic"

// trackState is a session's part in client-side caching.
type trackState struct{}

// tracking knows which clients cache which keys.
type tracking struct{ interest *atomic.Uint32 }

func (t *tracking) init(interest *atomic.Uint32) { t.interest = interest }

func (t *tracking) invalidate(by *Session, key []byte) {}

func (e *Engine) dropTracking(s *Session) {}

func (t *tracking) flush() {}

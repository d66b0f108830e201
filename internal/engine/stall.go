package engine

import "time"

// Stall keeps every command from running for d, those without keys too, as a
// process does that does not get the processor. freeze and thaw, if not nil,
// are called in between, for what runs beside the commands (the bus,
// replication). The caller holds no locks, or with world the world lock.
func (e *Engine) Stall(d time.Duration, world bool, freeze, thaw func()) {
	e.stall.Lock()
	defer e.stall.Unlock()
	e.gates.Or(GateStall)
	defer e.gates.And(^uint32(GateStall))
	if !world {
		e.Store.LockWorld()
		defer e.Store.UnlockWorld()
	}
	if freeze != nil {
		freeze()
	}
	time.Sleep(d)
	if thaw != nil {
		thaw()
	}
}

// waitStall returns when nobody stalls the engine.
func (e *Engine) waitStall() {
	e.stall.Lock()
	defer e.stall.Unlock()
}

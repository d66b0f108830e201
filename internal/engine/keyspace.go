package engine

import (
	"time"

	"github.com/skeindb/skein/internal/command"

	"github.com/skeindb/skein/internal/store"
)

// keyspaceSpecs are the commands on whole databases.
func keyspaceSpecs() []*command.Spec {
	const flush = command.Write | command.World
	return []*command.Spec{
		{Name: "flushall", Group: command.Server, Since: "1.0.0", Arity: -1, Complexity: "O(N) with the keys",
			Summary: "Deletes every key of every database.", Syntax: "[ASYNC | SYNC]", Flags: flush, Categories: []string{"keyspace", "dangerous"},
			Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}, Run: flushRun},
		{Name: "flushdb", Group: command.Server, Since: "1.0.0", Arity: -1, Complexity: "O(N) with the keys",
			Summary: "Deletes every key of the database.", Syntax: "[ASYNC | SYNC]", Flags: flush, Categories: []string{"keyspace", "dangerous"},
			Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}, Run: flushRun},
		{Name: "swapdb", Group: command.Server, Since: "4.0.0", Arity: 3, Complexity: "O(N) with the clients that watch or wait for keys",
			Summary: "Exchanges two databases.", Syntax: "index1 index2", Flags: command.Write | command.World | command.Fast,
			Categories: []string{"keyspace", "dangerous"}, Run: swapdbRun},
	}
}

func flushRun(c *command.Ctx) {
	s := SessionOf(c)
	async := c.Env.Limits().LazyFlush
	switch {
	case len(c.Argv) > 2:
		c.Error(command.ErrSyntax)
		return
	case len(c.Argv) == 2 && command.Word(c.Arg(1), "async"):
		async = true
	case len(c.Argv) == 2 && command.Word(c.Arg(1), "sync"):
		async = false
	case len(c.Argv) == 2:
		c.Error(command.ErrSyntax)
		return
	}
	db := s.dbIndex
	if c.Spec.Name == "flushall" {
		db = -1
		s.e.flushAlls.Add(1)
	}
	n := s.e.FlushLocked(db, async)
	// Even an empty flush is propagated: replicas may hold what we do not.
	c.Dirty += int64(max(n, 1))
	c.NoVerbatim = false
	c.OK()
}

// FlushLocked deletes every key of a database, of all when db is negative, and
// returns their number. World lock. A snapshot under way still gets one database
// as it was, but is given up when all go: nobody wants it any more, and a file of
// it must not come after the empty one.
func (e *Engine) FlushLocked(db int, async bool) int {
	e.watches.touchDB(db, func(db int, key string) bool {
		return e.exists(db, command.MakeKey(0, []byte(key)), []byte(key))
	})
	e.trackingFlush()
	n := 0
	e.flushes.Add(1)
	if db < 0 {
		e.Store.AbortSnapshot("the data set was flushed")
	}
	for i := range e.Store.DBs() {
		if db < 0 || i == db {
			n += e.Store.DB(i).Clear(async)
		}
	}
	return n
}

func swapdbRun(c *command.Ctx) {
	s := SessionOf(c)
	if s.e.View().Cluster {
		c.Error("ERR SWAPDB is not allowed in cluster mode")
		return
	}
	i, ok := command.ParseInt(c.Arg(1))
	if !ok {
		c.Error("ERR invalid first DB index")
		return
	}
	j, ok := command.ParseInt(c.Arg(2))
	if !ok {
		c.Error("ERR invalid second DB index")
		return
	}
	n := int64(s.e.Store.DBs())
	if i < 0 || i >= n || j < 0 || j >= n {
		c.Error(command.ErrDBIndex)
		return
	}
	if i != j {
		e := s.e
		changed := func(_ int, key string) bool {
			k := command.MakeKey(0, []byte(key))
			return e.exists(int(i), k, []byte(key)) || e.exists(int(j), k, []byte(key))
		}
		e.watches.touchDB(int(i), changed)
		e.watches.touchDB(int(j), changed)
		e.Store.SwapDB(int(i), int(j))
		c.DB = e.Store.DB(s.dbIndex)
		e.waiters.signalDB(int(i))
		e.waiters.signalDB(int(j))
		e.trackingFlush()
	}
	c.Dirty++
	c.OK()
}

// expireBatch is how many keys at most are expired under one taking of a lock.
const expireBatch = 32

// expirePlace is where the expiry cycle goes on: one that ran out of time must not
// begin with the same slots again. The goroutine of the cycle only.
type expirePlace struct{ db, slot int }

// ExpireCycle deletes keys and fields of hashes whose time has come, in all
// databases, until it is through or stop says so; the next one goes on there. Only
// a primary does this. One goroutine calls it.
func (e *Engine) ExpireCycle(stop func() bool) {
	if e.View().Replica || e.Gate(GateLoading) || e.Gate(GatePauseWrite|GatePauseAll) {
		return
	}
	began := time.Now()
	due, expired := 0, e.Stats.Expired.Load()
	for i := range e.Store.DBs() {
		due += e.Store.DB(i).Expiring()
	}
	if !e.expireAll(stop) {
		e.Stats.ExpireCapped.Add(1)
	}
	if due > 0 {
		e.Stats.noteStale(min(100, 100*float64(e.Stats.Expired.Load()-expired)/float64(due)))
	}
	e.Stats.ExpireNanos.Add(int64(time.Since(began)))
}

// expireAll is one round through all databases from where the last one stopped.
func (e *Engine) expireAll(stop func() bool) (through bool) {
	var c command.Ctx
	c.Env = e.Env
	now := e.Now()
	at := &e.expireAt
	n := e.Store.DBs()
	at.db %= n
	first := *at
	for i := 0; i <= n; i++ { // the database in which it starts comes again at the end
		db, end := e.Store.DB(at.db), store.Slots
		if i == n {
			end = first.slot
		}
		for at.slot = db.NextOccupied(at.slot); at.slot < end; at.slot = db.NextOccupied(at.slot + 1) {
			slot := uint16(at.slot)
			if db.DueSlot(slot, now) && !e.Store.SlotHidden(slot) && !e.expireSlot(&c, db, slot, now, stop) {
				return false
			}
		}
		if i < n {
			*at = expirePlace{(at.db + 1) % n, 0}
		}
	}
	*at = expirePlace{}
	return true
}

// expireSlot is ExpireCycle for one slot; false: stop said so.
func (e *Engine) expireSlot(c *command.Ctx, db *store.DB, slot uint16, now int64, stop func() bool) bool {
	var cur store.ExpireCursor
	for done := false; !done; {
		e.Store.Lock(slot)
		if !db.DueSlot(slot, now) || e.View().Replica || e.Gate(GatePauseWrite|GatePauseAll) {
			e.Store.Unlock(slot)
			return true
		}
		c.Reset(nil, nil)
		c.Now, c.LogOn = now, e.logOn.Load()
		done = db.ExpireStep(slot, now, &cur, expireBatch, c.ExpireDue)
		if len(c.Effects) > 0 {
			e.log.Append(db.Index(), db.Index(), c.Effects)
		}
		// Of a hash with many such fields some are left for the next step.
		done = done && !db.DueSlot(slot, now)
		e.Carry(c.Changes...)
		e.dirty.Add(c.ExpiredFields + c.ExpiredKeys)
		e.Stats.ExpiredFields.Add(c.ExpiredFields)
		e.Stats.Expired.Add(c.ExpiredKeys)
		c.ExpiredFields, c.ExpiredKeys = 0, 0
		e.Store.Unlock(slot)
		if stop() {
			return false
		}
	}
	return true
}

// DropSlot deletes the keys of a slot in every database, as a node does that
// has lost it: replicas and the AOF hear DEL, WATCH is told, but there are no
// keyspace events. It returns the number of keys.
func (e *Engine) DropSlot(slot uint16) (n int) {
	e.Store.Lock(slot)
	defer e.Store.Unlock(slot)
	return e.dropLocked(slot)
}

// DropShown is DropSlot, but for a hidden slot: there a migration brings keys by now,
// and has deleted those of before.
func (e *Engine) DropShown(slot uint16) {
	e.Store.Lock(slot)
	defer e.Store.Unlock(slot)
	if !e.Store.SlotHidden(slot) {
		e.dropLocked(slot)
	}
}

func (e *Engine) dropLocked(slot uint16) (n int) {
	var c command.Ctx
	c.Env = e.Env
	for i := range e.Store.DBs() {
		c.Reset(nil, nil)
		c.LogOn = e.logOn.Load()
		n += e.Store.DB(i).ClearSlot(slot, func(o *store.Obj) {
			key := append([]byte(nil), o.Key()...)
			c.Propagate([]byte("DEL"), key)
			e.watches.touch(i, key)
			e.invalidate(nil, key)
		})
		if len(c.Effects) > 0 {
			e.log.Append(i, i, c.Effects)
		}
	}
	e.dirty.Add(int64(n))
	return n
}

package aof

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
)

// defaultPending is Options.Pending if that is 0.
const defaultPending = 64 << 20

// slowSync is how long an fsync may take before clients wait for it that need not.
const slowSync = 2 * time.Second // persistence, 13.6

// keepBuffer is the largest buffer that is kept for reuse.
const keepBuffer = 1 << 20

// Append takes effects (repl.Tap). It only copies: it runs under locks.
func (a *AOF) Append(db, last int, cmds []byte, end int64) {
	a.mu.Lock()
	if a.collect {
		before := len(a.buf)
		if a.stamps.Load() {
			if sec := a.o.Engine.Now() / 1000; sec != a.second {
				a.second = sec
				a.buf = appendStamp(a.buf, sec)
			}
		}
		if db != a.db {
			a.buf = appendSelect(a.buf, db)
		}
		a.db = last
		a.buf = append(a.buf, cmds...)
		a.bufOff = end
		a.appended.Add(int64(len(a.buf) - before))
		if a.err != nil && len(a.buf) > a.o.Pending {
			a.collect, a.overflow, a.buf = false, true, nil
			a.kick(a.kickFlush)
		}
	}
	a.mu.Unlock()
}

func appendSelect(dst []byte, db int) []byte {
	return resp.AppendCommandStrings(dst, "SELECT", strconv.Itoa(db))
}

func appendStamp(dst []byte, sec int64) []byte {
	return append(strconv.AppendInt(append(dst, "#TS:"...), sec, 10), "\r\n"...)
}

// strict reports whether replies wait for the disk.
func (a *AOF) strict() bool {
	return Fsync(a.fsync.Load()) == Always && a.promised.Load() && !a.spared()
}

// spared reports whether fsync is left out for the sake of a snapshot.
func (a *AOF) spared() bool {
	if !a.noFsync.Load() {
		return false
	}
	a.mu.Lock()
	running := a.ctl.running
	a.mu.Unlock()
	return running || a.o.Saving()
}

func (a *AOF) reached(target int64, strict bool) bool {
	if strict {
		return a.synced.Load() >= target
	}
	return a.written.Load() >= target
}

// EndTurn is what a client's replies wait for (engine.Engine.EndTurn): that what
// was logged before is written and, with appendfsync always, synced. A slow fsync
// of the other kinds is not waited for unless it takes too long or too much is
// pending.
func (a *AOF) EndTurn(_ *engine.Session, wrote bool) (ok bool) {
	target := a.appended.Load()
	if a.is(off) || a.synced.Load() >= target {
		return true
	}
	strict := a.strict()
	if a.reached(target, strict) {
		return true
	}
	return a.wait(target, strict, wrote)
}

// Applied is EndTurn for the stream of a primary, which is acknowledged by and by:
// it bounds what is pending.
func (a *AOF) Applied() {
	target := a.appended.Load()
	if a.is(off) || a.written.Load() >= target {
		return
	}
	a.wait(target, false, false)
	if Fsync(a.fsync.Load()) == Always {
		a.kick(a.kickFlush)
	}
}

func (a *AOF) wait(target int64, strict, wrote bool) (ok bool) {
	synced := false
	a.mu.Lock()
	for !a.is(off) && !a.reached(target, strict) {
		if a.err != nil {
			ok := !strict || !wrote
			a.mu.Unlock()
			return ok
		}
		switch {
		case !a.flushing:
			a.flushing = true
			a.mu.Unlock()
			a.flush(strict)
			synced = strict
			a.mu.Lock()
			a.flushing = false
			a.free.Broadcast()
		case strict || a.mustWait():
			a.free.Wait()
		default:
			a.mu.Unlock()
			return true
		}
	}
	a.mu.Unlock()
	if synced {
		a.tellSynced()
	}
	return true
}

// mustWait reports whether a client that need not wait for the disk has to wait
// for the flusher; mu is held.
func (a *AOF) mustWait() bool {
	from := a.syncFrom.Load()
	switch {
	case from == 0: // it is writing, which is quick
		return true
	case a.nanos()-from > int64(slowSync):
		a.sizes.delayed++
		return true
	}
	return len(a.buf)+a.outLen > a.o.Pending
}

// acquire takes the flusher's role for something that may take long.
func (a *AOF) acquire() {
	a.mu.Lock()
	for a.flushing {
		a.free.Wait()
	}
	a.flushing = true
	a.syncFrom.Store(a.nanos())
	a.mu.Unlock()
}

func (a *AOF) release() {
	a.mu.Lock()
	a.syncFrom.Store(0)
	a.flushing = false
	a.free.Broadcast()
	a.mu.Unlock()
}

func (a *AOF) tellSynced() {
	if a.o.Synced != nil {
		a.o.Synced()
	}
}

// flush writes what is pending and, if asked, syncs it. The flusher's.
func (a *AOF) flush(sync bool) error {
	a.mu.Lock()
	lost := a.overflow
	a.mu.Unlock()
	if lost && a.f != nil {
		return a.rot(errors.New("too much is pending"))
	}
	if a.f == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.err
	}
	if a.sw != nil {
		if err := a.finishSwitch(); err != nil {
			return err
		}
	}
	a.take()
	if err := a.writeOut(sync); err != nil {
		return err
	}
	a.well()
	return nil
}

// take moves what was appended to where it is written from.
func (a *AOF) take() {
	a.mu.Lock()
	if len(a.out) == 0 {
		a.out, a.buf = a.buf, a.out[:0]
		a.outEnd, a.outOff = a.appended.Load(), a.bufOff
		a.outLen = len(a.out)
	}
	a.mu.Unlock()
}

// writeOut writes what was taken and, if asked, makes durable what is in the file.
func (a *AOF) writeOut(sync bool) error {
	if err := a.write(); err != nil {
		return err
	}
	if sync && a.syncedSize < a.size {
		return a.syncFile()
	}
	return nil
}

// write writes what was taken. If that fails nothing of it stays in the file, if
// that can be helped.
func (a *AOF) write() error {
	if len(a.out) == 0 {
		return nil
	}
	n, err := a.f.Write(a.out)
	if err == nil && n < len(a.out) {
		err = fmt.Errorf("short write of %d bytes", n)
	}
	if err != nil {
		if n > 0 && a.f.Truncate(a.size) != nil {
			a.size += int64(n) // the record goes on where it was cut
			a.setOut(a.out[n:])
		}
		return a.failed(fmt.Errorf("aof: write: %w", err))
	}
	a.size += int64(n)
	a.written.Store(a.outEnd)
	a.writtenOff = a.outOff
	if a.out = a.out[:0]; cap(a.out) > keepBuffer {
		a.out = nil
	}
	a.mu.Lock()
	a.outLen, a.sizes.incr = 0, a.size
	a.mu.Unlock()
	return nil
}

func (a *AOF) setOut(p []byte) {
	a.out = p
	a.mu.Lock()
	a.outLen = len(p)
	a.mu.Unlock()
}

// syncFile makes what is written durable.
func (a *AOF) syncFile() error {
	upTo, off, size := a.written.Load(), a.writtenOff, a.size
	slow := a.syncFrom.CompareAndSwap(0, a.nanos())
	if slow { // who waits for the write only has what it needs
		a.mu.Lock()
		a.free.Broadcast()
		a.mu.Unlock()
	}
	err := a.f.Sync()
	if slow {
		a.syncFrom.Store(0)
	}
	if err != nil {
		return a.rot(fmt.Errorf("aof: fsync: %w", err))
	}
	a.syncedSize = size
	a.lastSync = time.Now()
	a.mu.Lock()
	if a.is(on) {
		a.synced.Store(upTo)
		a.diskOff = off
	}
	a.mu.Unlock()
	return nil
}

// failed notes that the log cannot be written just now.
func (a *AOF) failed(err error) error {
	if now := time.Now(); now.Sub(a.lastLog) > 30*time.Second {
		a.lastLog = now
		a.o.Log.Warn("Error writing to the AOF file", "err", err)
	}
	a.o.Engine.SetMisconf(engine.MisconfAOF, "MISCONF Errors writing to the AOF file: "+config.Strerror(err))
	a.mu.Lock()
	a.err = err
	a.mu.Unlock()
	return err
}

// well notes that it can again. In mode waiting that is so only once there is a
// base.
func (a *AOF) well() {
	a.mu.Lock()
	was := a.err
	if !a.is(on) {
		was = nil
	} else {
		a.err = nil
	}
	a.mu.Unlock()
	if was != nil {
		a.lastLog = time.Time{}
		a.o.Engine.SetMisconf(engine.MisconfAOF, "")
		a.o.Log.Warn("AOF write error looks solved. The server can write again.")
	}
}

// rot gives the log up, since nobody knows what the increment holds: it is cut to
// what is surely in it, and another one is begun from the data in memory. Meanwhile
// what is on disk is a state that was.
func (a *AOF) rot(err error) error {
	a.f.Truncate(a.syncedSize)
	a.closeFile()
	a.failed(err)
	a.mu.Lock()
	a.collect, a.overflow, a.buf = false, false, nil
	if !a.is(off) {
		a.setMode(waiting)
		a.ctl.wanted, a.ctl.next = true, time.Time{}
		if a.ctl.cancel != nil {
			a.ctl.cancel()
		}
	}
	a.kick(a.kickCtl)
	a.mu.Unlock()
	a.o.Log.Warn("The append-only file can't be trusted any more; beginning another one", "err", err)
	return err
}

// closeFile closes the increment and forgets what was to be written to it.
func (a *AOF) closeFile() {
	if a.sw != nil && a.sw.f != a.f {
		a.sw.f.Close()
	}
	a.sw = nil
	if a.f != nil {
		a.f.Close()
		a.f = nil
	}
	a.setOut(nil)
}

// openIncr opens an increment to append to.
func (a *AOF) openIncr(name string, fresh bool) (disk.File, error) {
	flag := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if fresh {
		flag |= os.O_TRUNC
	}
	f, err := a.o.FS.OpenFile(a.at(name), flag, 0o644)
	if err != nil {
		return nil, fmt.Errorf("aof: %w", err)
	}
	return f, nil
}

// use makes f, of a size that is on disk, the increment. The flusher's.
func (a *AOF) use(f disk.File, size int64) {
	a.f, a.size, a.syncedSize, a.lastSync = f, size, size, time.Now()
}

const (
	tickEvery  = 100 * time.Millisecond
	syncPeriod = time.Second // appendfsync everysec
)

// every runs do at each tick and each kick until Close.
func (a *AOF) every(kick chan struct{}, do func()) {
	defer a.wg.Done()
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-t.C:
		case <-kick:
		}
		do()
	}
}

// tick writes and syncs what no client does.
func (a *AOF) tick() {
	a.growthCheck()
	if a.is(off) {
		return
	}
	unwritten := a.appended.Load() > a.written.Load()
	unsynced := a.appended.Load() > a.synced.Load()
	policy := Fsync(a.fsync.Load())
	a.mu.Lock()
	if a.flushing || a.err == nil && !unwritten && (!unsynced || policy == Never) {
		a.mu.Unlock()
		return
	}
	a.flushing = true
	a.mu.Unlock()
	due := policy == Always || policy == EverySec && time.Since(a.lastSync) >= syncPeriod
	before := a.synced.Load()
	if err := a.flush(false); err == nil && due && !a.spared() {
		a.flush(true)
	}
	a.release()
	if a.synced.Load() != before {
		a.tellSynced()
	}
}

package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/skeindb/skein/internal/cluster"
)

// node is a host with one server process: the driver of a Machine, with a
// clock, a disk, and a replication offset in place of data.
type node struct {
	w  *World
	i  int
	ip string

	hostUp     bool
	up         bool // the process runs
	paused     bool // the process is stopped, what comes for it waits in inbox
	catchingUp bool // it runs again, but has not worked its inbox off
	pausedAt   int64
	boot       uint32 // number of the process
	id         cluster.NodeID

	m          *cluster.Machine
	view       *cluster.View
	inbox      []event
	dialled    []*conn // by link id; what is closed is nil
	accepted   []*conn // by number
	accepts    uint64
	acceptBase uint64 // accepts when the process began

	// The clocks: mono runs from boot of the host, a little fast or slow; wall
	// is off by skew.
	monoStart int64
	driftPPM  int64
	skew      cluster.Millis

	disk  disk
	repl  replication
	state checkState

	wakeAt cluster.Millis // what the machine was last promised a Wake for

	// Faults that wait for their moment.
	dieAtSave     dying
	writesPaused  bool
	diskRefuses   bool           // writing nodes.conf fails
	resumedAt     int64          // when the last pause ended
	pings         cluster.LinkID // where a PING or MEET came in that is being handled
	members       int            // nodes in the view before this step
	pongs         int            // sent there in this step
	pingClosed    bool
	failover      cluster.FailoverMode // of the last CLUSTER FAILOVER here
	adminThisStep bool
}

type dying uint8

const (
	dieNot        dying = iota
	dieBeforeSave       // power fails when nodes.conf was about to be written
	dieAfterSave        // and when it was written but nothing was sent yet
)

// disk holds nodes.conf. A file is replaced whole by rename, so a host that
// loses power comes back with what was synced last or with any later version;
// a process that dies leaves the newest. The text is made when it is read.
type disk struct {
	synced *cluster.NodesConf
	newest *cluster.NodesConf
	pool   *cluster.Pool
	// between are versions between the two; of many some are left out, and in large
	// worlds, where they would fill the memory, all.
	between []*cluster.NodesConf
	many    int // how many of them are kept
}

// write replaces the file.
func (d *disk) write(c *cluster.NodesConf, sync bool) {
	old := d.newest
	d.newest = c
	switch {
	case sync:
		if d.synced != old {
			d.spare(d.synced)
		}
		for _, b := range d.between {
			d.spare(b)
		}
		d.synced, d.between = c, d.between[:0]
		d.spare(old)
	case old != d.synced && len(d.between) < d.many:
		d.between = append(d.between, old)
	case old != d.synced:
		d.spare(old)
	}
}

// crash loses what is not synced: the file is the one synced last or any later
// version, for each took the place of the one before as a whole.
func (d *disk) crash(intn func(int) int) {
	if i := intn(len(d.between) + 2); i == 0 {
		d.newest = d.synced
	} else if i <= len(d.between) {
		d.newest = d.between[i-1]
	}
	d.between = nil
}

// empty gives back all versions, when the world is over.
func (d *disk) empty() {
	if d.newest != d.synced {
		d.spare(d.newest)
	}
	for _, b := range d.between {
		d.spare(b)
	}
	d.spare(d.synced)
	*d = disk{}
}

// spare gives back a version that nobody can come back to.
func (d *disk) spare(c *cluster.NodesConf) {
	if c != nil {
		d.pool.FreeConf(c)
	}
}

// replication stands for the data set: an offset, copied from the primary while
// the replica can reach it.
type replication struct {
	offset   uint64
	from     *node // nil as a primary
	readyAt  int64 // when the running resync is done
	up       bool
	everUp   bool
	lastByte int64 // last byte from the primary, or since when the link is down
	full     bool  // the next sync is a full one
	partial  bool  // the data is not all of this shard's: a full sync is not done
	followID uint64
}

func (n *node) times() cluster.Times {
	return cluster.Times{
		Mono: cluster.Millis(1000 + n.elapsed()/ms),
		Wall: cluster.Millis(1_700_000_000_000+n.w.now/ms) + n.skew,
	}
}

// elapsed is what the node's monotonic clock has counted, in microseconds. It never
// goes back: the machine would not follow, and the checks would measure otherwise.
func (n *node) elapsed() int64 {
	t := n.w.now - n.monoStart
	return t + t*n.driftPPM/1e6
}

// drift changes the rate of the monotonic clock from now on.
func (n *node) drift(ppm int64) {
	e := n.elapsed()
	n.driftPPM = ppm
	n.monoStart = n.w.now - (e*1e6/(1e6+ppm) + 2) // 2: not below e, for all rounding
}

// start begins a process with what the disk holds.
func (n *node) start() {
	conf := n.disk.newest
	if conf != nil { // through the real text, whoever wrote it
		text := conf.Encode()
		parsed, skipped, err := cluster.ParseNodesConf(text, false)
		if err != nil || len(skipped) > 0 {
			n.w.fail(n, "24", "own nodes.conf: %v, skipped %q", err, skipped)
			return
		}
		conf = parsed
		n.w.shareSets(conf)
		n.disk.synced = conf // a reboot starts from what it read
		n.disk.newest = conf
		n.disk.between = nil
	}
	n.boot++
	n.up, n.paused, n.catchingUp, n.inbox = true, false, false, nil
	n.dialled, n.accepted = n.dialled[:0], n.accepted[:0]
	n.acceptBase = n.accepts
	n.view = nil
	n.wakeAt = 0
	n.dieAtSave = dieNot
	n.writesPaused = false
	n.repl = replication{offset: n.repl.offset, partial: n.repl.partial, lastByte: n.w.now}
	n.state.restart(n.w.now)
	seed := n.w.rnd.Uint64()
	n.m = cluster.New(n.w.cfg, rand.NewPCG(seed, uint64(n.i)), conf, n.times())
	n.w.tracef(n, "starts")
	n.obey()
	if n.up && n.w.err == nil {
		n.id = n.view.Myself().ID
		n.w.checker.started(n, conf)
	}
	n.tickAt(n.w.now + n.w.between(0, 100*ms))
}

// shareSets makes all processes of a world share the slot sets and addresses that
// they read from their files, as those that read them in messages do: with thousands of
// nodes they would fill the memory.
func (w *World) shareSets(conf *cluster.NodesConf) {
	for i := range conf.Nodes {
		cn := &conf.Nodes[i]
		if n := w.byIP[cn.Addr.IP]; n != nil {
			cn.Addr.IP = n.ip
		}
		if cn.Slots == nil {
			continue
		}
		k := w.ids.of(&cn.ID)
		if c := w.sets.of(k); c.heard && c.slots.Equal(cn.Slots) {
			cn.Slots = c.slots
		} else {
			w.sets.set(k, cn.Slots)
		}
	}
}

func (n *node) tickAt(at int64) {
	n.w.push(event{at: at, kind: evTick, node: n, boot: n.boot})
}

// take handles an event for the process, now or after its pause.
func (n *node) take(e event) {
	if n.paused {
		n.inbox = append(n.inbox, e)
		return
	}
	n.handle(e)
}

func (n *node) handle(e event) {
	switch e.kind {
	case evTick:
		n.tick()
	case evFrame:
		n.recv(e)
	case evFin:
		to := &e.conn.ends[1-e.side]
		if to.open {
			n.w.net.drop(e.conn, 1-e.side)
			n.step(cluster.LinkDown{Link: to.link})
		}
	case evAccept:
		if to := &e.conn.ends[1]; to.open {
			n.step(cluster.Accepted{Link: to.link})
		}
	case evUp:
		if from := &e.conn.ends[0]; from.open {
			n.step(cluster.LinkUp{Link: from.link})
		}
	case evNode:
		e.fn()
	}
}

func (n *node) tick() {
	w := n.w
	n.replicate()
	n.m.Step(n.times(), n.local())
	n.step(cluster.Tick{})
	if n.up {
		w.checker.serving(n)
		w.checker.ticked(n)
		if n.state.moved {
			w.checker.whole(n)
		}
		next := w.now + 100*ms
		if w.chance(50) { // a busy event loop
			next += w.between(0, 40*ms)
		}
		n.tickAt(next)
	}
}

func (n *node) recv(e event) {
	to, from := &e.conn.ends[1-e.side], e.conn.ends[e.side].node
	if !to.open {
		n.w.release(e.frame)
		return
	}
	w := n.w
	m := w.decode(n, e.frame)
	if m == nil {
		return
	}
	w.res.Messages++
	w.mix(uint64(w.now), uint64(n.i)<<32|uint64(from.i)<<8|uint64(m.Type), m.CurrentEpoch, m.ConfigEpoch, uint64(e.frame.size))
	if w.opt.Messages {
		w.tracef(n, "<- n%d %v epoch %d/%d gossip %d", from.i, m.Type, m.CurrentEpoch, m.ConfigEpoch, len(m.Gossip))
	}
	n.state.heard(&w.ids, m)
	n.state.known.told(&w.ids, n.view, m, n.times().Mono)
	if n.state.fresh != nil && e.sent > n.state.running {
		n.state.fresh.add(w.ids.of(&m.Sender))
	}
	in := cluster.Recv{Link: to.link, Msg: m, PeerIP: from.ip, LocalIP: n.ip}
	if t := m.Type; t == cluster.TypePing || t == cluster.TypeMeet {
		n.pings, n.pongs, n.pingClosed = in.Link, 0, false
		n.step(in)
		n.pings = 0
		w.checker.answered(n, in.Link, t, n.pongs, !n.pingClosed)
	} else {
		n.step(in)
	}
	n.state.known.withdrew(&w.ids, n.view, m)
	n.state.known.failMsg = cluster.NodeID{}
	w.release(e.frame)
}

// step gives the machine one input and does what it wants done.
func (n *node) step(in cluster.Input) {
	n.w.res.Steps++
	n.m.Step(n.times(), in)
	n.obey()
}

// admin runs a command, as a client of this node would.
func (n *node) admin(cmd cluster.Command) error {
	n.w.res.Steps++
	n.adminThisStep = true
	_, err := n.m.Admin(n.times(), cmd)
	n.w.tracef(n, "command %T%+v: %v", cmd, cmd, err)
	if _, reset := cmd.(cluster.Reset); reset && err == nil {
		clear(n.state.known.forgotten) // with the blacklist
	}
	n.obey()
	n.adminThisStep = false
	return err
}

// obey carries out what the machine returned, in the order its doc demands.
func (n *node) obey() {
	w := n.w
	if n.view != nil {
		n.members = len(n.view.Nodes)
	}
	rd := n.m.Ready()
	defer w.pool.FreeMessages()
	if rd.Save != nil {
		if n.diskRefuses { // a node that cannot save ends
			n.kill()
			return
		}
		w.checker.saved(n, rd.Save)
		if n.dieAtSave == dieBeforeSave {
			n.losePower()
			return
		}
		n.disk.write(rd.Save, rd.Sync)
		if n.dieAtSave == dieAfterSave {
			n.losePower()
			return
		}
	}
	if rd.View != nil {
		old := n.view
		n.view = rd.View
		w.checker.viewChanged(n, old)
		if old != nil && !n.adminThisStep { // who gives commands may look at it yet
			w.pool.FreeView(old, n.view)
		}
	}
	for _, e := range rd.Effects {
		n.effect(e)
	}
	w.checker.paused(n)
	for _, l := range rd.Close {
		n.pingClosed = n.pingClosed || l == n.pings
		if c := n.link(l); c != nil {
			w.net.close(c, sideOf(l))
		}
	}
	for _, d := range rd.Dial {
		w.net.dial(n, d)
	}
	var last *cluster.Message
	var f *frame
	for _, s := range rd.Send {
		c := n.link(s.Link)
		if c == nil {
			continue
		}
		if s.Msg != last {
			last, f = s.Msg, w.encode(s.Msg)
		} else {
			f.refs++
		}
		if s.Link == n.pings && f.msg.Type == cluster.TypePong {
			n.pongs++
		}
		side := sideOf(s.Link)
		var to *node
		if f.msg.Type == cluster.TypeAuthAck {
			to = c.peer(side)
		}
		w.checker.sending(n, to, &f.msg)
		w.net.send(c, side, f)
	}
	if w.res.Steps%256 == 0 {
		w.checker.whole(n)
	}
	if at := n.m.WakeAt(); at != 0 && at != n.wakeAt {
		n.wakeAt = at
		n.later(int64(at-n.times().Mono)*ms, func() {
			if n.wakeAt == at {
				n.wakeAt = 0
				n.step(cluster.Wake{})
			}
		})
	}
}

// sideOf is the side of a connection that a link of its owner names.
func sideOf(l cluster.LinkID) uint8 {
	if l.Inbound() {
		return 1
	}
	return 0
}

// links of a process: dialled ones are numbered by the machine from 1 on,
// accepted ones by n.accepts.

func (n *node) place(l cluster.LinkID) (list *[]*conn, i int) {
	if l.Inbound() {
		return &n.accepted, int(uint64(l)<<1>>1 - n.acceptBase)
	}
	return &n.dialled, int(l)
}

func (n *node) link(l cluster.LinkID) *conn {
	if list, i := n.place(l); i >= 0 && i < len(*list) {
		return (*list)[i]
	}
	return nil
}

func (n *node) addLink(l cluster.LinkID, c *conn) {
	list, i := n.place(l)
	for len(*list) <= i {
		*list = append(*list, nil)
	}
	(*list)[i] = c
}

func (n *node) dropLink(l cluster.LinkID) {
	if list, i := n.place(l); i >= 0 && i < len(*list) {
		(*list)[i] = nil
	}
}

func (n *node) effect(e cluster.Effect) {
	w := n.w
	switch e := e.(type) {
	case cluster.Event:
		if w.opt.Trace != nil && (e.Level > cluster.LevelDebug || w.opt.Messages) {
			w.tracef(n, "%v", e)
		}
	case cluster.Follow:
		r := &n.repl
		r.from = w.byIP[e.IP]
		if r.up {
			r.lastByte = w.now
		}
		r.up, r.full, r.readyAt = false, e.FullResync, 0
		r.partial = r.partial || e.FullResync
		r.followID = e.ID
	case cluster.Promote:
		n.repl.from, n.repl.up, n.repl.partial = nil, false, false
	case cluster.PauseWrites:
		n.writesPaused = true
		n.later(w.between(ms, 30*ms), func() {
			if n.writesPaused {
				n.m.Step(n.times(), n.local())
				n.step(cluster.Done{ID: e.ID})
			}
		})
	case cluster.ResumeWrites:
		n.writesPaused = false
	case cluster.FlushAll:
		n.repl.offset = 0
	}
}

// later runs fn in this process, unless it ends before.
func (n *node) later(d int64, fn func()) {
	n.w.push(event{at: n.w.now + d, kind: evNode, node: n, boot: n.boot, fn: fn})
}

func (n *node) local() cluster.Local {
	r := &n.repl
	l := cluster.Local{ReplOffset: r.offset, PrimaryLinkUp: r.up, PrimaryLinkAge: -1, Unsynced: r.partial, FollowID: r.followID}
	if r.everUp {
		l.PrimaryLinkAge = cluster.Millis((n.w.now - r.lastByte) / ms)
	}
	return l
}

// replicate moves the offset as a tenth of a second would: a primary takes
// writes while it serves, a replica copies what it can reach.
func (n *node) replicate() {
	w, r := n.w, &n.repl
	me := n.view.Myself()
	if r.from == nil {
		if me.Flags.Has(cluster.FlagPrimary) && n.view.State == cluster.StateOK && !n.writesPaused && !me.Slots.Empty() {
			r.offset += uint64(w.rnd.IntN(2000))
		}
		return
	}
	p := r.from
	reach := p.hostUp && !w.net.blocked(n, p) && !w.net.blocked(p, n)
	if !reach || !p.up || p.paused {
		// A process that ended is noticed at once, silence after a minute.
		if r.up && (reach && !p.up || w.now-r.lastByte > 60*second) {
			r.up, r.lastByte = false, w.now
		}
		r.readyAt = 0
		return
	}
	if !r.up {
		switch {
		case r.readyAt == 0:
			took := w.between(10*ms, 200*ms)
			if r.full || p.repl.offset < r.offset {
				took = w.between(300*ms, 3*second)
			}
			r.readyAt = w.now + took
			return
		case w.now < r.readyAt:
			return
		}
		r.up, r.everUp, r.full, r.partial = true, true, false, false
	}
	r.lastByte = w.now
	if w.chance(20) {
		return // nothing came in this tick
	}
	r.offset = p.repl.offset
}

// kill ends the process: its connections close, its disk stays.
func (n *node) kill() {
	if !n.up {
		return
	}
	n.w.tracef(n, "killed")
	n.w.res.Crashes++
	n.end(true)
}

// losePower ends process and host: connections end without a word, and what was
// not synced may be lost.
func (n *node) losePower() {
	if n.up {
		n.w.tracef(n, "loses power")
		n.w.res.Crashes++
		n.end(false)
	}
	n.hostUp = false
	n.disk.crash(n.w.rnd.IntN)
}

func (n *node) end(fin bool) {
	n.up, n.paused, n.catchingUp, n.inbox = false, false, false, nil
	for side, list := range [][]*conn{n.dialled, n.accepted} {
		for _, c := range list {
			switch {
			case c == nil:
			case fin:
				n.w.net.close(c, uint8(side))
			default:
				n.w.net.drop(c, uint8(side))
			}
		}
	}
}

// restart brings a process that ended back, with its host if need be.
func (n *node) restart() {
	if n.up {
		return
	}
	if !n.hostUp {
		n.hostUp = true
		n.monoStart = n.w.now
		n.w.net.resetHalfOpen(n)
	}
	n.start()
}

// pause stops the process.
func (n *node) pause() {
	if n.up && !n.paused {
		n.paused = true
		n.pausedAt = n.w.now
		n.w.tracef(n, "paused")
	}
}

// resume lets the process go on, first with all that came meanwhile, a hundred
// microseconds each.
func (n *node) resume() {
	if !n.up || !n.paused || n.catchingUp {
		return
	}
	n.w.tracef(n, "resumed, %d events waiting", len(n.inbox))
	if n.w.now-n.pausedAt > int64(n.w.cfg.NodeTimeout)*ms+1200*ms {
		n.state.awake(n.w.now)
	}
	n.catchingUp = true
	n.catchUp(n.boot)
}

func (n *node) catchUp(boot uint32) {
	if !n.up || n.boot != boot || !n.paused {
		return
	}
	if len(n.inbox) == 0 {
		n.paused, n.catchingUp = false, false
		n.resumedAt = n.w.now
		return
	}
	e := n.inbox[0]
	n.inbox = n.inbox[1:]
	n.handle(e)
	n.w.after(100*us, func() { n.catchUp(boot) })
}

func (n *node) String() string { return fmt.Sprintf("n%d", n.i) }

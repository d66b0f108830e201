package repl

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
)

const (
	errNoPrimaryLink = "NOMASTERLINK Can't SYNC while not connected with my master"
	errFailingOver   = "NOMASTERLINK Can't SYNC while failing over"
	errOldReplica    = "ERR a full sync without the EOF capability needs a place for the snapshot, and there is none"
	errPort          = "ERR Invalid master port"
)

// Specs are the commands of replication.
func (r *Repl) Specs() []*command.Spec {
	const conn = command.Session
	const admin = conn | command.Admin | command.NoScript
	return []*command.Spec{
		{Name: "psync", Group: command.Server, Since: "2.8.0", Arity: -3, Complexity: "O(N) with the bytes to send", Syntax: "replicationid offset",
			Summary: "Makes the connection a replica's; used between servers.", Flags: admin | command.NoAsyncLoading | command.NoMulti, Run: r.psync},
		{Name: "sync", Group: command.Server, Since: "1.0.0", Arity: 1, Complexity: "O(N) with the keys",
			Summary: "Makes the connection an old replica's; used between servers.", Flags: admin | command.NoAsyncLoading | command.NoMulti, Run: r.sync},
		{Name: "replconf", Group: command.Server, Since: "3.0.0", Arity: -1, Complexity: "O(1)",
			Summary: "Tells the other side of replication a fact; used between servers.", Flags: admin | command.Loading | command.Stale | command.AllowBusy, Run: r.replconf},
		{Name: "replicaof", Group: command.Server, Since: "5.0.0", Arity: 3, Complexity: "O(1)", Syntax: "<host port | NO ONE>",
			Summary: "Makes the server a replica of another, or a primary.", Flags: admin | command.Stale | command.NoAsyncLoading | command.NoMulti, Run: r.replicaof},
		{Name: "slaveof", Group: command.Server, Since: "1.0.0", Arity: 3, Complexity: "O(1)", Syntax: "<host port | NO ONE>",
			Summary: "Old name of REPLICAOF.", Flags: admin | command.Stale | command.NoAsyncLoading | command.NoMulti, Run: r.replicaof},
		{Name: "role", Group: command.Server, Since: "2.8.12", Arity: 1, Complexity: "O(1)",
			Summary: "Tells the role in replication.", Flags: conn | command.NoScript | command.Loading | command.Stale | command.Fast,
			Categories: []string{"admin", "dangerous"}, Run: r.roleCommand},
		{Name: "wait", Group: command.Generic, Since: "3.0.0", Arity: 3, Complexity: "O(1)", Syntax: "numreplicas timeout",
			Summary: "Waits until replicas have received the connection's writes.", Flags: conn | command.Blocking,
			Categories: []string{"connection"}, Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}, Run: r.wait},
		{Name: "waitaof", Group: command.Generic, Since: "7.2.0", Arity: 4, Complexity: "O(1)", Syntax: "numlocal numreplicas timeout",
			Summary: "Waits until the connection's writes are on disk, here and at replicas.", Flags: conn | command.Blocking,
			Categories: []string{"connection"}, Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}, Run: r.waitaof},
		{Name: "failover", Group: command.Server, Since: "6.2.0", Arity: -1, Complexity: "O(1)", Syntax: "[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
			Summary: "Hands the role of primary to a replica.", Flags: admin | command.Stale | command.NoMulti, Run: r.failoverCommand},
	}
}

// psync is PSYNC id offset [FAILOVER].
func (r *Repl) psync(c *command.Ctx) {
	s := engine.SessionOf(c)
	if s.IsReplica() || s.IsPrimary() {
		return
	}
	if len(c.Argv) > 3 && command.Word(c.Arg(3), "failover") {
		if !r.takeOver(c) {
			return
		}
	}
	if !r.maySync(c) {
		return
	}
	off, ok := command.ParseInt(c.Arg(2))
	if !ok {
		c.Error(command.ErrNotInteger)
		return
	}
	p := r.peerOf(s)
	id := string(c.Arg(1))
	d, rd, h := r.log.tryContinue(id, off)
	r.slog.Info("Replica " + p.name() + " asks for synchronization")
	switch d {
	case Continue:
		r.Stats.PartialOK.Add(1)
		r.slog.Info(fmt.Sprintf("Partial resynchronization request from %s accepted. Sending %d bytes of backlog starting from offset %d.", p.name(), h.Next-off, off))
		p.serveContinue(rd, &h)
		return
	case FullAsked:
		r.slog.Info("Full resync requested by replica " + p.name())
	case FullID:
		r.Stats.PartialErr.Add(1)
		r.slog.Info(fmt.Sprintf("Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '%s', my replication IDs are '%s' and '%s')", printable(id), h.ID, h.ID2))
	case FullOffset:
		r.Stats.PartialErr.Add(1)
		r.slog.Info(fmt.Sprintf("Unable to partial resync with replica %s for lack of backlog (Replica request was: %d).", p.name(), off))
	}
	r.startFull(c, p, true)
}

// sync is SYNC, of servers before PSYNC and of tools that want a snapshot.
func (r *Repl) sync(c *command.Ctx) {
	s := engine.SessionOf(c)
	if s.IsReplica() || s.IsPrimary() || !r.maySync(c) {
		return
	}
	r.startFull(c, r.peerOf(s), false)
}

// maySync refuses replicas while there is no data set to give.
func (r *Repl) maySync(c *command.Ctx) bool {
	if f := r.follower.Load(); f != nil && f.linkState() != linkConnected {
		c.Error(errNoPrimaryLink)
		return false
	}
	r.mu.Lock()
	failing := r.failover.on()
	r.mu.Unlock()
	if failing {
		c.Error(errFailingOver)
		return false
	}
	return true
}

func (r *Repl) startFull(c *command.Ctx, p *peer, psync bool) {
	if text, refused := r.refusedFull(p); refused {
		c.Error(text)
		return
	}
	r.mu.Lock()
	p.psync = psync
	sized, filter := !p.eof, p.filter
	r.mu.Unlock()
	if filter && sized {
		c.Error("ERR Filtered replica requires EOF capability")
		return
	}
	if sized && r.o.NewSpool == nil {
		c.Error(errOldReplica)
		return
	}
	r.Stats.Full.Add(1)
	p.become()
	if filter {
		r.sendFiltered(p)
		return
	}
	r.requestFull(p)
}

// replconf is REPLCONF option value ..., from a replica, and GETACK, from the
// primary. Source: replication protocol, REPLCONF.
func (r *Repl) replconf(c *command.Ctx) {
	s := engine.SessionOf(c)
	if len(c.Argv)%2 == 0 {
		c.Error(command.ErrSyntax)
		return
	}
	if f, ok := s.Ext.(*link); ok {
		for i := 1; i+1 < len(c.Argv); i += 2 {
			if command.Word(c.Arg(i), "getack") {
				f.ackWanted = true
			}
		}
		return
	}
	p := r.peerOf(s)
	for i := 1; i+1 < len(c.Argv); i += 2 {
		name, value := strings.ToLower(string(c.Arg(i))), c.Arg(i+1)
		switch name {
		case "listening-port":
			n, ok := command.ParseInt(value)
			if !ok {
				c.Error(command.ErrNotInteger)
				return
			}
			r.mu.Lock()
			p.port = int(n)
			r.mu.Unlock()
		case "ip-address":
			if len(value) >= 256 {
				c.Error("ERR REPLCONF ip-address provided by replica instance is too long: " + strconv.Itoa(len(value)) + " bytes")
				return
			}
			r.mu.Lock()
			p.ip = string(value)
			r.mu.Unlock()
		case "capa":
			r.mu.Lock()
			switch strings.ToLower(string(value)) {
			case "eof":
				p.eof = true
			case "psync2":
				p.psync2 = true
			}
			r.mu.Unlock()
		case "version":
			r.mu.Lock()
			p.takesSlots = takesSlots(string(value))
			r.mu.Unlock()
		case "set-cluster-node-id":
		case "rdb-only":
			n, ok := command.ParseInt(value)
			if !ok {
				c.Error(command.ErrNotInteger)
				return
			}
			r.mu.Lock()
			p.rdbOnly = n == 1
			r.mu.Unlock()
		case "rdb-filter-only":
			if text := r.filter(p, string(value)); text != "" {
				c.Error(text)
				return
			}
		case "ack":
			if !s.IsReplica() {
				return
			}
			off, ok := command.ParseInt(value)
			if !ok {
				return
			}
			fack := int64(-1)
			if i+3 < len(c.Argv) && command.Word(c.Arg(i+2), "fack") {
				if n, ok := command.ParseInt(c.Arg(i + 3)); ok {
					fack = n
				}
			}
			p.ack(off, fack)
			return // never answered
		case "getack":
			return // only a primary may ask
		default:
			c.Error("ERR Unrecognized REPLCONF option: " + printable(string(c.Arg(i))))
			return
		}
	}
	c.OK()
}

// filter notes what parts of a snapshot the client wants: the words of
// "rdb-filter-only".
func (r *Repl) filter(p *peer, words string) (errText string) {
	for _, w := range strings.Fields(words) {
		if w != "functions" {
			return "ERR Unsupported rdb-filter-only option: " + printable(w)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.filter = true
	p.wantFunctions = strings.Contains(words, "functions")
	return ""
}

// replicaof is REPLICAOF host port, REPLICAOF NO ONE.
func (r *Repl) replicaof(c *command.Ctx) {
	s := engine.SessionOf(c)
	if r.o.Cluster {
		c.Error("ERR REPLICAOF not allowed in cluster mode.")
		return
	}
	if s.IsPrimary() { // the link cannot wait for its own end
		c.Error("ERR REPLICAOF not allowed in the stream of the primary.")
		return
	}
	r.mu.Lock()
	failing := r.failover.on()
	r.mu.Unlock()
	if failing {
		c.Error("ERR REPLICAOF not allowed while failing over.")
		return
	}
	if command.Word(c.Arg(1), "no") && command.Word(c.Arg(2), "one") {
		if r.IsReplica() {
			r.Promote()
			r.slog.Info("MASTER MODE enabled (user request from '" + s.Conn().RemoteAddr() + "')")
		}
		c.OK()
		return
	}
	if s.IsReplica() {
		c.Error("ERR Command is not valid when client is a replica.")
		return
	}
	port, ok := command.ParseInt(c.Arg(2))
	if !ok || port < 0 || port > 65535 {
		c.Error(errPort)
		return
	}
	host := string(c.Arg(1))
	if f := r.follower.Load(); f != nil && f.host == host && f.port == int(port) {
		r.slog.Info("REPLICAOF would result into synchronization with the master we are already connected with. No operation performed.")
		c.Simple("OK Already connected to specified master")
		return
	}
	r.Follow(host, int(port), FollowOptions{})
	r.slog.Info("REPLICAOF " + host + ":" + strconv.Itoa(int(port)) + " enabled (user request from '" + s.Conn().RemoteAddr() + "')")
	c.OK()
}

// roleCommand is ROLE.
func (r *Repl) roleCommand(c *command.Ctx) {
	if f := r.follower.Load(); f != nil {
		st := f.linkState()
		c.Array(5)
		c.BulkString("slave")
		c.BulkString(f.host)
		c.Int(int64(f.port))
		c.BulkString(st.String())
		if st == linkConnected {
			c.Int(r.log.Offset())
		} else {
			c.Int(-1)
		}
		return
	}
	c.Array(3)
	c.BulkString("master")
	c.Int(r.log.Offset())
	r.mu.Lock()
	defer r.mu.Unlock()
	mark, n := c.Defer(), 0
	for _, p := range r.peers {
		if p.state != peerOnline {
			continue
		}
		ip, port := p.addrLocked()
		c.Array(3)
		c.BulkString(ip)
		c.BulkString(strconv.Itoa(port))
		c.BulkString(strconv.FormatInt(p.ackOff.Load(), 10))
		n++
	}
	c.EndArray(mark, n)
}

// printable makes a client's word fit for a log line or an error.
func printable(s string) string {
	if len(s) > 128 {
		s = s[:128]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

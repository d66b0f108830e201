package engine

import (
	"github.com/skeindb/skein/internal/command"
)

// Gates are conditions of the whole server under which some commands are
// refused or wait. They are bits of one word, so that a command costs one load
// while all is well.
const (
	GateLoading     = 1 << iota // a data set is being loaded
	GateReplica                 // this node is a replica
	GateReadOnly                // ... and refuses writes (replica-read-only)
	GateStale                   // ... and its link is down, with replica-serve-stale-data no
	GateOOM                     // memory is over maxmemory and cannot be freed
	GateMisconf                 // the last save failed, or the AOF cannot be written
	GateMinReplicas             // fewer good replicas than min-replicas-to-write
	GatePauseWrite              // CLIENT PAUSE, failover
	GatePauseAll
	GateCheckOOM // maxmemory is set: look before commands that may use memory
	GateStall    // DEBUG SLEEP: nothing runs
	GateFrozen   // writes to some slots wait (freeze.go)
	// GateStandBack: this primary may have lost data that a replica has, and serves
	// nobody until that is settled. Refuses what GateLoading does.
	GateStandBack
)

// SetGate opens or closes a gate. Where a command that is running must not
// miss it, the caller holds the world lock.
func (e *Engine) SetGate(gate uint32, closed bool) {
	if closed {
		e.gates.Or(gate)
	} else {
		e.gates.And(^gate)
	}
}

// Gate reports whether any of the given gates is closed.
func (e *Engine) Gate(gates uint32) bool { return e.gates.Load()&gates != 0 }

// Who may find that the data set cannot be kept on disk. The first of them that
// does so gives the reply.
const (
	MisconfRDB = iota
	MisconfAOF
	MisconfSources
)

// SetMisconf closes the gate for writes after a persistence error of one source;
// text is the reply. With "" that source is well again, and the gate opens if all
// are.
func (e *Engine) SetMisconf(source int, text string) {
	if text != "" {
		e.misconf[source].Store(&text)
	} else {
		e.misconf[source].Store(nil)
	}
	// Those who store and look last leave what holds.
	for closed := e.misconfText() != ""; ; {
		e.SetGate(GateMisconf, closed)
		if now := e.misconfText() != ""; now == closed {
			return
		} else {
			closed = now
		}
	}
}

// misconfText is the reply to writes while the data set cannot be kept, "" when
// it can.
func (e *Engine) misconfText() string {
	for i := range e.misconf {
		if p := e.misconf[i].Load(); p != nil {
			return *p
		}
	}
	return ""
}

// The refusals, without the leading dash (documented texts).
const (
	errNoAuth      = "NOAUTH Authentication required."
	errLoading     = "LOADING Redis is loading the dataset in memory"
	errStandBack   = "LOADING This primary makes sure that no replica has newer data"
	errReadOnly    = "READONLY You can't write against a read only replica."
	errMasterDown  = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
	errOOM         = "OOM command not allowed when used memory > 'maxmemory'."
	errNoReplicas  = "NOREPLICAS Not enough good replicas to write."
	errNoMultiCmd  = "ERR Command not allowed inside a transaction"
	errSubContext1 = "ERR Can't execute '"
	errSubContext2 = "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
	// ErrMisconfBGSave is the text after a failed background save.
	ErrMisconfBGSave = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. " +
		"Commands that may modify the data set are disabled, because this instance is configured to report errors during " +
		"writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error."
)

// gateSession refuses what the state of the connection forbids; s.special is
// not zero.
func (s *Session) gateSession(spec *command.Spec) string {
	if s.special&specialAuth != 0 && spec.Flags&command.NoAuth == 0 {
		return errNoAuth
	}
	return ""
}

// gate answers whether the command may run now: "" to run, an error reply to
// refuse, or wait to try again once the pause is over. It runs under the
// command's slot locks, after the redirect.
func (s *Session) gate(g uint32, spec *command.Spec) (refuse string, wait bool) {
	f := spec.Flags
	write := f&command.Write != 0
	if spec == s.e.execSpec() {
		write = s.multi.writes
		f |= s.multi.flags & command.DenyOOM
		f &^= s.multi.lacking & (command.Stale | command.Loading)
	}
	if s.special&specialImport != 0 {
		return s.gateImport(g, spec)
	}
	if s.special&specialPrimary != 0 {
		return "", false
	}
	if g&GateOOM != 0 && f&command.DenyOOM != 0 {
		return errOOM, false
	}
	if write || spec.Full == "ping" {
		if g&GateMisconf != 0 && g&GateReplica == 0 {
			if text := s.e.misconfText(); text != "" { // else it has just been lifted
				return text, false
			}
		}
	}
	if write {
		if g&GateMinReplicas != 0 && g&GateReplica == 0 {
			return errNoReplicas, false
		}
		if g&(GateReplica|GateReadOnly) == GateReplica|GateReadOnly {
			return errReadOnly, false
		}
	}
	if s.subs() > 0 && s.out.Proto == 2 && !allowedSubscribed(spec) {
		return errSubContext1 + spec.Full + errSubContext2, false
	}
	if g&GateStale != 0 && f&command.Stale == 0 {
		return errMasterDown, false
	}
	if g&GateLoading != 0 && f&command.Loading == 0 {
		return errLoading, false
	}
	if g&GateStandBack != 0 && f&command.Loading == 0 {
		return errStandBack, false
	}
	if g&(GatePauseAll|GatePauseWrite) != 0 && s.multi.running == false {
		may := write || f&command.MayReplicate != 0 || f&command.PubSubFlag != 0 && spec.Full == "publish"
		if spec == s.e.execSpec() {
			may = s.multi.writes
		}
		if g&GatePauseAll != 0 && !neverPaused(spec) || g&GatePauseWrite != 0 && may {
			return "", true
		}
	}
	if g&GateFrozen != 0 && !s.multi.running && s.frozen(spec) {
		if s.ctx.Retry {
			s.e.freezes.deferred.Store(true)
		}
		return "", true
	}
	return "", false
}

// neverPaused names what works during CLIENT PAUSE ALL: ending it.
func neverPaused(spec *command.Spec) bool {
	switch spec.Full {
	case "client|unpause", "client|kill", "client|list", "client|pause", "info", "replconf", "psync", "sync", "cluster|nodes", "cluster|info", "config|get", "debug":
		return true
	}
	return false
}

func allowedSubscribed(spec *command.Spec) bool {
	switch spec.Full {
	case "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe", "ping", "quit", "reset":
		return true
	}
	return false
}

package command

import (
	"sync/atomic"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// Env is what handlers of one server share. It is safe for concurrent use.
type Env struct {
	Table  *Table
	limits atomic.Pointer[Limits]
}

// Limits are the settings that handlers of data types obey.
type Limits struct {
	rdb.Limits                   // when a collection is packed
	ListCompress             int // list-compress-depth, accepted, without effect
	HLLSparse                int // hll-sparse-max-bytes
	StreamBytes              int // stream-node-max-bytes, 0: no limit
	StreamEntries            int // stream-node-max-entries, 0: no limit
	MaxBulk                  int64
	LazyUserDel, LazyExpire  bool // DEL like UNLINK; expired keys propagate as UNLINK
	LazyServerDel, LazyFlush bool
	ActiveExpire             bool
	ClusterMode              bool
}

// DefaultLimits returns the documented defaults (persistence, 10.6).
func DefaultLimits() *Limits {
	return &Limits{Limits: rdb.DefaultLimits(), HLLSparse: 3000, StreamBytes: 4096, StreamEntries: 100,
		MaxBulk: 512 << 20, ActiveExpire: true}
}

// Limits returns the present settings, never nil.
func (e *Env) Limits() *Limits {
	if l := e.limits.Load(); l != nil {
		return l
	}
	return DefaultLimits()
}

// SetLimits replaces the settings.
func (e *Env) SetLimits(l *Limits) { e.limits.Store(l) }

// ExpireMode says what a lookup does with a key whose time has come.
type ExpireMode uint8

const (
	ExpireDelete ExpireMode = iota // a primary: delete it, propagate the deletion
	ExpireHide                     // a replica: treat it as absent, leave it
	ExpireIgnore                   // commands from the primary, loading: it is there
)

// Key is a key of the command with what finds it.
type Key struct {
	Arg  int
	Slot uint16
	Hash uint64
}

// Change is something a command did to a key.
type Change struct {
	DB    int
	Slot  uint16
	Key   []byte // a slice of an argument
	Event string // name of the keyspace event
}

// Ctx is what one run of a command works with: arguments, keyspace, reply,
// and the record of what it did. One session owns it and reuses it; a handler
// keeps nothing of it. Reply methods are those of resp.Writer.
type Ctx struct {
	*resp.Writer
	Env    *Env
	Spec   *Spec
	Argv   [][]byte
	Client any // the engine's session

	Now      int64 // Unix milliseconds, the same for a whole transaction
	DB       *store.DB
	Expire   ExpireMode
	World    bool // every slot lock is held, not just those of the keys
	MayBlock bool // not in a transaction, a script, or from the primary
	Retry    bool // a blocked command is run again
	LogOn    bool // someone takes the log of effects: propagate
	NoTouch  bool // CLIENT NO-TOUCH: lookups are no accesses; the engine sets it, Reset leaves it

	Keys []Key // the command's keys, in order

	// What the run did; the engine reads and clears it.
	Failed        bool   // an error was replied
	ErrorText     string // the last error, when Failed
	Dirty         int64
	Changes       []Change
	Effects       []byte // commands to propagate, RESP arrays; see Propagate
	NEffects      int    // how many they are
	NoVerbatim    bool   // Effects, even if empty, replace the command itself
	Hits, Misses  int64
	ExpiredKeys   int64
	ExpiredFields int64
	Blocked       *Block

	block Block
	args  Args
	objs  [4]store.Obj
}

// Obj returns scratch cursor i, of four, for the handler to use: a cursor
// declared in the handler would escape to the Go heap.
func (c *Ctx) Obj(i int) *store.Obj { return &c.objs[i] }

// Block says what a blocked command waits for.
type Block struct {
	DeadlineMs int64 // Unix milliseconds, 0 for ever
	NullArray  bool  // reply on timeout: null array rather than null
	Args       []int // positions of the keys waited for
	Gone       bool  // run again also when the key is gone
}

// Reset prepares c for the next command.
func (c *Ctx) Reset(s *Spec, argv [][]byte) {
	c.Spec, c.Argv = s, argv
	c.Failed, c.NoVerbatim, c.Retry = false, false, false
	c.Dirty, c.NEffects = 0, 0
	c.Changes = c.Changes[:0]
	c.Effects = c.Effects[:0]
	c.Blocked = nil
}

// Arg returns argument i; 0 is the command's name.
func (c *Ctx) Arg(i int) []byte { return c.Argv[i] }

// Error replies with an error, text without the leading dash.
func (c *Ctx) Error(text string) {
	c.Failed, c.ErrorText = true, text
	c.Writer.Error(text)
}

// Second returns the access clock's present value.
func (c *Ctx) Second() uint32 { return uint32(c.Now / 1000) }

// PlanKeys fills c.Keys for c.Spec and c.Argv and reports whether the key
// specifications could be followed.
func (c *Ctx) PlanKeys() bool {
	c.Keys = c.Keys[:0]
	if c.Spec.simple {
		last := c.Spec.last
		if last < 0 {
			last += len(c.Argv)
		}
		for i := c.Spec.first; i <= last && i < len(c.Argv); i += c.Spec.step {
			c.Keys = append(c.Keys, MakeKey(i, c.Argv[i]))
		}
		return true
	}
	if c.Spec.FindKeys != nil {
		return c.Spec.FindKeys(c.Argv, func(arg int, _ KeyFlags) {
			c.Keys = append(c.Keys, MakeKey(arg, c.Argv[arg]))
		})
	}
	ok := true
	for i := range c.Spec.Keys {
		ok = c.Spec.Keys[i].each(c.Argv, func(arg int, _ KeyFlags) {
			c.Keys = append(c.Keys, MakeKey(arg, c.Argv[arg]))
		}) && ok
	}
	if c.Spec.ExtraKeys != nil {
		c.Spec.ExtraKeys(c.Argv, func(arg int, _ KeyFlags) {
			c.Keys = append(c.Keys, MakeKey(arg, c.Argv[arg]))
		})
	}
	return ok
}

// MakeKey works out slot and hash of a key.
func MakeKey(arg int, key []byte) Key {
	return Key{Arg: arg, Slot: hashslot.Slot(key), Hash: store.Hash(key)}
}

// key returns the planned key at argument i, or plans it now.
func (c *Ctx) key(i int) Key {
	for k := range c.Keys {
		if c.Keys[k].Arg == i {
			return c.Keys[k]
		}
	}
	return MakeKey(i, c.Argv[i])
}

// Find points o at the key in argument i for reading and reports whether it
// exists. It notes the access and counts the hit or miss.
func (c *Ctx) Find(i int, o *store.Obj) bool {
	if !c.Peek(i, o) {
		c.Misses++
		return false
	}
	c.Hits++
	if !c.NoTouch {
		o.Touch(c.Second())
	}
	return true
}

// Look is Find for commands that ask about the key, not for its value (TTL,
// TYPE, EXISTS, OBJECT): it counts the hit or miss but is no access.
func (c *Ctx) Look(i int, o *store.Obj) bool {
	if !c.Peek(i, o) {
		c.Misses++
		return false
	}
	c.Hits++
	return true
}

// Peek is Find without a trace of the access.
func (c *Ctx) Peek(i int, o *store.Obj) bool {
	k := c.key(i)
	return c.find(k.Slot, k.Hash, c.Argv[i], o)
}

// FindKey is Peek for a key that is no argument. Its slot must be locked.
func (c *Ctx) FindKey(key []byte, o *store.Obj) bool {
	return c.find(hashslot.Slot(key), store.Hash(key), key, o)
}

func (c *Ctx) find(slot uint16, hash uint64, key []byte, o *store.Obj) bool {
	if !c.DB.Find(slot, hash, key, o) {
		return false
	}
	if !o.Expired(c.Now) || c.Expire == ExpireIgnore {
		return true
	}
	if c.Expire == ExpireDelete {
		c.ExpireObj(o)
	}
	*o = store.Obj{}
	return false
}

// FindWrite points o at the key in argument i, to be changed, and reports
// whether it exists. Every change of an existing value starts here.
func (c *Ctx) FindWrite(i int, o *store.Obj) bool {
	if !c.Peek(i, o) {
		return false
	}
	c.DB.Write(o)
	if !c.NoTouch {
		o.Touch(c.Second())
	}
	return true
}

// Typed checks that o, if on a key, is of type t; otherwise it replies
// WRONGTYPE and returns false.
func (c *Ctx) Typed(o *store.Obj, t store.Type) bool {
	if o.Exists() && o.Type() != t {
		c.Error(ErrWrongType)
		return false
	}
	return true
}

// Create makes the key in argument i, which does not exist, with an inline
// value of n undefined bytes, and points o at it.
func (c *Ctx) Create(i int, o *store.Obj, t store.Type, e store.Encoding, n int) []byte {
	k := c.key(i)
	return c.DB.Create(k.Slot, k.Hash, c.Argv[i], t, e, n, 0, c.Second(), o)
}

// CreateExpiring is Create with an expiry, 0 for none.
func (c *Ctx) CreateExpiring(i int, o *store.Obj, t store.Type, e store.Encoding, n int, expireAt int64) []byte {
	k := c.key(i)
	return c.DB.Create(k.Slot, k.Hash, c.Argv[i], t, e, n, expireAt, c.Second(), o)
}

// CreateIn is Create for any database and key, with an expiry (0: none).
func (c *Ctx) CreateIn(db *store.DB, key []byte, o *store.Obj, t store.Type, e store.Encoding, n int, expireAt int64) []byte {
	k := MakeKey(0, key)
	return db.Create(k.Slot, k.Hash, key, t, e, n, expireAt, c.Second(), o)
}

// Delete removes the key that o is on.
func (c *Ctx) Delete(o *store.Obj) { o.DB().Delete(o) }

// ExpireObj deletes a key whose time has come, tells the log and notes the
// event.
func (c *Ctx) ExpireObj(o *store.Obj) {
	key := append([]byte(nil), o.Key()...)
	slot, db, lazy := o.Slot(), o.DB(), c.Env.Limits().LazyExpire
	db.DeleteIn(o, lazy)
	c.ExpiredKeys++
	c.Changes = append(c.Changes, Change{DB: db.Index(), Slot: slot, Key: key, Event: "expired"})
	name := "DEL"
	if lazy {
		name = "UNLINK"
	}
	if c.LogOn {
		// Ahead of the command's own effect; the command itself still counts as
		// unpropagated, so it is appended after this.
		c.Effects = resp.AppendCommand(c.Effects, []byte(name), key)
		c.NEffects++
	}
}

// reapBatch bounds the fields that are deleted from one hash at a time because
// their time has come.
const reapBatch = 256

// ReapFields deletes fields of a hash whose time has come, where this command may:
// some of them, and all those in named. It tells the log and notes the event; a
// hash that becomes empty is deleted, and o is then on no key. Without more ado it
// returns for what is no such hash.
//
// A command that writes names its fields. Those who take the log see a field until
// they are told that it is gone, and would change what is not there here.
func (c *Ctx) ReapFields(o *store.Obj, named [][]byte) {
	if !o.Exists() || !o.Encoding().FieldsExpire() || c.Expire != ExpireDelete {
		return
	}
	if at := o.FieldTime(); at == 0 || at > c.Now {
		return
	}
	key := append([]byte(nil), o.Key()...)
	slot, db := o.Slot(), o.DB()
	db.Write(o)
	n, empty := o.ReapFields(c.Now, reapBatch, named, func(field []byte) {
		if c.LogOn {
			c.Effects = resp.AppendCommand(c.Effects, []byte("HDEL"), key, field)
			c.NEffects++
		}
	})
	c.ExpiredFields += int64(n)
	c.Changes = append(c.Changes, Change{DB: db.Index(), Slot: slot, Key: key, Event: "hexpired"})
	if empty {
		db.Delete(o)
		c.Changes = append(c.Changes, Change{DB: db.Index(), Slot: slot, Key: key, Event: "del"})
	}
}

// ExpireDue deletes a key whose time has come, or the fields whose time has.
func (c *Ctx) ExpireDue(o *store.Obj) {
	if o.Expired(c.Now) {
		c.ExpireObj(o)
	} else {
		c.ReapFields(o, nil)
	}
}

// Changed says that the key in argument i was changed: the dirty count, WATCH,
// client-side caching, keyspace events, waiting clients and, unless Propagate
// is used, replication of the command itself hang on it.
func (c *Ctx) Changed(i int, event string) {
	c.Dirty++
	c.Changes = append(c.Changes, Change{c.DB.Index(), c.key(i).Slot, c.Argv[i], event})
}

// ChangedKey is Changed for a key that is no argument of its own; key must
// outlive the run.
func (c *Ctx) ChangedKey(db *store.DB, key []byte, event string) {
	c.Dirty++
	c.Changes = append(c.Changes, Change{db.Index(), hashslot.Slot(key), key, event})
}

// Notify adds a keyspace event without a further change.
func (c *Ctx) Notify(i int, event string) {
	c.Changes = append(c.Changes, Change{c.DB.Index(), c.key(i).Slot, c.Argv[i], event})
}

// Propagate replaces the command in the log of effects by the one given; used
// several times, by all of them, in order. The arguments are copied.
func (c *Ctx) Propagate(args ...[]byte) {
	c.NoVerbatim = true
	if c.LogOn {
		c.Effects = resp.AppendCommand(c.Effects, args...)
		c.NEffects++
	}
}

// NoPropagate keeps the command out of the log of effects.
func (c *Ctx) NoPropagate() { c.NoVerbatim = true }

// Block parks the client until one of the keys at the given argument positions
// is changed, then the command is run again (Retry). It returns false, having
// done nothing, where blocking is impossible: the handler then replies null.
// timeoutMs 0 waits for ever.
func (c *Ctx) Block(timeoutMs int64, nullArray bool, args ...int) bool {
	if !c.MayBlock {
		return false
	}
	if c.Retry { // still nothing: keep waiting as before
		c.Blocked = &c.block
		return true
	}
	c.block.DeadlineMs, c.block.NullArray, c.block.Gone = 0, nullArray, false
	if timeoutMs > 0 {
		c.block.DeadlineMs = c.Now + timeoutMs
	}
	c.block.Args = append(c.block.Args[:0], args...)
	c.Blocked = &c.block
	return true
}

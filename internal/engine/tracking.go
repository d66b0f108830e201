package engine

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// Client-side caching. In the default mode the server remembers which clients
// have read which keys (the table) and tells them, once, when one changes. In
// broadcasting mode clients name prefixes and hear of every change under them.
// A key is remembered under its slot's lock, by the command that reads it, so
// no change is missed; the message then waits for the replies of the batch
// (push.go), so none comes before the value it is about.
//
// The table names clients by id and is cleaned lazily: an id whose client has
// gone or has stopped tracking is passed over.

// trackState is a session's part in client-side caching.
type trackState struct {
	options atomic.Pointer[trackOptions] // nil: off
	broken  atomic.Bool                  // the redirection's client is gone
	caching bool                         // CLIENT CACHING before this command; the owner's
}

// trackOptions are what CLIENT TRACKING ON was given; immutable.
type trackOptions struct {
	bcast, optin, optout, noloop bool
	redirect                     int64 // 0: none
	prefixes                     []string
}

// trackShards divides the table, as many cores read keys at once.
const trackShards = 64

// defaultTrackingKeys is the default of tracking-table-max-keys.
const defaultTrackingKeys = 1_000_000

// tracking knows which clients cache which keys. Its locks are leaves.
type tracking struct {
	interest *atomic.Uint32
	maxKeys  atomic.Int64 // 0: no bound
	keys     atomic.Int64 // in the table
	items    atomic.Int64 // clients of keys in the table
	shards   [trackShards]trackShard

	mu       sync.RWMutex
	clients  int
	prefixes map[string]map[*Session]struct{} // broadcasting
	lengths  []int                            // of the prefixes, each once
}

type trackShard struct {
	mu   sync.Mutex
	keys map[string][]int64 // ids of clients, ascending
}

func (t *tracking) init(interest *atomic.Uint32) {
	t.interest = interest
	t.maxKeys.Store(defaultTrackingKeys)
	t.prefixes = map[string]map[*Session]struct{}{}
	for i := range t.shards {
		t.shards[i].keys = map[string][]int64{}
	}
}

// SetTrackingMaxKeys bounds the table (tracking-table-max-keys); 0: no bound.
func (e *Engine) SetTrackingMaxKeys(n int64) { e.tracking.maxKeys.Store(n) }

// TrackingCounts returns the clients in tracking, the keys in the table, the
// pairs of key and client in it, and the prefixes of broadcasting clients.
func (e *Engine) TrackingCounts() (clients int, keys, items int64, prefixes int) {
	t := &e.tracking
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.clients, t.keys.Load(), t.items.Load(), len(t.prefixes)
}

func (t *tracking) shard(key []byte) *trackShard {
	return &t.shards[store.Hash(key)%trackShards]
}

// rememberKeys notes the keys that the command in s.ctx has read, under their
// slots' locks; s is in tracking.
func (s *Session) rememberKeys() {
	o, c := s.track.options.Load(), &s.ctx
	if o == nil || o.bcast || c.Spec.Flags&command.ReadOnly == 0 || c.Spec.Flags&command.PubSubFlag != 0 ||
		o.optin && !s.track.caching || o.optout && s.track.caching {
		return
	}
	for _, k := range c.Keys {
		s.e.remember(s.ID, c.Argv[k.Arg])
	}
}

func (e *Engine) remember(id int64, key []byte) {
	t := &e.tracking
	sh := t.shard(key)
	sh.mu.Lock()
	ids, known := sh.keys[string(key)]
	if i, ok := slices.BinarySearch(ids, id); !ok {
		sh.keys[string(key)] = slices.Insert(ids, i, id)
		t.items.Add(1)
	}
	sh.mu.Unlock()
	if !known {
		n := t.keys.Add(1)
		if limit := t.maxKeys.Load(); limit > 0 {
			for range min(n-limit, 2) { // two, to come down to a bound that has become smaller
				e.forgetOne(key)
			}
		}
	}
}

// forgetOne makes room in the table: clients are told that some key, other than
// keep, has changed.
func (e *Engine) forgetOne(keep []byte) {
	t := &e.tracking
	from := store.Hash(keep)
	for i := range uint64(trackShards) {
		sh := &t.shards[(from+i)%trackShards]
		sh.mu.Lock()
		for key, ids := range sh.keys {
			if key == string(keep) {
				continue
			}
			t.dropLocked(sh, key, ids)
			sh.mu.Unlock()
			e.tell(ids, []byte(key), nil)
			return
		}
		sh.mu.Unlock()
	}
}

func (t *tracking) dropLocked(sh *trackShard, key string, ids []int64) {
	delete(sh.keys, key)
	t.keys.Add(-1)
	t.items.Add(-int64(len(ids)))
}

// invalidate tells the clients that may have key in their cache of its change,
// made by the session by, or by nobody. Under the key's slot lock.
func (e *Engine) invalidate(by *Session, key []byte) {
	t := &e.tracking
	if e.interest.Load()&interestTracking == 0 {
		return
	}
	sh := t.shard(key)
	sh.mu.Lock()
	ids := sh.keys[string(key)]
	if len(ids) > 0 {
		t.dropLocked(sh, string(key), ids)
	}
	sh.mu.Unlock()
	e.tell(ids, key, by)

	var told []*Session
	t.mu.RLock()
	for _, n := range t.lengths {
		if n > len(key) {
			break
		}
		for s := range t.prefixes[string(key[:n])] {
			told = append(told, s)
		}
	}
	t.mu.RUnlock()
	for _, s := range told {
		if o := s.track.options.Load(); o != nil && o.bcast && !(o.noloop && s == by) {
			e.sendInvalid(s, o, key)
		}
	}
}

func (e *Engine) tell(ids []int64, key []byte, by *Session) {
	for _, id := range ids {
		s := e.Client(id)
		if s == nil {
			continue
		}
		if o := s.track.options.Load(); o != nil && !o.bcast && !(o.noloop && s == by) {
			e.sendInvalid(s, o, key)
		}
	}
}

// trackingFlush tells every client in tracking to forget all it has cached.
// World lock.
func (e *Engine) trackingFlush() {
	if e.interest.Load()&interestTracking == 0 {
		return
	}
	e.tracking.clear()
	for _, s := range e.Clients() {
		if o := s.track.options.Load(); o != nil {
			e.sendInvalid(s, o, nil)
		}
	}
}

func (t *tracking) clear() {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		for key, ids := range sh.keys {
			t.dropLocked(sh, key, ids)
		}
		sh.mu.Unlock()
	}
}

const invalidateChannel = "__redis__:invalidate"

// sendInvalid tells s, or the client that it redirects to, that key has
// changed; nil: all keys.
func (e *Engine) sendInvalid(s *Session, o *trackOptions, key []byte) {
	to := s
	if o.redirect != 0 {
		if to = e.Client(o.redirect); to == nil {
			s.track.broken.Store(true)
			if s.proto3.Load() {
				w := resp.Writer{Proto: 3}
				w.Push(2)
				w.BulkString("tracking-redir-broken")
				w.Int(o.redirect)
				s.push(w.Buf)
			}
			return
		}
	}
	w := resp.Writer{Proto: 2}
	switch {
	case to.proto3.Load():
		w.Proto = 3
		w.Push(2)
		w.BulkString("invalidate")
	case o.redirect != 0 && to.state.Load()>>16&specialSub != 0:
		w.Push(3)
		w.BulkString("message")
		w.BulkString(invalidateChannel)
	default:
		return // a RESP2 client can hear of it only by redirection
	}
	if key == nil {
		w.Null()
	} else {
		w.Array(1)
		w.Bulk(key)
	}
	to.push(w.Buf)
}

// startTracking puts new options in place of the old; BCAST prefixes add up.
func (e *Engine) startTracking(s *Session, o *trackOptions) {
	t := &e.tracking
	t.mu.Lock()
	old := s.track.options.Load()
	if old == nil {
		t.clients++
		t.interest.Or(interestTracking)
	} else {
		o.prefixes = append(o.prefixes, old.prefixes...)
	}
	for _, p := range o.prefixes {
		join(t.prefixes, p, s)
	}
	t.countLengths()
	s.track.options.Store(o)
	t.mu.Unlock()
	s.track.broken.Store(false)
	s.holdPushesNow()
	s.special |= specialTracking
	s.publishState()
}

// dropTracking ends tracking for s, if it is on.
func (e *Engine) dropTracking(s *Session) {
	t := &e.tracking
	o := s.track.options.Load()
	if o == nil {
		return
	}
	t.mu.Lock()
	for _, p := range o.prefixes {
		leave(t.prefixes, p, s)
	}
	t.countLengths()
	s.track.options.Store(nil)
	t.clients--
	last := t.clients == 0
	if last {
		t.interest.And(^uint32(interestTracking))
	}
	t.mu.Unlock()
	if last {
		t.clear()
	}
	s.track.broken.Store(false)
	s.track.caching = false
	s.special &^= specialTracking
	s.publishState()
}

func (t *tracking) countLengths() {
	set := map[int]struct{}{}
	for p := range t.prefixes {
		set[len(p)] = struct{}{}
	}
	t.lengths = slices.Sorted(maps.Keys(set))
}

const (
	errPrefixExisting = "ERR Prefix '%a' overlaps with an existing prefix '%b'. Prefixes for a single client must not overlap."
	errPrefixProvided = "ERR Prefix '%a' overlaps with another provided prefix '%b'. Prefixes for a single client must not overlap."
	errCachingMode    = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
)

func clientTracking(c *command.Ctx) {
	s := SessionOf(c)
	o := &trackOptions{}
	refuse := func(text string) { c.Error("ERR " + text) }
	a := c.ArgsFrom(3)
	for a.More() {
		switch {
		case a.Left() > 1 && a.Is("redirect"):
			if o.redirect != 0 {
				refuse("A client can only redirect to a single other client")
				return
			}
			id := a.Int()
			if !a.Done() {
				return
			}
			if s.e.Client(id) == nil {
				refuse("The client ID you want redirect to does not exist")
				return
			}
			o.redirect = id
		case a.Is("bcast"):
			o.bcast = true
		case a.Is("optin"):
			o.optin = true
		case a.Is("optout"):
			o.optout = true
		case a.Is("noloop"):
			o.noloop = true
		case a.Left() > 1 && a.Is("prefix"):
			o.prefixes = append(o.prefixes, string(a.Next()))
		default:
			a.Syntax()
		}
	}
	if !a.Done() {
		return
	}
	on, ok := onOff(c, c.Arg(2))
	if !ok {
		return
	}
	if !on {
		s.e.dropTracking(s)
		c.OK()
		return
	}
	old := s.track.options.Load()
	switch {
	case !o.bcast && len(o.prefixes) > 0:
		refuse("PREFIX option requires BCAST mode to be enabled")
		return
	case old != nil && old.bcast != o.bcast:
		refuse("You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.")
		return
	case o.bcast && (o.optin || o.optout):
		refuse("OPTIN and OPTOUT are not compatible with BCAST")
		return
	case o.optin && o.optout:
		refuse("You can't specify both OPTIN mode and OPTOUT mode")
		return
	case old != nil && (o.optin && old.optout || o.optout && old.optin):
		refuse("You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.")
		return
	}
	if text := overlap(old, o.prefixes); text != "" {
		c.Error(text)
		return
	}
	if o.bcast && len(o.prefixes) == 0 && (old == nil || !slices.Contains(old.prefixes, "")) {
		o.prefixes = []string{""} // all keys
	}
	s.e.startTracking(s, o)
	c.OK()
}

// overlap returns the error about the first prefix that begins with another or
// the other way round, "" if there is none.
func overlap(old *trackOptions, prefixes []string) string {
	text := func(format, a, b string) string {
		return strings.NewReplacer("%a", a, "%b", b).Replace(format)
	}
	clash := func(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }
	for i, p := range prefixes {
		if old != nil {
			for _, q := range old.prefixes {
				if clash(p, q) {
					return text(errPrefixExisting, p, q)
				}
			}
		}
		for _, q := range prefixes[i+1:] {
			if clash(p, q) {
				return text(errPrefixProvided, p, q)
			}
		}
	}
	return ""
}

func clientCaching(c *command.Ctx) {
	s := SessionOf(c)
	o := s.track.options.Load()
	switch {
	case o == nil || !o.optin && !o.optout:
		c.Error(errCachingMode)
	case command.Word(c.Arg(2), "yes") && !o.optin:
		c.Error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
	case command.Word(c.Arg(2), "no") && !o.optout:
		c.Error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
	case command.Word(c.Arg(2), "yes"), command.Word(c.Arg(2), "no"):
		s.track.caching = true
		c.OK()
	default:
		c.Error(command.ErrSyntax)
	}
}

func clientGetRedir(c *command.Ctx) {
	if o := SessionOf(c).track.options.Load(); o != nil {
		c.Int(o.redirect)
	} else {
		c.Int(-1)
	}
}

func clientTrackingInfo(c *command.Ctx) {
	s := SessionOf(c)
	o := s.track.options.Load()
	flags, redirect := []string{"off"}, int64(-1)
	if o != nil {
		redirect = o.redirect
		flags[0] = "on"
		for _, f := range []struct {
			on   bool
			name string
		}{{o.bcast, "bcast"}, {o.optin, "optin"}, {o.optin && s.track.caching, "caching-yes"},
			{o.optout, "optout"}, {o.optout && s.track.caching, "caching-no"},
			{o.noloop, "noloop"}, {s.track.broken.Load(), "broken_redirect"}} {
			if f.on {
				flags = append(flags, f.name)
			}
		}
	} else {
		o = &trackOptions{}
	}
	c.Map(3)
	c.BulkString("flags")
	c.Set(len(flags))
	for _, f := range flags {
		c.BulkString(f)
	}
	c.BulkString("redirect")
	c.Int(redirect)
	c.BulkString("prefixes")
	c.Array(len(o.prefixes))
	for _, p := range slices.Sorted(slices.Values(o.prefixes)) {
		c.BulkString(p)
	}
}

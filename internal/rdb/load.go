package rdb

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/store"
)

// LoadOptions says how a file becomes a keyspace.
type LoadOptions struct {
	Limits Limits
	NowMs  int64
	// DropExpired leaves out keys whose time has come, as a primary does with a
	// file of its own. A replica keeps them until its primary deletes them, and
	// the base of a log is kept as it is.
	DropExpired bool
	// SkipModules leaves out what only a module can read: values, and data beside
	// the keys. Without it they end the load with ErrModuleData.
	SkipModules bool
	AnyVersion  bool // see Reader
	// Function takes a function library; its error ends the load. nil passes
	// libraries over (LoadStats.Functions counts them).
	Function func(source []byte) error
	// Aux is told of every fact about the file, known or not.
	Aux func(name, value []byte)
	// Between runs now and then, without locks; its error ends the load.
	Between func(s *LoadStats) error
	// KeyDelay is Delay.PerKey.
	KeyDelay func() time.Duration

	held int   // for tests, instead of maxHeld
	room int64 // likewise, of bigRoom
}

// LoadStats says what was in a file.
type LoadStats struct {
	Keys      int    // put into the keyspace
	Expired   int    // left out because their time has come
	Empty     int    // left out because they had no elements
	Modules   int    // left out because only a module could read them
	ModuleAux int    // pieces of data beside the keys, likewise
	Module    string // type of one of them
	Functions int    // libraries, without LoadOptions.Function left out
	Bytes     int64  // consumed
	Version   int    // of the format
	Info      Info   // what AUX fields said; Repl is nil unless id and offset were there
}

// LeftOut names, for the log, what a file held and the options said to leave out; ""
// if there was nothing of the kind.
func (s *LoadStats) LeftOut() string {
	var what []string
	if s.Modules > 0 {
		what = append(what, fmt.Sprintf("%d keys with values of modules (such as %s)", s.Modules, s.Module))
	}
	if s.ModuleAux > 0 {
		what = append(what, fmt.Sprintf("%d pieces of data of modules beside the keys (such as of %s)", s.ModuleAux, s.Module))
	}
	if s.Functions > 0 {
		what = append(what, strconv.Itoa(s.Functions)+" function libraries")
	}
	return strings.Join(what, ", ")
}

// ErrModuleData says that a file holds what only a module can read. To lose it
// without a word would be the worse answer, and servers without the module refuse
// such files too.
var ErrModuleData = errors.New("this server has no modules. Remove such keys on a server that has the module, " +
	"or set rdb-module-data to skip: they are then left out, and lost with the next file that is written here")

// moduleRefused is that error, of what is at an offset.
func moduleRefused(at int64, what string, id uint64) error {
	return &FormatError{Offset: at, What: what, Err: fmt.Errorf("of module type %s: %w", moduleName(id), ErrModuleData)}
}

// Progress is told how a load of one or more files goes.
type Progress struct {
	// At says that so many bytes are loaded. s is of the RDB being read, nil for
	// commands. Its error ends the load.
	At func(bytes int64, s *LoadStats) error
	// Done ends it; s is of the RDB, nil if none was read to its end.
	Done func(s *LoadStats)
}

// From one call of Between to the next so many keys go by, or bytes.
const (
	betweenKeys  = 512
	betweenBytes = 1 << 20
)

// Load reads one RDB from r, which nothing was read from yet, into st. The caller's
// goroutine finds out where the records are, others decode them and put them in
// (parallel.go), taking the lock of one slot at a time. Databases are expected
// empty: a key that is there already is an error, as it is when a file has it
// twice. After an error, which is the first of the file, some keys, also from
// behind it, remain; the caller clears them.
func Load(r *Reader, st *store.Store, o *LoadOptions) (s LoadStats, err error) {
	s.Info.Repl = &ReplInfo{DB: -1, Offset: -1}
	r.AnyVersion = o.AnyVersion
	p := newPipeline(&r.s, st, o)
	defer func() {
		if werr := p.close(&s); werr != nil {
			err = werr // it is of a record before what was read last
		}
		s.Bytes, s.Version = r.Offset(), r.Version()
		if s.Info.Repl.ID == "" || s.Info.Repl.Offset < 0 {
			s.Info.Repl = nil
		}
	}()
	own := recordLoader{st: st, o: o, b: Builder{Limits: o.Limits}, stats: &s}
	last := int64(0) // where Between was called
	between := func() error {
		last = r.Offset()
		if o.Between == nil {
			return nil
		}
		at := s
		at.Bytes, at.Keys = r.Offset(), s.Keys+int(p.keys.Load())
		return o.Between(&at)
	}
	delay := Delay{PerKey: o.KeyDelay}
	for n := 0; ; {
		event, err := r.Next()
		if err != nil {
			return s, err
		}
		switch event {
		case EventEnd:
			return s, nil
		case EventAux:
			name, value := r.Aux()
			s.Info.set(name, value)
			if o.Aux != nil {
				o.Aux(name, value)
			}
		case EventDB:
			if r.DB() >= st.DBs() {
				return s, fmt.Errorf("rdb: offset %d: database %d of a file, and only %d are configured", r.Offset(), r.DB(), st.DBs())
			}
		case EventModuleAux:
			if !o.SkipModules {
				return s, moduleRefused(r.moduleAt, "data beside the keys", r.module)
			}
			s.ModuleAux++
			s.Module = r.Module()
		case EventFunction:
			if o.Function == nil {
				s.Functions++
			} else if err := o.Function(r.Function()); err != nil {
				return s, err
			}
		case EventKey, eventPassed:
			if event == EventKey {
				k := r.Key()
				if err := own.load(&r.s, r.Value(), k, hashslot.Slot(k.Name), store.Hash(k.Name)); err != nil {
					return s, err
				}
			}
			if err := delay.Keys(1, between); err != nil {
				return s, err
			}
			if n++; n%betweenKeys != 0 && r.Offset()-last < betweenBytes {
				break
			}
			if p.failed.Load() {
				return s, nil // close tells
			}
			if err := between(); err != nil {
				return s, err
			}
		}
	}
}

// recordLoader puts records into the keyspace, for one goroutine.
type recordLoader struct {
	st    *store.Store
	o     *LoadOptions
	b     Builder
	stats *LoadStats
}

// load takes one key, whose value is the next thing in s.
func (l *recordLoader) load(s *source, v *Value, k *Key, slot uint16, hash uint64) error {
	o := l.o
	if o.DropExpired && k.ExpireAtMs != 0 && k.ExpireAtMs <= o.NowMs {
		l.stats.Expired++
		v.skip()
		return s.err
	}
	switch err := l.b.Build(v, l.st.Heap, store.StripeOf(slot)); {
	case errors.Is(err, ErrEmpty):
		l.stats.Empty++
		return nil
	case errors.Is(err, ErrModule):
		if !o.SkipModules {
			return moduleRefused(v.idAt, fmt.Sprintf("key %q of database %d: value", clip(k.Name), k.DB), v.module)
		}
		l.stats.Modules++
		l.stats.Module = moduleName(v.module)
		return nil
	case err != nil:
		return fmt.Errorf("key %q: %w", clip(k.Name), err)
	}
	second := uint32(o.NowMs / 1000)
	l.st.Lock(slot)
	defer l.st.Unlock(slot)
	db := l.st.DB(k.DB)
	var obj store.Obj
	if db.Find(slot, hash, k.Name, &obj) {
		l.b.Drop()
		return &FormatError{Offset: s.offset(), What: "key", Err: fmt.Errorf("%w: %q is there twice", ErrCorrupt, clip(k.Name))}
	}
	l.b.Create(db, slot, hash, k.Name, k.ExpireAtMs, second, &obj)
	obj.SetAccessFacts(second, k.IdleSec, k.Freq)
	l.stats.Keys++
	return nil
}

// clip shortens a key for a message.
func clip(key []byte) []byte { return key[:min(len(key), 128)] }

// set notes an AUX field.
func (i *Info) set(name, value []byte) {
	number := func() int64 {
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	switch string(bytes.ToLower(name)) {
	case "redis-ver", "valkey-ver":
		i.ServerVersion = string(value)
	case "ctime":
		i.CreatedSec = number()
	case "used-mem":
		i.UsedMemory = number()
	case "aof-base", "aof-preamble":
		i.AOFBase = number() == 1
	case "cluster-slot-states":
		i.SlotStates = string(value)
	case "repl-stream-db":
		i.Repl.DB = int(number())
	case "repl-id":
		if len(value) == 40 {
			i.Repl.ID = string(value)
		}
	case "repl-offset":
		i.Repl.Offset = number()
	}
}

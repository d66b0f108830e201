package rdb

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

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
	// Dropped is told of those keys.
	Dropped func(db int, key []byte)
	// Function takes a function library; its error ends the load. nil passes
	// libraries over (LoadStats.Functions counts them).
	Function func(source []byte) error
	// Aux is told of every fact about the file, known or not.
	Aux func(name, value []byte)
	// Between runs now and then, without locks; its error ends the load.
	Between func(s *LoadStats) error
}

// LoadStats says what was in a file.
type LoadStats struct {
	Keys      int   // put into the keyspace
	Expired   int   // left out because their time has come
	Empty     int   // left out because they had no elements
	Modules   int   // left out because only a module could read them
	Functions int   // libraries, without LoadOptions.Function left out
	Bytes     int64 // consumed
	Version   int   // of the format
	Info      Info  // what AUX fields said; Repl is nil unless id and offset were there
}

// LeftOut names, for the log, what a file held that no server without modules and
// functions can keep; "" if there was nothing of the kind.
func (s *LoadStats) LeftOut() string {
	var what []string
	if s.Modules > 0 {
		what = append(what, strconv.Itoa(s.Modules)+" keys with values of modules")
	}
	if s.Functions > 0 {
		what = append(what, strconv.Itoa(s.Functions)+" function libraries")
	}
	return strings.Join(what, ", ")
}

// betweenKeys is how many keys go by from one call of Between to the next.
const betweenKeys = 512

// Load reads one RDB from r into st, taking the lock of one slot at a time, and
// only while a finished record is put in. Databases are expected empty: a key
// that is there already is an error, as it is when a file has it twice. After an
// error the keys read so far remain; the caller clears them.
func Load(r *Reader, st *store.Store, o *LoadOptions) (s LoadStats, err error) {
	s.Info.Repl = &ReplInfo{DB: -1, Offset: -1}
	defer func() {
		s.Bytes, s.Version = r.Offset(), r.Version()
		if s.Info.Repl.ID == "" || s.Info.Repl.Offset < 0 {
			s.Info.Repl = nil
		}
	}()
	b := Builder{Limits: o.Limits}
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
		case EventFunction:
			if o.Function == nil {
				s.Functions++
			} else if err := o.Function(r.Function()); err != nil {
				return s, err
			}
		case EventKey:
			if err := loadKey(r, st, o, &b, &s); err != nil {
				return s, err
			}
			if n++; n%betweenKeys == 0 && o.Between != nil {
				s.Bytes = r.Offset()
				if err := o.Between(&s); err != nil {
					return s, err
				}
			}
		}
	}
}

func loadKey(r *Reader, st *store.Store, o *LoadOptions, b *Builder, s *LoadStats) error {
	k := r.Key()
	if o.DropExpired && k.ExpireAtMs != 0 && k.ExpireAtMs <= o.NowMs {
		s.Expired++
		if o.Dropped != nil {
			o.Dropped(k.DB, k.Name)
		}
		return nil
	}
	slot := hashslot.Slot(k.Name)
	switch err := b.Build(r.Value(), st.Heap, store.StripeOf(slot)); {
	case errors.Is(err, ErrEmpty):
		s.Empty++
		return nil
	case errors.Is(err, ErrModule):
		s.Modules++
		return nil
	case err != nil:
		return fmt.Errorf("key %q: %w", clip(k.Name), err)
	}
	second := o.NowMs / 1000
	if k.IdleSec > 0 {
		second -= min(k.IdleSec, second)
	}
	hash := store.Hash(k.Name)
	st.Lock(slot)
	defer st.Unlock(slot)
	db := st.DB(k.DB)
	var obj store.Obj
	if db.Find(slot, hash, k.Name, &obj) {
		b.Drop()
		return &FormatError{Offset: r.Offset(), What: "key", Err: fmt.Errorf("%w: %q is there twice", ErrCorrupt, clip(k.Name))}
	}
	b.Create(db, slot, hash, k.Name, k.ExpireAtMs, uint32(second), &obj)
	s.Keys++
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

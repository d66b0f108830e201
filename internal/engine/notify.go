package engine

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/command"
)

// Classes of keyspace events, as the letters of notify-keyspace-events name
// them.
const (
	NotifyKeyspace = 1 << iota // K
	NotifyKeyevent             // E
	NotifyGeneric              // g
	NotifyString               // $
	NotifyList                 // l
	NotifySet                  // s
	NotifyHash                 // h
	NotifyZSet                 // z
	NotifyExpired              // x
	NotifyEvicted              // e
	NotifyStream               // t
	NotifyMiss                 // m
	NotifyModule               // d
	NotifyNew                  // n
	notifyAll      = NotifyGeneric | NotifyString | NotifyList | NotifySet | NotifyHash | NotifyZSet | NotifyExpired | NotifyEvicted | NotifyStream | NotifyModule
)

const notifyLetters = "KEg$lshzxetmdn"

// ParseNotify reads the value of notify-keyspace-events.
func ParseNotify(s string) (uint32, error) {
	var f uint32
	for _, c := range s {
		if c == 'A' {
			f |= notifyAll
			continue
		}
		i := strings.IndexRune(notifyLetters, c)
		if i < 0 {
			return 0, fmt.Errorf("engine: event class %q: want letters of A%s", c, notifyLetters)
		}
		f |= 1 << i
	}
	return f, nil
}

// SetNotify chooses which events are published.
func (e *Engine) SetNotify(f uint32) {
	e.notify.Store(f)
	if f&(NotifyKeyspace|NotifyKeyevent) != 0 {
		e.interest.Or(interestNotify)
	} else {
		e.interest.And(^uint32(interestNotify))
	}
}

// genericEvents belong to class g whatever the command's family.
var genericEvents = map[string]uint32{"del": NotifyGeneric, "expire": NotifyGeneric, "persist": NotifyGeneric, "rename_from": NotifyGeneric,
	"rename_to": NotifyGeneric, "move_from": NotifyGeneric, "move_to": NotifyGeneric, "copy_to": NotifyGeneric, "restore": NotifyGeneric,
	"expired": NotifyExpired, "evicted": NotifyEvicted, "sortstore": NotifyList, "new": NotifyNew, "keymiss": NotifyMiss}

// eventPrefixes give the class of a data type's events by how they begin,
// where the command's group does not say it.
func eventClass(by *Session, event string) uint32 {
	if f, ok := genericEvents[event]; ok {
		return f
	}
	if by != nil && by.ctx.Spec != nil {
		switch by.ctx.Spec.Group {
		case command.String, command.Bitmap, command.HyperLogLog:
			return NotifyString
		case command.List:
			return NotifyList
		case command.Set:
			return NotifySet
		case command.Hash:
			return NotifyHash
		case command.SortedSet, command.Geo:
			return NotifyZSet
		case command.Stream:
			return NotifyStream
		}
	}
	return NotifyGeneric
}

func (e *Engine) notifyEvent(by *Session, ch *command.Change) {
	f := e.notify.Load()
	if f&eventClass(by, ch.Event) == 0 {
		return
	}
	db := strconv.Itoa(ch.DB)
	if f&NotifyKeyspace != 0 {
		e.Deliver(false, append([]byte("__keyspace@"+db+"__:"), ch.Key...), []byte(ch.Event))
	}
	if f&NotifyKeyevent != 0 {
		e.Deliver(false, []byte("__keyevent@"+db+"__:"+ch.Event), ch.Key)
	}
}

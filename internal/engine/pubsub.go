package engine

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/glob"
	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/resp"
)

// subState is a session's subscriptions. It belongs to the session's goroutine,
// except shard, which pubsub.mu guards as slots may be taken away.
type subState struct {
	channels map[string]struct{}
	patterns map[string]struct{}
	shard    map[string]struct{}
}

func (s *Session) subs() int {
	return len(s.sub.channels) + len(s.sub.patterns) + s.e.pubsub.shardCount(s)
}

// pubsub knows who listens to what. Its lock is a leaf.
type pubsub struct {
	mu       sync.RWMutex
	channels map[string]map[*Session]struct{}
	patterns map[string]map[*Session]struct{}
	shard    map[string]map[*Session]struct{}
}

func (p *pubsub) init() {
	p.channels = map[string]map[*Session]struct{}{}
	p.patterns = map[string]map[*Session]struct{}{}
	p.shard = map[string]map[*Session]struct{}{}
}

func (p *pubsub) shardCount(s *Session) int {
	if s.sub.shard == nil {
		return 0
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(s.sub.shard)
}

func join(m map[string]map[*Session]struct{}, name string, s *Session) {
	if m[name] == nil {
		m[name] = map[*Session]struct{}{}
	}
	if _, ok := m[name][s]; !ok {
		m[name][s] = struct{}{}
		s.subSize.Add(int64(len(name) + subCost))
	}
}

func leave(m map[string]map[*Session]struct{}, name string, s *Session) {
	if _, ok := m[name][s]; ok {
		delete(m[name], s)
		s.subSize.Add(-int64(len(name) + subCost))
	}
	if len(m[name]) == 0 {
		delete(m, name)
	}
}

// subCost is about what a subscription takes in two maps beside its name.
const subCost = 100

// Deliver gives a message to this node's subscribers and returns how many got
// it. Any goroutine, any locks but leaf ones.
func (e *Engine) Deliver(shard bool, channel, message []byte) int {
	p := &e.pubsub
	p.mu.RLock()
	defer p.mu.RUnlock()
	n := 0
	var two, three []byte // the message in both protocols
	kind := "message"
	m := p.channels
	if shard {
		kind, m = "smessage", p.shard
	}
	bytes := 0
	for s := range m[string(channel)] {
		bytes += s.pushMessage(&two, &three, kind, nil, channel, message)
		n++
	}
	if shard {
		if st := e.slotStats.on.Load(); st != nil && n > 0 {
			st[hashslot.Slot(channel)].Out.Add(int64(bytes))
		}
		return n
	}
	for pattern, subs := range p.patterns {
		if !glob.Match([]byte(pattern), channel, false) {
			continue
		}
		two, three = two[:0], three[:0]
		for s := range subs {
			s.pushMessage(&two, &three, "pmessage", []byte(pattern), channel, message)
			n++
		}
	}
	return n
}

// pushMessage sends a message to a subscriber, and returns its size. It is built
// once for each protocol, in two and three.
func (s *Session) pushMessage(two, three *[]byte, kind string, pattern, channel, message []byte) int {
	buf, proto := two, 2
	if s.proto3.Load() {
		buf, proto = three, 3
	}
	if len(*buf) == 0 {
		w := resp.Writer{Buf: *buf, Proto: proto}
		if pattern != nil {
			w.Push(4)
			w.BulkString(kind)
			w.Bulk(pattern)
		} else {
			w.Push(3)
			w.BulkString(kind)
		}
		w.Bulk(channel)
		w.Bulk(message)
		*buf = w.Buf
	}
	s.push(*buf)
	return len(*buf)
}

// subReply confirms a subscription or its end.
func (s *Session) subReply(w *resp.Writer, kind string, name []byte, count int) {
	w.Push(3)
	w.BulkString(kind)
	if name == nil {
		w.Null()
	} else {
		w.Bulk(name)
	}
	w.Int(int64(count))
}

func (s *Session) subChanged() {
	if s.subs() > 0 {
		s.special |= specialSub
		s.conn.SetClass(ClassPubSub)
	} else {
		s.special &^= specialSub
		s.conn.SetClass(ClassNormal)
	}
	s.publishState()
}

func subscribeRun(c *command.Ctx) {
	s := SessionOf(c)
	p := &s.e.pubsub
	pattern := c.Spec.Name == "psubscribe"
	s.holdPushesNow() // no message before the confirmation
	for _, a := range c.Argv[1:] {
		name := string(a)
		p.mu.Lock()
		if pattern {
			if s.sub.patterns == nil {
				s.sub.patterns = map[string]struct{}{}
			}
			s.sub.patterns[name] = struct{}{}
			join(p.patterns, name, s)
		} else {
			if s.sub.channels == nil {
				s.sub.channels = map[string]struct{}{}
			}
			s.sub.channels[name] = struct{}{}
			join(p.channels, name, s)
		}
		p.mu.Unlock()
		s.subReply(&s.out, c.Spec.Name, a, len(s.sub.channels)+len(s.sub.patterns))
	}
	s.subChanged()
}

func unsubscribeRun(c *command.Ctx) {
	s := SessionOf(c)
	p := &s.e.pubsub
	mine, all := &s.sub.channels, p.channels
	if c.Spec.Name == "punsubscribe" {
		mine, all = &s.sub.patterns, p.patterns
	}
	names := c.Argv[1:]
	if len(names) == 0 {
		for _, n := range slices.Sorted(maps.Keys(*mine)) {
			names = append(names, []byte(n))
		}
		if len(names) == 0 {
			s.subReply(&s.out, c.Spec.Name, nil, len(s.sub.channels)+len(s.sub.patterns))
		}
	}
	for _, a := range names {
		p.mu.Lock()
		if _, ok := (*mine)[string(a)]; ok {
			delete(*mine, string(a))
			leave(all, string(a), s)
		}
		p.mu.Unlock()
		s.subReply(&s.out, c.Spec.Name, a, len(s.sub.channels)+len(s.sub.patterns))
	}
	s.subChanged()
}

func ssubscribeRun(c *command.Ctx) {
	s := SessionOf(c)
	s.holdPushesNow()
	p := &s.e.pubsub
	for _, a := range c.Argv[1:] {
		p.mu.Lock()
		if s.sub.shard == nil {
			s.sub.shard = map[string]struct{}{}
		}
		s.sub.shard[string(a)] = struct{}{}
		join(p.shard, string(a), s)
		n := len(s.sub.shard)
		p.mu.Unlock()
		s.subReply(&s.out, "ssubscribe", a, n)
	}
	s.subChanged()
}

func sunsubscribeRun(c *command.Ctx) {
	s := SessionOf(c)
	p := &s.e.pubsub
	names := c.Argv[1:]
	if len(names) == 0 {
		p.mu.RLock()
		for _, n := range slices.Sorted(maps.Keys(s.sub.shard)) {
			names = append(names, []byte(n))
		}
		p.mu.RUnlock()
		if len(names) == 0 {
			s.subReply(&s.out, "sunsubscribe", nil, 0)
		}
	}
	for _, a := range names {
		p.mu.Lock()
		if _, ok := s.sub.shard[string(a)]; ok {
			delete(s.sub.shard, string(a))
			leave(p.shard, string(a), s)
		}
		n := len(s.sub.shard)
		p.mu.Unlock()
		s.subReply(&s.out, "sunsubscribe", a, n)
	}
	s.subChanged()
}

// DropShardSubscriptions ends the shard subscriptions of slots that lost
// returns true for, telling the subscribers. Source: cluster specification,
// 10.6.
func (e *Engine) DropShardSubscriptions(lost func(slot uint16) bool) {
	p := &e.pubsub
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, subs := range p.shard {
		if !lost(hashslot.Slot([]byte(name))) {
			continue
		}
		for s := range subs {
			delete(s.sub.shard, name)
			s.subSize.Add(-int64(len(name) + subCost))
			w := resp.Writer{Proto: 2}
			if s.proto3.Load() {
				w.Proto = 3
			}
			s.subReply(&w, "sunsubscribe", []byte(name), len(s.sub.shard))
			s.push(w.Buf)
		}
		delete(p.shard, name)
	}
}

// dropSubscriptions forgets a session that is gone, or RESET.
func (e *Engine) dropSubscriptions(s *Session) {
	p := &e.pubsub
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := range s.sub.channels {
		leave(p.channels, n, s)
	}
	for n := range s.sub.patterns {
		leave(p.patterns, n, s)
	}
	for n := range s.sub.shard {
		leave(p.shard, n, s)
	}
	s.sub = subState{}
	s.special &^= specialSub
}

func publishRun(c *command.Ctx) {
	s := SessionOf(c)
	shard := c.Spec.Name == "spublish"
	n := s.e.Deliver(shard, c.Arg(1), c.Arg(2))
	if s.e.Publish != nil && s.special&specialPrimary == 0 {
		s.e.Publish(shard, c.Arg(1), c.Arg(2))
	} else if c.LogOn && s.e.Publish == nil {
		c.Propagate(c.Argv...)
	}
	s.e.Stats.PubSubMessages.Add(1)
	c.Int(int64(n))
}

func pubsubChannels(c *command.Ctx) {
	s := SessionOf(c)
	if len(c.Argv) > 3 {
		c.Error(badSubcommand(c))
		return
	}
	p := &s.e.pubsub
	m := p.channels
	if strings.HasPrefix(c.Spec.Name, "shard") {
		m = p.shard
	}
	p.mu.RLock()
	names := slices.Sorted(maps.Keys(m))
	p.mu.RUnlock()
	mark, n := c.Defer(), 0
	for _, name := range names {
		if len(c.Argv) == 2 || glob.Match(c.Arg(2), []byte(name), false) {
			c.BulkString(name)
			n++
		}
	}
	c.EndArray(mark, n)
}

func pubsubNumSub(c *command.Ctx) {
	s := SessionOf(c)
	p := &s.e.pubsub
	m := p.channels
	if strings.HasPrefix(c.Spec.Name, "shard") {
		m = p.shard
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	c.Array(2 * (len(c.Argv) - 2))
	for _, name := range c.Argv[2:] {
		c.Bulk(name)
		c.Int(int64(len(m[string(name)])))
	}
}

func pubsubNumPat(c *command.Ctx) {
	s := SessionOf(c)
	s.e.pubsub.mu.RLock()
	defer s.e.pubsub.mu.RUnlock()
	c.Int(int64(len(s.e.pubsub.patterns)))
}

func pubsubHelp(c *command.Ctx) {
	c.Help(
		"CHANNELS [<pattern>]", "    List the channels with subscribers that match the pattern (default: '*').",
		"NUMPAT", "    Count the patterns listened to.",
		"NUMSUB [<channel> ...]", "    Count the subscribers of channels, those of patterns aside.",
		"SHARDCHANNELS [<pattern>]", "    List the shard channels with subscribers.",
		"SHARDNUMSUB [<shardchannel> ...]", "    Count the subscribers of shard channels.",
	)
}

// PubSubCounts returns the numbers of channels, patterns and shard channels
// with subscribers.
func (e *Engine) PubSubCounts() (channels, patterns, shard int) {
	e.pubsub.mu.RLock()
	defer e.pubsub.mu.RUnlock()
	return len(e.pubsub.channels), len(e.pubsub.patterns), len(e.pubsub.shard)
}

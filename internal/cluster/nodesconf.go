package cluster

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// nodes.conf is text, a line per node and a last line of variables (spec 9.1):
//
//	<id> <addr> <flags> <primary id or -> <ping-sent> <pong-received> <configEpoch> <link-state> [<slots> ...]
//	vars currentEpoch <n> lastVoteEpoch <n> [clusterId <n> [hearsay <id>[,<id> ...]]]
//
//	addr   ip:port@cport[,hostname[,name=value ...]]   ip and hostname may be empty
//	slots  n, a-b, [n->-id] migrating to, [n-<-id] importing from
//
// The port after the ip is the TCP port, the TLS port follows as tls-port=.

// confFlags are the flags with a name, in the order they are written.
var confFlags = []struct {
	flag Flags
	name string
}{
	{FlagMyself, "myself"},
	{FlagPrimary, "master"},
	{FlagReplica, "slave"},
	{FlagPFail, "fail?"},
	{FlagFail, "fail"},
	{FlagHandshake, "handshake"},
	{FlagNoAddr, "noaddr"},
	{FlagNoFailover, "nofailover"},
}

// AppendFlags appends f as CLUSTER NODES and nodes.conf show it.
func AppendFlags(dst []byte, f Flags) []byte {
	start := len(dst)
	for _, cf := range confFlags {
		if f.Has(cf.flag) {
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = append(dst, cf.name...)
		}
	}
	if len(dst) == start {
		dst = append(dst, "noflags"...)
	}
	return dst
}

// AppendRanges appends the slots of s as CLUSTER NODES and nodes.conf show
// them, each item after a space.
func AppendRanges(dst []byte, s *SlotSet) []byte {
	for first, last := range s.Ranges() {
		dst = strconv.AppendInt(append(dst, ' '), int64(first), 10)
		if last > first {
			dst = strconv.AppendInt(append(dst, '-'), int64(last), 10)
		}
	}
	return dst
}

// Encode returns the text of nodes.conf. Names and addresses that the grammar
// cannot hold are left out, so that the file always loads.
func (c *NodesConf) Encode() []byte {
	dst := make([]byte, 0, 64+256*len(c.Nodes))
	for i := range c.Nodes {
		dst = c.Nodes[i].append(dst)
	}
	dst = append(dst, "vars currentEpoch "...)
	dst = strconv.AppendUint(dst, c.CurrentEpoch, 10)
	dst = append(dst, " lastVoteEpoch "...)
	dst = strconv.AppendUint(dst, c.LastVoteEpoch, 10)
	if c.ClusterID != 0 { // others skip a variable that they do not know
		dst = strconv.AppendUint(append(dst, " clusterId "...), c.ClusterID, 10)
		before := " hearsay "
		for i := range c.Nodes {
			if n := &c.Nodes[i]; n.Hearsay && !n.Flags.Has(FlagMyself) {
				dst = append(append(dst, before...), n.ID[:]...)
				before = ","
			}
		}
	}
	return append(dst, '\n')
}

func (n *ConfNode) append(dst []byte) []byte {
	dst = append(dst, n.ID[:]...)
	dst = append(dst, ' ')
	if confText(n.Addr.IP) {
		dst = append(dst, n.Addr.IP...)
	}
	dst = strconv.AppendUint(append(dst, ':'), uint64(n.Addr.Port), 10)
	dst = strconv.AppendUint(append(dst, '@'), uint64(n.Addr.BusPort), 10)
	dst = append(dst, ',')
	if confText(n.Hostname) {
		dst = append(dst, n.Hostname...)
	}
	aux := func(name, value string) {
		if value != "" && confText(value) {
			dst = append(append(append(append(dst, ','), name...), '='), value...)
		}
	}
	if isIP(n.ClientIPv6) {
		aux("client-ipv6", n.ClientIPv6)
	}
	if isIP(n.ClientIPv4) {
		aux("client-ipv4", n.ClientIPv4)
	}
	aux("tls-port", strconv.Itoa(int(n.Addr.TLSPort)))
	aux("nodename", n.Nodename)
	if !n.ShardID.IsZero() {
		aux("shard-id", n.ShardID.String())
	}
	dst = AppendFlags(append(dst, ' '), n.Flags)
	dst = append(append(dst, ' '), n.Primary.String()...)
	dst = strconv.AppendInt(append(dst, ' '), int64(n.PingSent), 10)
	dst = strconv.AppendInt(append(dst, ' '), int64(n.PongReceived), 10)
	dst = strconv.AppendUint(append(dst, ' '), n.ConfigEpoch, 10)
	if n.Connected {
		dst = append(dst, " connected"...)
	} else {
		dst = append(dst, " disconnected"...)
	}
	dst = AppendRanges(dst, n.Slots)
	for _, m := range n.Migrating {
		dst = m.append(dst, "->-")
	}
	i := 0 // both lists ascend; of a slot with two markers only migrating is written
	for _, m := range n.Importing {
		for i < len(n.Migrating) && n.Migrating[i].Slot < m.Slot {
			i++
		}
		if i == len(n.Migrating) || n.Migrating[i].Slot != m.Slot {
			dst = m.append(dst, "-<-")
		}
	}
	return append(dst, '\n')
}

func (m SlotMark) append(dst []byte, arrow string) []byte {
	dst = strconv.AppendUint(append(dst, " ["...), uint64(m.Slot), 10)
	dst = append(append(dst, arrow...), m.Node[:]...)
	return append(dst, ']')
}

// confText tells whether s can stand in an addr field: it must not end the
// field, the value, or start a quotation, nor hold what Valkey forbids there.
func confText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7F || strings.IndexByte("!#$%&()*+;<>?@[]^{|}~,=\"'\\", c) >= 0 {
			return false
		}
	}
	return true
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// ParseNodesConf reads the text of nodes.conf as all versions of Redis and
// Valkey write it. Empty text gives nil: there is no configuration yet.
// tlsCluster says which kind the port of an old file, one without tls-port, is.
// skipped are the variables it did not know, for the log. An error names the
// line; the process must not start then.
//
// The result is what the file says. What a machine makes of it at start (9.2
// rules 4 and 6 to 8, 10) is New's business.
func ParseNodesConf(text []byte, tlsCluster bool) (c *NodesConf, skipped []string, err error) {
	if len(text) == 0 {
		return nil, nil, nil
	}
	p := confParser{conf: &NodesConf{}, tlsCluster: tlsCluster, myself: -1, index: map[NodeID]int{}}
	for line := 1; len(text) > 0; line++ {
		var row []byte
		row, text, _ = bytes.Cut(text, []byte{'\n'})
		fields, err := splitFields(row)
		if err == nil && len(fields) > 0 {
			if fields[0] == "vars" {
				err = p.vars(fields)
			} else {
				err = p.node(fields)
			}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("cluster: nodes.conf line %d: %w", line, err)
		}
	}
	if p.myself < 0 {
		return nil, nil, fmt.Errorf("cluster: nodes.conf: no line is flagged myself")
	}
	for _, id := range p.hearsay {
		if at, known := p.index[id]; known && at != p.myself {
			p.conf.Nodes[at].Hearsay = true
		}
	}
	me := &p.conf.Nodes[p.myself]
	me.Migrating, me.Importing = marks(&p.migrating), marks(&p.importing)
	return p.conf, p.skipped, nil
}

type confParser struct {
	conf       *NodesConf
	tlsCluster bool
	myself     int // index in conf.Nodes, -1 while unknown
	index      map[NodeID]int
	assigned   SlotSet
	migrating  map[uint16]NodeID
	importing  map[uint16]NodeID
	hearsay    []NodeID
	skipped    []string
}

func parseIDs(s string) (ids []NodeID, err error) {
	for text := range strings.SplitSeq(s, ",") {
		id, ok := ParseID(text)
		if !ok {
			return nil, fmt.Errorf("invalid node id %q", text)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// marks lists the markers of a slot map in ascending order.
func marks(of *map[uint16]NodeID) []SlotMark {
	if len(*of) == 0 {
		return nil
	}
	list := make([]SlotMark, 0, len(*of))
	for slot, id := range *of {
		list = append(list, SlotMark{slot, id})
	}
	slices.SortFunc(list, func(a, b SlotMark) int { return cmp.Compare(a.Slot, b.Slot) })
	return list
}

func (p *confParser) vars(f []string) (err error) {
	if len(f)%2 == 0 {
		return fmt.Errorf("variable without value")
	}
	for i := 1; i < len(f); i += 2 {
		switch f[i] {
		case "currentEpoch":
			p.conf.CurrentEpoch, err = confUint(f[i+1], math.MaxUint64)
		case "lastVoteEpoch":
			p.conf.LastVoteEpoch, err = confUint(f[i+1], math.MaxUint64)
		case "clusterId":
			p.conf.ClusterID, err = confUint(f[i+1], math.MaxUint64)
		case "hearsay":
			p.hearsay, err = parseIDs(f[i+1])
		default:
			p.skipped = append(p.skipped, f[i])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f[i], err)
		}
	}
	return nil
}

func (p *confParser) node(f []string) (err error) {
	if len(f) < 8 {
		return fmt.Errorf("%d fields, want at least 8", len(f))
	}
	n := ConfNode{}
	var ok bool
	if n.ID, ok = ParseID(f[0]); !ok {
		return fmt.Errorf("invalid node id %q", f[0])
	}
	if err := p.addr(&n, f[1]); err != nil {
		return err
	}
	if n.Flags, err = parseFlags(f[2]); err != nil {
		return err
	}
	if f[3] != "-" {
		if n.Primary, ok = ParseID(f[3]); !ok {
			return fmt.Errorf("invalid primary id %q", f[3])
		}
	}
	for i, to := range []*Millis{&n.PingSent, &n.PongReceived} {
		v, err := confUint(f[4+i], math.MaxInt64)
		if err != nil {
			return fmt.Errorf("time: %w", err)
		}
		*to = Millis(v)
	}
	if n.ConfigEpoch, err = confUint(f[6], math.MaxUint64); err != nil {
		return fmt.Errorf("configEpoch: %w", err)
	}
	n.Connected = f[7] == "connected"

	at, seen := p.index[n.ID]
	if seen { // a second line for a node fills it in
		n.Slots = p.conf.Nodes[at].Slots
		p.conf.Nodes[at] = n
	} else {
		at = len(p.conf.Nodes)
		p.index[n.ID] = at
		p.conf.Nodes = append(p.conf.Nodes, n)
	}
	if n.Flags.Has(FlagMyself) {
		if p.myself >= 0 {
			return fmt.Errorf("a second node is flagged myself")
		}
		p.myself = at
	} else if at == p.myself {
		return fmt.Errorf("a second line of the local node without myself")
	}
	for _, item := range f[8:] {
		if err := p.slots(&p.conf.Nodes[at], item); err != nil {
			return err
		}
	}
	return nil
}

func (p *confParser) addr(n *ConfNode, s string) error {
	s, rest, hasHost := strings.Cut(s, ",")
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return fmt.Errorf("address %q without port", s)
	}
	n.Addr.IP = s[:colon]
	portText, busText, hasBus := strings.Cut(s[colon+1:], "@")
	port, err := confUint(portText, math.MaxUint16)
	if err != nil {
		return fmt.Errorf("port: %w", err)
	}
	bus := port + 10000
	if hasBus {
		bus, err = confUint(busText, math.MaxUint16)
	}
	if err != nil || bus > math.MaxUint16 {
		return fmt.Errorf("bus port of address %q", s)
	}
	if n.Addr.BusPort = uint16(bus); !confText(n.Addr.IP) {
		return fmt.Errorf("invalid address %q", n.Addr.IP)
	}
	oldFile := true
	if hasHost {
		for i, field := range strings.Split(rest, ",") {
			if i == 0 {
				if n.Hostname = field; !confText(field) {
					return fmt.Errorf("invalid hostname %q", field)
				}
				continue
			}
			name, value, ok := strings.Cut(field, "=")
			if !ok || !confText(value) {
				return fmt.Errorf("malformed address field %q", field)
			}
			switch name {
			case "tls-port", "tcp-port":
				v, err := confUint(value, math.MaxUint16)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if oldFile = false; name == "tls-port" {
					n.Addr.TLSPort = uint16(v)
				} else {
					port = v
				}
			case "shard-id":
				if n.ShardID, ok = ParseID(value); !ok {
					return fmt.Errorf("invalid shard id %q", value)
				}
			case "nodename":
				n.Nodename = value
			case "client-ipv4", "client-ipv6":
				if value != "" && !isIP(value) {
					return fmt.Errorf("%s %q", name, value)
				}
				if name == "client-ipv4" {
					n.ClientIPv4 = value
				} else {
					n.ClientIPv6 = value
				}
			default:
				return fmt.Errorf("unknown address field %q", name)
			}
		}
	}
	if oldFile && p.tlsCluster {
		n.Addr.TLSPort = uint16(port)
	} else {
		n.Addr.Port = uint16(port)
	}
	return nil
}

func parseFlags(s string) (f Flags, err error) {
next:
	for name := range strings.SplitSeq(s, ",") {
		switch name {
		case "noflags":
			continue
		case "primary":
			name = "master"
		case "replica":
			name = "slave"
		}
		for _, cf := range confFlags {
			if cf.name == name {
				f |= cf.flag
				continue next
			}
		}
		return 0, fmt.Errorf("unknown flag %q", name)
	}
	return f, nil
}

func (p *confParser) slots(n *ConfNode, item string) error {
	if mark, ok := strings.CutPrefix(item, "["); ok {
		to := &p.migrating
		slotText, idText, found := strings.Cut(mark, "->-")
		if !found {
			to = &p.importing
			slotText, idText, found = strings.Cut(mark, "-<-")
		}
		slot, err := confUint(slotText, SlotCount-1)
		idText, closed := strings.CutSuffix(idText, "]")
		id, valid := ParseID(idText)
		if !found || err != nil || !closed || !valid {
			return fmt.Errorf("malformed slot marker %q", item)
		}
		if *to == nil {
			*to = map[uint16]NodeID{}
		}
		(*to)[uint16(slot)] = id
		return nil
	}
	firstText, lastText, isRange := strings.Cut(item, "-")
	if !isRange {
		lastText = firstText
	}
	first, err1 := confUint(firstText, SlotCount-1)
	last, err2 := confUint(lastText, SlotCount-1)
	if err1 != nil || err2 != nil || first > last {
		return fmt.Errorf("malformed slots %q", item)
	}
	if n.Slots == nil {
		n.Slots = new(SlotSet)
	}
	for slot := int(first); slot <= int(last); slot++ {
		if slot&7 == 0 && slot+7 <= int(last) && p.assigned[slot>>3] == 0 { // eight at once
			p.assigned[slot>>3], n.Slots[slot>>3] = 0xff, 0xff
			slot += 7
			continue
		}
		if !p.assigned.Has(slot) { // the first line to name a slot has it
			p.assigned.Add(slot)
			n.Slots.Add(slot)
		}
	}
	return nil
}

func confUint(s string, most uint64) (uint64, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || v > most {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, most)
	}
	return v, nil
}

// splitFields splits a line at white space as the configuration file does: a
// field may be quoted, with escapes inside double quotes.
func splitFields(line []byte) (fields []string, err error) {
	fields = make([]string, 0, 12)
	isSpace := func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return fields, nil
		}
		plain := i // mostly there are no quotes
		for i < len(line) && !isSpace(line[i]) && line[i] != '"' && line[i] != '\'' {
			i++
		}
		if i == len(line) || isSpace(line[i]) {
			fields = append(fields, string(line[plain:i]))
			continue
		}
		field := bytes.Clone(line[plain:i])
		for i < len(line) && !isSpace(line[i]) {
			quote := line[i]
			i++
			if quote != '"' && quote != '\'' {
				field = append(field, quote)
				continue
			}
			for {
				if i == len(line) {
					return nil, fmt.Errorf("unbalanced quotes")
				}
				c := line[i]
				i++
				if c == quote {
					break
				}
				if c == '\\' && i < len(line) {
					c, i = unescape(quote, line, i)
				}
				field = append(field, c)
			}
			if i < len(line) && !isSpace(line[i]) {
				return nil, fmt.Errorf("text after closing quote")
			}
		}
		fields = append(fields, string(field))
	}
}

// unescape reads what follows a backslash inside quotes, at line[i].
func unescape(quote byte, line []byte, i int) (byte, int) {
	c := line[i]
	if quote == '\'' {
		if c == '\'' {
			return c, i + 1
		}
		return '\\', i
	}
	switch c {
	case 'n':
		return '\n', i + 1
	case 'r':
		return '\r', i + 1
	case 't':
		return '\t', i + 1
	case 'b':
		return '\b', i + 1
	case 'a':
		return '\a', i + 1
	case 'x':
		if i+2 < len(line) {
			if v, err := strconv.ParseUint(string(line[i+1:i+3]), 16, 8); err == nil {
				return byte(v), i + 3
			}
		}
	}
	return c, i + 1
}

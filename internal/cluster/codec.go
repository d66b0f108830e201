package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// The bytes of a bus message, all integers big endian (spec section 3).
//
// Full header:
//
//	| RCmb | totlen u32 | ver u16 | port u16 | type u16 | count u16 |
//	0      4            8         10         12         14          16
//	| currentEpoch u64 | configEpoch u64 | offset u64 | sender 40 |
//	16                 24                32           40          80
//	| slots 2048 | replicaof 40 | ip 46 | extensions u16 | zero 22 | clusterid u64 |
//	80           2128           2168    2214             2216      2238            2246
//	| pport u16 | cport u16 | flags u16 | state u8 | mflags 3 | data ...
//	2246        2248        2250        2252       2253       2256
//
// Light header, type with bit 15 set:
//
//	| RCmb | totlen u32 | ver u16 | zero u16 | type u16 | zero u16 | data ...
//	0      4            8         10         12         14         16
//
// Gossip entry, count of them open the data of PING, PONG and MEET:
//
//	| id 40 | ping_sent s u32 | pong_received s u32 | ip 46 |
//	0       40                44                    48      94
//	| port u16 | cport u16 | flags u16 | pport u16 | zero u16 |
//	94         96          98          100         102        104
//
// Ping extension, they follow the gossip; length covers all of it:
//
//	| length u32 | type u16 | zero u16 | data, zero padded to 8 ...
//	0            4          6          8
const (
	signature     = "RCmb"
	signatureBits = 'R'<<24 | 'C'<<16 | 'm'<<8 | 'b'
	busVersion    = 1
	headerLen     = 2256
	lightLen      = 16
	gossipLen     = 104
	ipLen         = 46 // NUL padded, the last byte always NUL
	extHeaderLen  = 8
	lightBit      = 0x8000

	offTotlen       = 4
	offVersion      = 8
	offPort         = 10
	offType         = 12
	offCount        = 14
	offCurrentEpoch = 16
	offConfigEpoch  = 24
	offOffset       = 32
	offSender       = 40
	offSlots        = 80
	offReplicaOf    = 2128
	offIP           = 2168
	offExtensions   = 2214
	offClusterID    = 2238 // zero, and ignored, at other kinds of nodes
	offPPort        = 2246
	offCPort        = 2248
	offFlags        = 2250
	offState        = 2252
	offMFlags       = 2253

	updateLen     = 8 + IDLen + SlotCount/8
	publishHeader = 4 + 4     // channel length, payload length
	moduleHeader  = 8 + 4 + 1 // module id, payload length, kind

	// FrameHead is how many bytes of a message FrameLen needs: up to and
	// including the type.
	FrameHead = 14

	// Peers read an extension's length modulo 65536, so one that long means
	// different things to different nodes: never sent, never accepted.
	maxExtLen = 1<<16 - 8
)

// Ping extension types, spec 3.7. Type 4 means two things: see decodeExt.
const (
	extHostname uint16 = iota
	extNodename
	extForgotten
	extShardID
	extIPv4OrSecret
	extIPv6
	extClientPort
	extClientTLSPort
	extZone
)

// ErrCloseLink marks bytes that are no bus stream: the link is of no more use.
var ErrCloseLink = errors.New("broken bus framing")

// ErrDiscard marks a complete message that must be dropped without effect; the
// link stays open.
var ErrDiscard = errors.New("malformed bus message")

func discard(format string, args ...any) error {
	return fmt.Errorf("cluster: "+format+": %w", append(args, ErrDiscard)...)
}

// Encode appends the bytes of m to dst. Of a PING, PONG or MEET the extensions
// are written only if m has MFlagExtData, since a receiver looks at them only
// then. A message of an unknown type is its header. Encode panics on a Message
// that no layout can hold (a light PING, more than 65535 gossip entries, texts
// of 64 KiB); texts of addresses are cut to 45 bytes.
func Encode(dst []byte, m *Message) []byte {
	start := len(dst)
	if m.Light {
		if m.Type != TypePublish && m.Type != TypePublishShard && m.Type != TypeModule {
			panic(fmt.Sprintf("cluster: encode: no light form of %v", m.Type))
		}
		dst = append(dst, signature...)
		dst = append(dst, 0, 0, 0, 0, 0, busVersion, 0, 0)
		dst = be16(dst, uint16(m.Type)|lightBit)
		dst = append(dst, 0, 0)
	} else {
		dst = slices.Grow(dst, EncodedLen(m))[:start+headerLen]
		encodeHeader((*[headerLen]byte)(dst[start:]), m)
	}
	switch m.Type {
	case TypePing, TypePong, TypeMeet:
		if len(m.Gossip) > 1<<16-1 {
			panic(fmt.Sprintf("cluster: encode: %d gossip entries", len(m.Gossip)))
		}
		binary.BigEndian.PutUint16(dst[start+offCount:], uint16(len(m.Gossip)))
		n := len(dst)
		dst = dst[:n+len(m.Gossip)*gossipLen]
		for i := range m.Gossip {
			encodeGossip((*[gossipLen]byte)(dst[n+i*gossipLen:]), &m.Gossip[i])
		}
		if m.MFlags&MFlagExtData != 0 {
			var n int
			dst, n = encodeExtensions(dst, &m.Ext)
			binary.BigEndian.PutUint16(dst[start+offExtensions:], uint16(n))
		}
	case TypeFail:
		dst = append(dst, m.Fail[:]...)
	case TypePublish, TypePublishShard:
		dst = be32(dst, uint32(len(m.Pub.Channel)))
		dst = be32(dst, uint32(len(m.Pub.Payload)))
		dst = append(dst, m.Pub.Channel...)
		dst = append(dst, m.Pub.Payload...)
	case TypeUpdate:
		dst = binary.BigEndian.AppendUint64(dst, m.Update.ConfigEpoch)
		dst = append(dst, m.Update.Node[:]...)
		dst = appendSlots(dst, m.Update.Slots)
	case TypeModule:
		dst = binary.LittleEndian.AppendUint64(dst, m.Module.ID)
		dst = be32(dst, uint32(len(m.Module.Payload)))
		dst = append(dst, m.Module.Kind)
		dst = append(dst, m.Module.Payload...)
	}
	total := len(dst) - start
	if uint64(total) > 1<<32-1 {
		panic(fmt.Sprintf("cluster: encode: %v of %d bytes", m.Type, total))
	}
	binary.BigEndian.PutUint32(dst[start+offTotlen:], uint32(total))
	return dst
}

// encodeHeader writes the full header but for totlen, count and the number of
// extensions, which are zero.
func encodeHeader(b *[headerLen]byte, m *Message) {
	copy(b[:], signature)
	binary.BigEndian.PutUint32(b[offTotlen:], 0)
	binary.BigEndian.PutUint16(b[offVersion:], busVersion)
	binary.BigEndian.PutUint16(b[offPort:], m.Port)
	binary.BigEndian.PutUint16(b[offType:], uint16(m.Type))
	binary.BigEndian.PutUint16(b[offCount:], 0)
	binary.BigEndian.PutUint64(b[offCurrentEpoch:], m.CurrentEpoch)
	binary.BigEndian.PutUint64(b[offConfigEpoch:], m.ConfigEpoch)
	binary.BigEndian.PutUint64(b[offOffset:], m.Offset)
	*(*NodeID)(b[offSender:]) = m.Sender
	if m.Slots != nil {
		*(*SlotSet)(b[offSlots:]) = *m.Slots
	} else {
		*(*SlotSet)(b[offSlots:]) = SlotSet{}
	}
	*(*NodeID)(b[offReplicaOf:]) = m.ReplicaOf
	clear(b[offIP:offClusterID])
	copy(b[offIP:offIP+ipLen-1], m.IP)
	binary.BigEndian.PutUint64(b[offClusterID:], m.ClusterID)
	binary.BigEndian.PutUint16(b[offPPort:], m.PPort)
	binary.BigEndian.PutUint16(b[offCPort:], m.BusPort)
	binary.BigEndian.PutUint16(b[offFlags:], uint16(m.Flags))
	b[offState], b[offMFlags], b[offMFlags+1], b[offMFlags+2] = m.State, m.MFlags, 0, 0
}

func encodeGossip(b *[gossipLen]byte, g *GossipEntry) {
	*(*NodeID)(b[:]) = g.Node
	binary.BigEndian.PutUint32(b[40:], g.PingSentSec)
	binary.BigEndian.PutUint32(b[44:], g.PongRecvSec)
	*(*[ipLen]byte)(b[48:]) = [ipLen]byte{}
	copy(b[48:48+ipLen-1], g.IP)
	binary.BigEndian.PutUint16(b[94:], g.Port)
	binary.BigEndian.PutUint16(b[96:], g.BusPort)
	binary.BigEndian.PutUint16(b[98:], uint16(g.Flags))
	binary.BigEndian.PutUint16(b[100:], g.PPort)
	b[102], b[103] = 0, 0
}

// encodeExtensions appends the extensions present in e in the order Valkey
// sends them, then those of later versions, last Redis 8's secret. It returns
// their number.
func encodeExtensions(dst []byte, e *Extensions) ([]byte, int) {
	n := 0
	text := func(kind uint16, s string) {
		if s == "" {
			return
		}
		size := extHeaderLen + (len(s)+1+7)&^7
		if size > maxExtLen {
			panic(fmt.Sprintf("cluster: encode: extension %d of %d bytes", kind, size))
		}
		dst = extHeader(dst, kind, size)
		dst = append(dst, s...)
		dst = append(dst, zeros[:size-extHeaderLen-len(s)]...)
		n++
	}
	port := func(kind, p uint16) {
		if p != 0 {
			dst = be16(extHeader(dst, kind, 16), p)
			dst = append(dst, zeros[:6]...)
			n++
		}
	}
	text(extHostname, e.Hostname)
	text(extNodename, e.Nodename)
	text(extIPv4OrSecret, e.ClientIPv4)
	text(extIPv6, e.ClientIPv6)
	if len(e.Forgotten) > 1<<15 {
		panic(fmt.Sprintf("cluster: encode: %d forgotten nodes", len(e.Forgotten)))
	}
	for i := range e.Forgotten {
		dst = extHeader(dst, extForgotten, extHeaderLen+IDLen+8)
		dst = append(dst, e.Forgotten[i].Node[:]...)
		dst = binary.BigEndian.AppendUint64(dst, e.Forgotten[i].TTLSec)
		n++
	}
	if !e.ShardID.IsZero() {
		dst = append(extHeader(dst, extShardID, extHeaderLen+IDLen), e.ShardID[:]...)
		n++
	}
	port(extClientPort, e.ClientPort)
	port(extClientTLSPort, e.ClientTLSPort)
	text(extZone, e.Zone)
	if len(e.Secret) == IDLen {
		dst = append(extHeader(dst, extIPv4OrSecret, extHeaderLen+IDLen), e.Secret...)
		n++
	}
	return dst, n
}

func extHeader(dst []byte, kind uint16, size int) []byte {
	dst = be32(dst, uint32(size))
	dst = be16(dst, kind)
	return append(dst, 0, 0)
}

// Decode reads one complete message, frame being exactly its bytes as FrameLen
// cut them off. The error is ErrDiscard or ErrCloseLink, wrapped with what was
// wrong. The payloads of Pub and Module are views into frame; nothing else is.
func Decode(frame []byte) (*Message, error) {
	var d Decoder
	return d.Decode(frame)
}

// A Decoder is a Decode that remembers the addresses and slot sets it has seen:
// they hardly ever change, and handing out the same immutable values again
// spares most of the allocation and lets receivers compare sets by pointer. The
// zero value is ready. Not for concurrent use.
type Decoder struct {
	ips  memo[ipText]
	sets memo[*SlotSet] // the last set of each sender
}

// Decode is like the function Decode.
func (d *Decoder) Decode(frame []byte) (*Message, error) {
	m := new(Message)
	if err := d.DecodeInto(m, frame); err != nil {
		return nil, err
	}
	return m, nil
}

// DecodeInto is Decode into a message that is there already, whose gossip
// section it overwrites. After an error m holds nothing of use.
func (d *Decoder) DecodeInto(m *Message, frame []byte) error {
	n, err := FrameLen(frame)
	if err != nil {
		return err
	}
	if n == 0 || n != len(frame) {
		return fmt.Errorf("cluster: frame of %d bytes says %d: %w", len(frame), n, ErrCloseLink)
	}
	if v := binary.BigEndian.Uint16(frame[offVersion:]); v != busVersion {
		return discard("message version %d", v)
	}
	kind := binary.BigEndian.Uint16(frame[offType:])
	*m = Message{Type: Type(kind &^ lightBit), Gossip: m.Gossip[:0]}
	if kind&lightBit != 0 {
		m.Light = true
		switch m.Type {
		case TypePublish, TypePublishShard:
			err = decodePublish(m, frame[lightLen:])
		case TypeModule:
			err = decodeModule(m, frame[lightLen:])
		default:
			err = discard("light message of type %d", m.Type)
		}
		return err
	}
	data := frame[headerLen:]
	m.MFlags = frame[offMFlags]
	switch m.Type {
	case TypePing, TypePong, TypeMeet:
		// Validated and read below, once the sender's flags are known.
	case TypeFail:
		if len(data) != IDLen {
			return badLength(m.Type, frame)
		}
		m.Fail = NodeID(data)
	case TypePublish, TypePublishShard:
		if err := decodePublish(m, data); err != nil {
			return err
		}
	case TypeAuthRequest, TypeAuthAck, TypeMFStart:
		if len(data) != 0 {
			return badLength(m.Type, frame)
		}
	case TypeUpdate:
		if len(data) != updateLen {
			return badLength(m.Type, frame)
		}
		m.Update = &Update{
			ConfigEpoch: binary.BigEndian.Uint64(data),
			Node:        NodeID(data[8:]),
		}
		m.Update.Slots = d.slots(m.Update.Node, data[8+IDLen:])
	case TypeModule:
		if err := decodeModule(m, data); err != nil {
			return err
		}
	}
	m.Port = binary.BigEndian.Uint16(frame[offPort:])
	m.ClusterID = binary.BigEndian.Uint64(frame[offClusterID:])
	m.PPort = binary.BigEndian.Uint16(frame[offPPort:])
	m.BusPort = binary.BigEndian.Uint16(frame[offCPort:])
	m.CurrentEpoch = binary.BigEndian.Uint64(frame[offCurrentEpoch:])
	m.ConfigEpoch = binary.BigEndian.Uint64(frame[offConfigEpoch:])
	m.Offset = binary.BigEndian.Uint64(frame[offOffset:])
	m.Sender = NodeID(frame[offSender:])
	m.ReplicaOf = NodeID(frame[offReplicaOf:])
	m.Flags = Flags(binary.BigEndian.Uint16(frame[offFlags:]))
	m.State = frame[offState]
	if m.Type <= TypeMeet {
		count := int(binary.BigEndian.Uint16(frame[offCount:]))
		exts := int(binary.BigEndian.Uint16(frame[offExtensions:]))
		if m.MFlags&MFlagExtData == 0 {
			exts = 0
		}
		if err := d.decodePing(m, data, count, exts); err != nil {
			return err
		}
	}
	m.IP = d.ip(frame[offIP:])
	m.Slots = d.slots(m.Sender, frame[offSlots:])
	return nil
}

func badLength(t Type, frame []byte) error {
	return discard("%v of %d bytes", t, len(frame))
}

func decodePublish(m *Message, data []byte) error {
	if len(data) < publishHeader {
		return discard("%v without lengths", m.Type)
	}
	c := uint64(binary.BigEndian.Uint32(data))
	p := uint64(binary.BigEndian.Uint32(data[4:]))
	data = data[publishHeader:]
	if c+p != uint64(len(data)) {
		return discard("%v of %d + %d bytes in %d", m.Type, c, p, len(data))
	}
	m.Pub = &Publish{Channel: data[:c:c], Payload: data[c:]}
	return nil
}

func decodeModule(m *Message, data []byte) error {
	if len(data) < moduleHeader {
		return discard("module message without header")
	}
	if n := uint64(binary.BigEndian.Uint32(data[8:])); n != uint64(len(data)-moduleHeader) {
		return discard("module message of %d bytes in %d", n, len(data)-moduleHeader)
	}
	m.Module = &Module{
		ID:      binary.LittleEndian.Uint64(data),
		Kind:    data[12],
		Payload: data[moduleHeader:],
	}
	return nil
}

// decodePing reads gossip and extensions in the order of spec 3.6: the count
// must fit, then each extension, then the sum must be exact.
func (d *Decoder) decodePing(m *Message, data []byte, count, exts int) error {
	if count*gossipLen > len(data) {
		return discard("%v with %d gossip entries in %d bytes", m.Type, count, len(data))
	}
	gossip, rest := data[:count*gossipLen], data[count*gossipLen:]
	for range exts {
		if len(rest) < extHeaderLen {
			return discard("%v: extension header in %d bytes", m.Type, len(rest))
		}
		n := uint64(binary.BigEndian.Uint32(rest))
		if n < extHeaderLen || n%8 != 0 || n > uint64(len(rest)) || n > maxExtLen {
			return discard("%v: extension of length %d in %d bytes", m.Type, n, len(rest))
		}
		kind := binary.BigEndian.Uint16(rest[4:])
		if err := m.Ext.decode(kind, rest[extHeaderLen:n], m.Flags); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return discard("%v: %d bytes too long", m.Type, len(rest))
	}
	if count > 0 {
		m.Gossip = slices.Grow(m.Gossip, count)[:count]
		for i := range m.Gossip {
			d.decodeGossip(&m.Gossip[i], gossip[i*gossipLen:])
		}
	}
	return nil
}

func (d *Decoder) decodeGossip(g *GossipEntry, b []byte) {
	b = b[:gossipLen]
	g.Node = NodeID(b)
	g.PingSentSec = binary.BigEndian.Uint32(b[40:])
	g.PongRecvSec = binary.BigEndian.Uint32(b[44:])
	g.IP = d.ip(b[48:])
	g.Port = binary.BigEndian.Uint16(b[94:])
	g.BusPort = binary.BigEndian.Uint16(b[96:])
	g.Flags = Flags(binary.BigEndian.Uint16(b[98:]))
	g.PPort = binary.BigEndian.Uint16(b[100:])
}

// decode reads the data of one extension. Of a repeated one the last counts,
// except that forgotten nodes add up. Type 4 is a client's IPv4 address from
// Valkey, which alone sets bit LightPubSub in its header, and 40 bytes of
// secret from Redis 8: taking one for the other would spread the secret as an
// address (spec 3.7.6).
func (e *Extensions) decode(kind uint16, data []byte, sender Flags) error {
	switch kind {
	case extHostname:
		return extText(&e.Hostname, kind, data)
	case extNodename:
		return extText(&e.Nodename, kind, data)
	case extForgotten:
		if len(data) < IDLen+8 {
			return discard("extension %d with %d bytes of data", kind, len(data))
		}
		e.Forgotten = append(e.Forgotten, Forgotten{NodeID(data), binary.BigEndian.Uint64(data[IDLen:])})
	case extShardID:
		if len(data) < IDLen {
			return discard("extension %d with %d bytes of data", kind, len(data))
		}
		// One that nodes.conf could not hold is as good as none.
		if id := NodeID(data); id.Valid() {
			e.ShardID = id
		}
	case extIPv4OrSecret:
		if !sender.Has(FlagLightPubSub) {
			if len(data) == IDLen {
				e.Secret = bytes.Clone(data)
			}
			return nil
		}
		var ip string
		if err := extText(&ip, kind, data); err != nil {
			return err
		}
		if a, err := netip.ParseAddr(ip); err == nil && a.Is4() {
			e.ClientIPv4 = ip
		}
	case extIPv6:
		return extText(&e.ClientIPv6, kind, data)
	case extClientPort, extClientTLSPort:
		if len(data) < 2 {
			return discard("extension %d with %d bytes of data", kind, len(data))
		}
		port := binary.BigEndian.Uint16(data)
		if kind == extClientPort {
			e.ClientPort = port
		} else {
			e.ClientTLSPort = port
		}
	case extZone:
		return extText(&e.Zone, kind, data)
	}
	return nil // an unknown type is skipped
}

func extText(to *string, kind uint16, data []byte) error {
	if len(data) == 0 || data[len(data)-1] != 0 {
		return discard("extension %d without final NUL", kind)
	}
	*to = string(data[:bytes.IndexByte(data, 0)])
	return nil
}

// ip reads an address of 46 bytes, ended by NUL. The last byte is never part
// of it, whatever it holds.
func (d *Decoder) ip(b []byte) string {
	b = b[:ipLen-1]
	if b[0] == 0 {
		return ""
	}
	head := [2]uint64{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
	places := d.ips.places(head[0] ^ head[1]*31)
	for i := range places {
		if p := &places[i]; p.head == head && (len(p.text) < len(head)*8 || p.is(b)) {
			return p.text
		}
	}
	d.ips.missed()
	text := b
	if i := bytes.IndexByte(b, 0); i >= 0 {
		text = b[:i]
	}
	places[1], places[0] = places[0], ipText{head, string(text)}
	return places[0].text
}

// An ipText is an address and the bytes that it begins with on the wire. If it is
// shorter than those it ends within them, so that they tell all.
type ipText struct {
	head [2]uint64
	text string
}

// is tells whether the address in b, which may fill it, is this one.
func (t *ipText) is(b []byte) bool {
	n := len(t.text)
	return string(b[:n]) == t.text && (n == len(b) || b[n] == 0)
}

// slots reads a bitmap, nil if it is empty.
func (d *Decoder) slots(node NodeID, b []byte) *SlotSet {
	set := (*SlotSet)(b)
	places := d.sets.places(binary.LittleEndian.Uint64(node[:]))
	for i := range places {
		if places[i] != nil && *places[i] == *set {
			return places[i]
		}
	}
	if *set == noSlots {
		return nil
	}
	d.sets.missed()
	own := *set
	places[1], places[0] = places[0], &own
	return &own
}

// A memo remembers values by a hash, the last two of each. It grows while it misses
// often.
type memo[T any] struct {
	at            []([2]T)
	looks, misses int
}

const minMemo, maxMemo = 8, 4096

// places is where the value of a hash is, if it is remembered.
func (t *memo[T]) places(h uint64) *[2]T {
	if t.looks++; t.looks > 16*len(t.at) {
		if t.at == nil {
			t.at = make([][2]T, minMemo)
		} else if t.misses > t.looks/16 && len(t.at) < maxMemo {
			t.at = make([][2]T, 4*len(t.at))
		}
		t.looks, t.misses = 0, 0
	}
	h = (h ^ h>>32) * 0x9E3779B97F4A7C15 // short texts differ in few bits, some of them high ones
	return &t.at[h>>48&uint64(len(t.at)-1)]
}

func (t *memo[T]) missed() { t.misses++ }

var (
	zeros   [8]byte // the most that an extension is filled up with
	noSlots SlotSet
)

func be16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func be32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

func appendSlots(dst []byte, s *SlotSet) []byte {
	if s == nil {
		s = &noSlots
	}
	return append(dst, s[:]...)
}

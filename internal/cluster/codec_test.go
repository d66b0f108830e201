package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func testID(c byte) (id NodeID) {
	for i := range id {
		id[i] = c
	}
	return id
}

// ranges builds a set of slots from pairs of first and last.
func ranges(pairs ...int) *SlotSet {
	s := new(SlotSet)
	for i := 0; i < len(pairs); i += 2 {
		for slot := pairs[i]; slot <= pairs[i+1]; slot++ {
			s.Add(slot)
		}
	}
	return s
}

// The first bytes of a MEET, as worked out in the specification.
func TestEncodeMeetHead(t *testing.T) {
	got := Encode(nil, &Message{Type: TypeMeet, Port: 7000})
	want, _ := hex.DecodeString("52436D62" + "000008D0" + "0001" + "1B58" + "0002" + "0000")
	if len(got) != 2256 || !bytes.Equal(got[:16], want) {
		t.Errorf("MEET of %d bytes begins % X, want 2256 bytes, % X", len(got), got[:16], want)
	}
}

// The lengths the specification works out for a PING.
func TestEncodePingLength(t *testing.T) {
	for _, tt := range []struct {
		gossip   int
		hostname string
		want     int
	}{
		{2, "", 2512},
		{3, "", 2616},
		{3, "node-1.example", 2640},
	} {
		m := &Message{Type: TypePing, MFlags: MFlagExtData, Gossip: make([]GossipEntry, tt.gossip),
			Ext: Extensions{ShardID: testID('s'), Hostname: tt.hostname}}
		b := Encode(nil, m)
		if len(b) != tt.want || binary.BigEndian.Uint32(b[4:]) != uint32(tt.want) {
			t.Errorf("%d entries, hostname %q: %d bytes, totlen %d, want %d",
				tt.gossip, tt.hostname, len(b), binary.BigEndian.Uint32(b[4:]), tt.want)
		}
	}
}

// Every field of the header, a gossip entry and each extension stands at its
// documented offset: the expected bytes are placed by hand.
func TestEncodeLayout(t *testing.T) {
	m := &Message{
		Type: TypePong, Port: 0x0102, PPort: 0x0304, BusPort: 0x0506,
		CurrentEpoch: 0x1112131415161718, ConfigEpoch: 0x2122232425262728, Offset: 0x3132333435363738,
		Sender: testID('a'), Slots: ranges(0, 5460), ReplicaOf: testID('b'), IP: "10.1.2.3",
		Flags: FlagReplica | FlagMyself | FlagLightPubSub, State: StateFail, MFlags: MFlagExtData | MFlagPaused,
		Gossip: []GossipEntry{{Node: testID('c'), PingSentSec: 0x41424344, PongRecvSec: 0x51525354,
			IP: "::1", Port: 0x6162, BusPort: 0x6364, Flags: FlagPrimary | FlagPFail, PPort: 0x6566}},
		Ext: Extensions{Hostname: "h1", Nodename: "1234567", ClientIPv4: "1.2.3.4", ClientIPv6: "::2",
			Forgotten: []Forgotten{{testID('f'), 61}}, ShardID: testID('d'), ClientPort: 0x7172,
			ClientTLSPort: 0x7374, Zone: "z"},
	}
	want := make([]byte, 2256)
	put := func(off int, s string) { copy(want[off:], s) }
	put(0, "RCmb")
	put(8, "\x00\x01\x01\x02\x00\x01\x00\x01")
	put(16, "\x11\x12\x13\x14\x15\x16\x17\x18\x21\x22\x23\x24\x25\x26\x27\x28\x31\x32\x33\x34\x35\x36\x37\x38")
	put(40, strings.Repeat("a", 40))
	for i := range 682 {
		want[80+i] = 0xFF
	}
	want[80+682] = 0x1F
	put(2128, strings.Repeat("b", 40))
	put(2168, "10.1.2.3")
	put(2214, "\x00\x09")
	put(2246, "\x03\x04\x05\x06\x08\x12\x01\x05")
	tail := strings.Repeat("c", 40) + "\x41\x42\x43\x44\x51\x52\x53\x54" + "::1" + strings.Repeat("\x00", 43) +
		"\x61\x62\x63\x64\x00\x05\x65\x66\x00\x00" +
		"\x00\x00\x00\x10\x00\x00\x00\x00h1\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x10\x00\x01\x00\x001234567\x00" +
		"\x00\x00\x00\x10\x00\x04\x00\x001.2.3.4\x00" +
		"\x00\x00\x00\x10\x00\x05\x00\x00::2\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x38\x00\x02\x00\x00" + strings.Repeat("f", 40) + "\x00\x00\x00\x00\x00\x00\x00\x3D" +
		"\x00\x00\x00\x30\x00\x03\x00\x00" + strings.Repeat("d", 40) +
		"\x00\x00\x00\x10\x00\x06\x00\x00\x71\x72\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x10\x00\x07\x00\x00\x73\x74\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x10\x00\x08\x00\x00z\x00\x00\x00\x00\x00\x00\x00"
	want = append(want, tail...)
	binary.BigEndian.PutUint32(want[4:], uint32(len(want)))

	got := Encode([]byte("before"), m)[6:]
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("byte %d is %#02x, want %#02x", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d bytes, want %d", len(got), len(want))
	}
	back, err := Decode(got)
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("Decode = %+v, %v, want %+v", back, err, m)
	}
}

func TestSlotBitmapOrder(t *testing.T) {
	for _, tt := range []struct {
		set  *SlotSet
		want map[int]byte // bytes of the bitmap that are neither 00 nor FF
	}{
		{ranges(0, 5460), map[int]byte{682: 0x1F}},
		{ranges(5461, 10922), map[int]byte{682: 0xE0, 1365: 0x07}},
		{ranges(10923, 16383), map[int]byte{1365: 0xF8}},
	} {
		for i, b := range Encode(nil, &Message{Type: TypeAuthAck, Slots: tt.set})[80:2128] {
			if b != 0 && b != 0xFF || tt.want[i] != 0 {
				if b != tt.want[i] {
					t.Errorf("byte %d of the bitmap is %#02x, want %#02x", i, b, tt.want[i])
				}
			}
		}
	}
}

// The lengths of section 3.3 for the types without gossip.
func TestEncodeLengths(t *testing.T) {
	pub := &Publish{Channel: []byte("news"), Payload: []byte("hello!")}
	mod := &Module{ID: 7, Kind: 9, Payload: []byte("xyz")}
	for _, tt := range []struct {
		m    Message
		want int
	}{
		{Message{Type: TypeFail, Fail: testID('x')}, 2296},
		{Message{Type: TypePublish, Pub: pub}, 2264 + 10},
		{Message{Type: TypePublishShard, Pub: pub}, 2264 + 10},
		{Message{Type: TypeAuthRequest}, 2256},
		{Message{Type: TypeAuthAck}, 2256},
		{Message{Type: TypeUpdate, Update: &Update{Node: testID('u'), Slots: ranges(3, 3)}}, 4352},
		{Message{Type: TypeMFStart}, 2256},
		{Message{Type: TypeModule, Module: mod}, 2269 + 3},
		{Message{Type: TypePublish, Light: true, Pub: pub}, 24 + 10},
		{Message{Type: TypePublishShard, Light: true, Pub: pub}, 24 + 10},
		{Message{Type: TypeModule, Light: true, Module: mod}, 29 + 3},
	} {
		b := Encode(nil, &tt.m)
		if len(b) != tt.want {
			t.Errorf("%v light=%v: %d bytes, want %d", tt.m.Type, tt.m.Light, len(b), tt.want)
		}
		if n := EncodedLen(&tt.m); n != tt.want {
			t.Errorf("EncodedLen of %v light=%v: %d, want %d", tt.m.Type, tt.m.Light, n, tt.want)
		}
		back, err := Decode(b)
		if err != nil || !reflect.DeepEqual(back, &tt.m) {
			t.Errorf("%v light=%v: Decode = %+v, %v", tt.m.Type, tt.m.Light, back, err)
		}
	}
}

// Each row breaks one rule of section 3.6 in a good message.
func TestDecodeRefuses(t *testing.T) {
	ping := func() *Message {
		return &Message{Type: TypePing, Sender: testID('a'), MFlags: MFlagExtData, Gossip: make([]GossipEntry, 2),
			Ext: Extensions{Hostname: "host", ShardID: testID('s')}}
	}
	pub := &Message{Type: TypePublish, Pub: &Publish{Channel: []byte("ch"), Payload: []byte("payload")}}
	light := &Message{Type: TypePublish, Light: true, Pub: pub.Pub}
	module := &Message{Type: TypeModule, Module: &Module{Payload: []byte("xyz")}}
	const ext = 2256 + 2*104 // the first extension of ping
	set16 := func(off int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint16(b[off:], v); return b }
	}
	set32 := func(off int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[off:], v); return b }
	}
	resize := func(n int) func([]byte) []byte { // truncate or extend by zeros, totlen follows
		return func(b []byte) []byte {
			b = append(b, make([]byte, max(0, n))...)[:len(b)+n]
			binary.BigEndian.PutUint32(b[4:], uint32(len(b)))
			return b
		}
	}
	for _, tt := range []struct {
		name   string
		m      *Message
		break_ func([]byte) []byte
		want   error
	}{
		{"signature", ping(), func(b []byte) []byte { b[1] = 'c'; return b }, ErrCloseLink},
		{"length below the header", ping(), set32(4, 2255), ErrCloseLink},
		{"length beyond the cap", ping(), set32(4, 1<<31), ErrCloseLink},
		{"length of another frame", ping(), set32(4, 5000), ErrCloseLink},
		{"nothing at all", ping(), func(b []byte) []byte { return nil }, ErrCloseLink},
		{"version 2", ping(), set16(8, 2), ErrDiscard},
		{"more gossip than bytes", ping(), set16(14, 9), ErrDiscard},
		{"most gossip", ping(), set16(14, 65535), ErrDiscard},
		{"less gossip than bytes", ping(), set16(14, 1), ErrDiscard},
		{"an extension too many", ping(), set16(2214, 3), ErrDiscard},
		{"an extension too few", ping(), set16(2214, 1), ErrDiscard},
		{"extensions without the flag", ping(), func(b []byte) []byte { b[2253] = 0; return b }, ErrDiscard},
		{"extension length 0", ping(), set32(ext, 0), ErrDiscard},
		{"extension length 12", ping(), set32(ext, 12), ErrDiscard},
		{"extension past the end", ping(), set32(ext, 72), ErrDiscard},
		{"extension length 65536 + 16", ping(), set32(ext, 65552), ErrDiscard},
		{"hostname without NUL", ping(), func(b []byte) []byte { b[ext+15] = 'x'; return b }, ErrDiscard},
		{"short shard id", ping(), set16(ext+4, extShardID), ErrDiscard},
		{"short forgotten node", ping(), set16(ext+4, extForgotten), ErrDiscard},
		{"trailing bytes", ping(), resize(8), ErrDiscard},
		{"cut short", ping(), resize(-8), ErrDiscard},
		{"AUTH_REQUEST with data", &Message{Type: TypeAuthRequest}, resize(1), ErrDiscard},
		{"FAIL without id", &Message{Type: TypeFail}, resize(-1), ErrDiscard},
		{"UPDATE cut short", &Message{Type: TypeUpdate, Update: &Update{}}, resize(-1), ErrDiscard},
		{"PUBLISH with a longer channel", pub, set32(2256, 3), ErrDiscard},
		{"PUBLISH with lengths that overflow 32 bits", pub, set32(2256, 1<<32-7), ErrDiscard},
		{"PUBLISH without lengths", pub, resize(-10), ErrDiscard},
		{"MODULE with a longer payload", module, set32(2264, 4), ErrDiscard},
		{"MODULE without header", module, resize(-4), ErrDiscard},
		{"light PUBLISH of another length", light, resize(1), ErrDiscard},
		{"light PUBLISH of version 2", light, set16(8, 2), ErrDiscard},
		{"light PING", light, set16(12, 0x8000), ErrDiscard},
		{"light message below its header", light, set32(4, 15), ErrCloseLink},
	} {
		b := tt.break_(Encode(nil, tt.m))
		m, err := Decode(b)
		if !errors.Is(err, tt.want) || m != nil {
			t.Errorf("%s: Decode = %v, %v, want %v", tt.name, m, err, tt.want)
		}
		if _, err := Decode(Encode(nil, tt.m)); err != nil {
			t.Errorf("%s: the unbroken message: %v", tt.name, err)
		}
	}
}

// A message of a type nobody knows is well formed whatever its length.
func TestDecodeUnknownType(t *testing.T) {
	b := append(Encode(nil, &Message{Type: TypeCount + 5, Sender: testID('a'), CurrentEpoch: 9}), "whatever"...)
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)))
	m, err := Decode(b)
	if err != nil || m.CurrentEpoch != 9 || m.Sender != testID('a') {
		t.Errorf("Decode = %+v, %v", m, err)
	}
}

func TestDecodeSkipsUnknownExtensions(t *testing.T) {
	b := Encode(nil, &Message{Type: TypePing, MFlags: MFlagExtData, Ext: Extensions{Hostname: "host", Zone: "z"}})
	binary.BigEndian.PutUint16(b[2256+4:], 99)
	m, err := Decode(b)
	if err != nil || !reflect.DeepEqual(m.Ext, Extensions{Zone: "z"}) {
		t.Errorf("Decode = %+v, %v, want zone z alone", m, err)
	}
}

// Extension 4 is an address from a sender with bit 11, else a secret.
func TestDecodeExtensionFour(t *testing.T) {
	secret := []byte(strings.Repeat("5", 40))
	for _, tt := range []struct {
		name  string
		flags Flags
		ext   Extensions
		want  Extensions
	}{
		{"address from Valkey", FlagLightPubSub, Extensions{ClientIPv4: "10.0.0.1"}, Extensions{ClientIPv4: "10.0.0.1"}},
		{"no address from Valkey", FlagLightPubSub, Extensions{ClientIPv4: "ten"}, Extensions{}},
		{"secret from Redis", 0, Extensions{Secret: secret}, Extensions{Secret: secret}},
		{"another length from Redis", 0, Extensions{ClientIPv4: "10.0.0.1"}, Extensions{}},
	} {
		m, err := Decode(Encode(nil, &Message{Type: TypePing, Flags: tt.flags, MFlags: MFlagExtData, Ext: tt.ext}))
		if err != nil || !reflect.DeepEqual(m.Ext, tt.want) {
			t.Errorf("%s: Decode = %+v, %v, want %+v", tt.name, m, err, tt.want)
		}
	}
	b := Encode(nil, &Message{Type: TypePing, Flags: FlagLightPubSub, MFlags: MFlagExtData, Ext: Extensions{Secret: secret}})
	if _, err := Decode(b); !errors.Is(err, ErrDiscard) {
		t.Errorf("40 bytes without NUL as an address: %v, want ErrDiscard", err)
	}
}

// randomMessage draws a message that is equal to what Decode makes of it.
func randomMessage(r *rand.Rand) *Message {
	id := func() NodeID { return testID("abcdef0123456789"[r.IntN(16)]) }
	text := func() string { return []string{"", "a", "1234567", "12345678", "node-7.example.org"}[r.IntN(5)] }
	ip := func() string { return []string{"", "127.0.0.1", "10.1.2.3", "fe80::1"}[r.IntN(4)] }
	set := func() *SlotSet {
		if r.IntN(3) == 0 {
			return nil
		}
		first := r.IntN(SlotCount)
		return ranges(first, first+r.IntN(SlotCount-first), 77, 77)
	}
	data := func() []byte { return make([]byte, r.IntN(100)) }
	m := &Message{Type: Type(r.IntN(int(TypeCount)))}
	switch m.Type {
	case TypePublish, TypePublishShard:
		m.Light = r.IntN(2) == 0
		m.Pub = &Publish{Channel: data(), Payload: data()}
	case TypeModule:
		m.Light = r.IntN(2) == 0
		m.Module = &Module{ID: r.Uint64(), Kind: uint8(r.Uint32()), Payload: data()}
	case TypeFail:
		m.Fail = id()
	case TypeUpdate:
		m.Update = &Update{ConfigEpoch: r.Uint64(), Node: id(), Slots: set()}
	}
	if m.Light {
		return m
	}
	m.Port, m.PPort, m.BusPort = uint16(r.Uint32()), uint16(r.Uint32()), uint16(r.Uint32())
	m.CurrentEpoch, m.ConfigEpoch, m.Offset = r.Uint64(), r.Uint64(), r.Uint64()
	m.Sender, m.ReplicaOf, m.Slots, m.IP = id(), id(), set(), ip()
	m.Flags, m.State, m.MFlags = Flags(r.Uint32()), uint8(r.IntN(2)), uint8(r.IntN(8))
	if m.Type > TypeMeet {
		return m
	}
	for range r.IntN(6) {
		m.Gossip = append(m.Gossip, GossipEntry{id(), r.Uint32(), r.Uint32(), ip(),
			uint16(r.Uint32()), uint16(r.Uint32()), uint16(r.Uint32()), Flags(r.Uint32())})
	}
	if m.MFlags&MFlagExtData != 0 {
		m.Ext = Extensions{Hostname: text(), Nodename: text(), ClientIPv6: text(), Zone: text(),
			ClientPort: uint16(r.IntN(3)), ClientTLSPort: uint16(r.IntN(3))}
		if r.IntN(2) == 0 {
			m.Ext.ShardID = id()
		}
		for range r.IntN(3) {
			m.Ext.Forgotten = append(m.Ext.Forgotten, Forgotten{id(), r.Uint64()})
		}
		if m.Flags.Has(FlagLightPubSub) {
			m.Ext.ClientIPv4 = []string{"", "1.2.3.4"}[r.IntN(2)]
		} else if r.IntN(2) == 0 {
			m.Ext.Secret = make([]byte, 40)
		}
	}
	return m
}

// Decode undoes Encode, and a Decoder used for many messages finds the same as
// a fresh one.
func TestCodecRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var d Decoder
	for range 3000 {
		m := randomMessage(r)
		b := Encode(nil, m)
		if n := EncodedLen(m); n != len(b) {
			t.Fatalf("EncodedLen = %d, want %d: %+v", n, len(b), m)
		}
		for _, decode := range []func([]byte) (*Message, error){Decode, d.Decode} {
			back, err := decode(b)
			if err != nil || !sameMessage(m, back) {
				t.Fatalf("Decode(Encode(m)) = %+v, %v, want %+v", back, err, m)
			}
		}
	}
}

// sameMessage compares by value; an empty and a nil payload are the same.
func sameMessage(a, b *Message) bool {
	ca, cb := *a, *b
	ca.Slots, cb.Slots = nil, nil
	if !a.Slots.Equal(b.Slots) {
		return false
	}
	return fmt.Sprintf("%+v", deref(&ca)) == fmt.Sprintf("%+v", deref(&cb))
}

func deref(m *Message) []any {
	out := []any{*m}
	if m.Pub != nil {
		out = append(out, *m.Pub)
	}
	if m.Module != nil {
		out = append(out, *m.Module)
	}
	if m.Update != nil {
		out = append(out, m.Update.ConfigEpoch, m.Update.Node, m.Update.Slots.Len())
	}
	c := *m
	c.Pub, c.Module, c.Update = nil, nil, nil
	out[0] = c
	return out
}

// A Decoder gives back the same set for a sender whose slots did not change.
func TestDecoderSharesSets(t *testing.T) {
	var d Decoder
	b := Encode(nil, &Message{Type: TypePing, Sender: testID('a'), Slots: ranges(1, 9)})
	m1, err1 := d.Decode(b)
	clear(bytes.Clone(b))
	m2, err2 := d.Decode(b)
	if err1 != nil || err2 != nil || m1.Slots != m2.Slots {
		t.Errorf("sets %p, %p, errors %v, %v: want one set", m1.Slots, m2.Slots, err1, err2)
	}
	clear(b[80:2128])
	if !m1.Slots.Equal(ranges(1, 9)) {
		t.Error("a decoded set is a view into the frame")
	}
}

// Frames of every size in one stream, cut at random places, come out whole.
func TestFramer(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var stream []byte
	var want [][]byte
	for range 300 {
		m := randomMessage(r)
		if m.Type == TypePublish && r.IntN(4) == 0 {
			m.Pub.Payload = make([]byte, 1<<19)
		}
		b := Encode(nil, m)
		want = append(want, b)
		stream = append(stream, b...)
	}
	var f Framer
	for len(stream) > 0 {
		n := copy(f.Space(), stream[:min(len(stream), 1+r.IntN(9000))])
		f.Filled(n)
		stream = stream[n:]
		for {
			frame, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			if frame == nil {
				break
			}
			if !bytes.Equal(frame, want[0]) {
				t.Fatalf("frame of %d bytes, want one of %d; %d left", len(frame), len(want[0]), len(want))
			}
			want = want[1:]
		}
	}
	if len(want) != 0 {
		t.Errorf("%d frames missing", len(want))
	}
	f.Space()
	if len(f.buf) > 16*framerSpace {
		t.Errorf("an idle framer keeps %d bytes", len(f.buf))
	}
}

// A wrong first byte is noticed at once, a wrong length when it is complete.
func TestFramerClosesEarly(t *testing.T) {
	var f Framer
	f.Filled(copy(f.Space(), "GET"))
	if _, err := f.Next(); !errors.Is(err, ErrCloseLink) {
		t.Errorf("Next after GET: %v, want ErrCloseLink", err)
	}
	f = Framer{}
	f.Filled(copy(f.Space(), "RCmb\x7f\xff\xff\xff"))
	if b, err := f.Next(); b != nil || err != nil {
		t.Errorf("Next after 8 bytes = %v, %v, want nothing yet", b, err)
	}
	f.Filled(copy(f.Space(), "\x00\x01\x00\x00\x00\x00"))
	if _, err := f.Next(); !errors.Is(err, ErrCloseLink) {
		t.Errorf("Next after a length of 2 GB: %v, want ErrCloseLink", err)
	}
}

// Messages of real servers, see TestRealBus, are understood and written again
// byte for byte.
func TestGoldenMessages(t *testing.T) {
	files, err := fs.Glob(os.DirFS("testdata/bus"), "*.bin")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden messages: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join("testdata/bus", name))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := Encode(nil, m); !bytes.Equal(got, b) {
			t.Errorf("%s: written again as %d bytes, first difference at %d of %d", name, len(got), firstDiff(got, b), len(b))
		}
	}
}

func firstDiff(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// Whatever Decode accepts, Encode can write, and that means the same.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 40 {
		f.Add(Encode(nil, randomMessage(r)))
	}
	files, _ := filepath.Glob("testdata/bus/*.bin")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var fr Framer
		fr.Filled(copy(fr.Space(), b))
		if frame, err := fr.Next(); err != nil && !errors.Is(err, ErrCloseLink) || len(frame) > len(b) {
			t.Fatalf("Next = %d bytes, %v", len(frame), err)
		}
		m, err := Decode(b)
		if err != nil {
			if m != nil || !errors.Is(err, ErrDiscard) && !errors.Is(err, ErrCloseLink) {
				t.Fatalf("Decode = %v, %v", m, err)
			}
			return
		}
		again, err := Decode(Encode(nil, m))
		if err != nil || !sameMessage(m, again) {
			t.Fatalf("decoded %+v, written and read again %+v, %v", m, again, err)
		}
	})
}

func BenchmarkEncodePing(b *testing.B) {
	m := benchPing()
	buf := Encode(nil, m)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = Encode(buf[:0], m)
	}
}

func BenchmarkDecodePing(b *testing.B) {
	frame := Encode(nil, benchPing())
	var d Decoder
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(frame); err != nil {
			b.Fatal(err)
		}
	}
}

// benchPing is a ping in a cluster of 50 nodes.
func benchPing() *Message {
	m := &Message{Type: TypePing, Sender: testID('a'), Slots: ranges(0, 5460), MFlags: MFlagExtData,
		Ext: Extensions{ShardID: testID('s')}}
	for i := range 5 {
		m.Gossip = append(m.Gossip, GossipEntry{Node: testID(byte('b' + i)), IP: fmt.Sprintf("10.0.0.%d", i), Port: 7000})
	}
	return m
}

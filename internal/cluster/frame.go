package cluster

import (
	"encoding/binary"
	"fmt"
)

// MaxFrame is the longest message accepted from a peer. Only PUBLISH and
// MODULE grow beyond a few hundred KB; 512 MB of payload is the longest string
// there is.
const MaxFrame = 512<<20 + 1<<20

// FrameLen looks at the first bytes of a stream and returns the length of the
// message they begin, 0 while fewer than FrameHead bytes are there. The error
// is ErrCloseLink: wrong signature, or a length no message can have.
func FrameLen(b []byte) (int, error) {
	if n := min(len(b), len(signature)); n == len(signature) && binary.BigEndian.Uint32(b) != signatureBits || n < len(signature) && string(b[:n]) != signature[:n] {
		return 0, fmt.Errorf("cluster: signature %q: %w", b[:n], ErrCloseLink)
	}
	if len(b) < FrameHead {
		return 0, nil
	}
	least := headerLen
	if binary.BigEndian.Uint16(b[offType:])&lightBit != 0 {
		least = lightLen
	}
	total := binary.BigEndian.Uint32(b[offTotlen:])
	if total < uint32(least) || total > MaxFrame {
		return 0, fmt.Errorf("cluster: message length %d: %w", total, ErrCloseLink)
	}
	return int(total), nil
}

// EncodedLen is the number of bytes that Encode makes of m.
func EncodedLen(m *Message) int {
	n := headerLen
	if m.Light {
		n = lightLen
	}
	switch m.Type {
	case TypePing, TypePong, TypeMeet:
		n += len(m.Gossip) * gossipLen
		if m.MFlags&MFlagExtData != 0 {
			n += m.Ext.encodedLen()
		}
	case TypeFail:
		n += IDLen
	case TypePublish, TypePublishShard:
		n += publishHeader + len(m.Pub.Channel) + len(m.Pub.Payload)
	case TypeUpdate:
		n += updateLen
	case TypeModule:
		n += moduleHeader + len(m.Module.Payload)
	}
	return n
}

func (e *Extensions) encodedLen() int {
	n := len(e.Forgotten) * (extHeaderLen + IDLen + 8)
	for _, s := range [...]string{e.Hostname, e.Nodename, e.ClientIPv4, e.ClientIPv6, e.Zone} {
		if s != "" {
			n += extHeaderLen + (len(s)+1+7)&^7
		}
	}
	for _, p := range [...]uint16{e.ClientPort, e.ClientTLSPort} {
		if p != 0 {
			n += extHeaderLen + 8
		}
	}
	if !e.ShardID.IsZero() {
		n += extHeaderLen + IDLen
	}
	if len(e.Secret) == IDLen {
		n += extHeaderLen + IDLen
	}
	return n
}

// A Framer cuts the byte stream of one link into messages. Its buffer grows
// with the data that arrived, not with the length a peer announced, and goes
// back to a small one after a large message. The zero value is ready; one
// goroutine owns it:
//
//	n, err := conn.Read(f.Space())
//	f.Filled(n)
//	for {
//		frame, err := f.Next() // nil, nil: read more
//		...
//	}
type Framer struct {
	buf        []byte
	head, tail int // the unread bytes are buf[head:tail]
}

// framerSpace is the least free space offered to a read: several pings.
const framerSpace = 16 << 10

// Space returns free room for the next read, never empty. Frames returned
// earlier become invalid.
func (f *Framer) Space() []byte {
	if f.head == f.tail {
		f.head, f.tail = 0, 0
		if len(f.buf) > 16*framerSpace {
			f.buf = nil
		}
	}
	if len(f.buf)-f.tail < framerSpace {
		unread := f.tail - f.head
		to := f.buf
		if len(f.buf)-unread < framerSpace {
			to = make([]byte, max(2*len(f.buf), 2*framerSpace))
		}
		copy(to, f.buf[f.head:f.tail])
		f.buf, f.head, f.tail = to, 0, unread
	}
	return f.buf[f.tail:]
}

// Filled says that n bytes were put into what Space returned.
func (f *Framer) Filled(n int) { f.tail += n }

// Next returns the next complete message, valid until Space is called again, or
// nil when more bytes are needed. An error is ErrCloseLink and final.
func (f *Framer) Next() ([]byte, error) {
	b := f.buf[f.head:f.tail]
	if len(b) == 0 {
		return nil, nil
	}
	n, err := FrameLen(b)
	if err != nil || n == 0 || n > len(b) {
		return nil, err
	}
	f.head += n
	return b[:n:n], nil
}

package resp

import (
	"bytes"
	"errors"
)

// Defaults of the limits a Parser enforces, as Redis documents them.
const (
	DefaultMaxBulk = 512 << 20 // proto-max-bulk-len
	DefaultMaxArgs = 1<<31 - 1 // arguments of one command
	MaxInline      = 64 << 10  // bytes of an inline command, and of a length line

	unauthMaxArgs = 10       // arguments of a command before authentication
	unauthMaxBulk = 16 << 10 // bytes of an argument before authentication
)

// ErrMore is what Next returns when the buffer ends inside a command.
var ErrMore = errors.New("resp: incomplete command")

// ProtocolError is a malformed request. The client is told "-ERR " followed by
// the text, and the connection is closed: nothing after the error can be read.
type ProtocolError string

func (e ProtocolError) Error() string { return string(e) }

const (
	errInlineTooBig    = ProtocolError("Protocol error: too big inline request")
	errUnbalanced      = ProtocolError("Protocol error: unbalanced quotes in request")
	errCountTooBig     = ProtocolError("Protocol error: too big mbulk count string")
	errCountInvalid    = ProtocolError("Protocol error: invalid multibulk length")
	errCountUnauth     = ProtocolError("Protocol error: unauthenticated multibulk length")
	errBulkCountTooBig = ProtocolError("Protocol error: too big bulk count string")
	errBulkInvalid     = ProtocolError("Protocol error: invalid bulk length")
	errBulkUnauth      = ProtocolError("Protocol error: unauthenticated bulk length")
)

// Parser cuts a stream of requests into commands. The caller owns the buffer:
// it calls Next with everything read and not yet consumed, drops the consumed
// bytes, and reads more when Next says ErrMore. The buffer may move or grow
// between calls, its unconsumed bytes must stay the same; what a call has
// already understood of an unfinished command is kept as offsets, so a command
// arriving in many pieces is scanned once, whatever its size.
//
// The zero value is ready, with the default limits. The limits may be changed
// between calls. Not safe for concurrent use.
type Parser struct {
	MaxBulk int64 // bytes of one argument; 0 means DefaultMaxBulk, < 0 no limit
	MaxArgs int64 // arguments of one command; 0 means DefaultMaxArgs

	// Unauthenticated narrows the limits for a client that must still log in.
	// Whoever runs commands in batches must take one command at a time while it
	// is set, as the next one may be allowed more.
	Unauthenticated bool

	// The unfinished command at the start of the buffer. left is 0 when there
	// is none: then only scan has a meaning.
	left  int64  // arguments not yet complete, of them
	bulk  int64  // length of the first one when inBulk
	pos   int    // offset of its header, or of its body when inBulk
	scan  int    // bytes after pos (or after the start) known to hold no line end
	spans []span // the complete arguments
	need  int    // see Need

	inBulk bool
}

type span struct{ start, end int }

// Next appends the arguments of the first command of buf to argv and returns
// the longer argv and how many bytes the command took, together with empty
// commands before it, which are skipped. The arguments are slices of buf (with
// their capacity clipped) and live as long as the caller leaves buf alone.
//
// When buf holds no complete command the error is ErrMore and argv is returned
// as it was; n may still be positive, for skipped empty commands, and must be
// dropped as usual. Any other error is a ProtocolError and final.
//
// buf is never changed. No allocation once argv has the capacity, but for the
// quoted words of inline commands, which are copies.
func (p *Parser) Next(buf []byte, argv [][]byte) (args [][]byte, n int, err error) {
	// The common case in one pass and no state: a whole command of modest
	// numbers. Anything else falls through to the careful path, from its start.
	if p.left != 0 || p.scan != 0 || p.Unauthenticated || p.MaxArgs != 0 || len(buf) < 4 || buf[0] != '*' {
		return p.careful(buf, argv)
	}
	count := uint(buf[1] - '0')
	if count-1 >= 9 {
		return p.careful(buf, argv)
	}
	pos := 2
	for buf[pos] != '\r' {
		d := uint(buf[pos] - '0')
		count = count*10 + d
		pos++
		if d > 9 || pos > 5 || pos == len(buf) {
			return p.careful(buf, argv)
		}
	}
	pos += 2
	maxBulk := uint64(p.maxBulk())
	out := argv
	for {
		// The shortest argument is $0, two line ends: 6 bytes.
		if pos > len(buf)-6 {
			break
		}
		b := buf[pos:]
		size := uint64(b[1] - '0')
		if b[0] != '$' || size > 9 {
			break
		}
		body := 4 // offset in b
		if c := b[2]; c != '\r' {
			d := uint64(c - '0')
			if d > 9 || size == 0 {
				break
			}
			size = size*10 + d
			for body = 3; body < len(b) && b[body] != '\r'; body++ {
				d := uint64(b[body] - '0')
				if d > 9 || body > 12 {
					return p.careful(buf, argv)
				}
				size = size*10 + d
			}
			body += 2
		}
		start := pos + body
		end := start + int(size)
		if end > len(buf)-2 || size > maxBulk {
			break
		}
		out = append(out, buf[start:end:end])
		pos = end + 2
		if count--; count == 0 {
			return out, pos, nil
		}
	}
	return p.careful(buf, argv)
}

// Need says, after ErrMore, how many more bytes the command needs at least: the
// rest of the argument that is being read, or 1 when its length is not known
// yet. It is the size worth reading next; the peer chose it, so allocating all
// of it at once is a matter of trust.
func (p *Parser) Need() int { return max(p.need, 1) }

// Pending tells whether the last call left an unfinished command of which at
// least the argument count has been read.
func (p *Parser) Pending() bool { return p.left != 0 }

// Args returns how many complete arguments the unfinished command has so far.
func (p *Parser) Args() int { return len(p.spans) }

// Reset forgets an unfinished command; the limits stay.
func (p *Parser) Reset() {
	p.left, p.bulk, p.pos, p.scan, p.need, p.inBulk = 0, 0, 0, 0, 0, false
	if cap(p.spans) > 1024 {
		p.spans = nil // a rare giant must not pin memory to an idle connection
	}
	p.spans = p.spans[:0]
}

func (p *Parser) maxBulk() int64 {
	switch {
	case p.MaxBulk == 0:
		return DefaultMaxBulk
	case p.MaxBulk < 0:
		return 1 << 48
	}
	return p.MaxBulk
}

// careful parses with state, so that it can go on where it stopped.
func (p *Parser) careful(buf []byte, argv [][]byte) ([][]byte, int, error) {
	base := 0 // bytes of empty commands dropped in front
	for p.left == 0 {
		b := buf[base:]
		if len(b) == 0 {
			p.need = 1
			return argv, base, ErrMore
		}
		if b[0] != '*' {
			n, err := p.line(b, '\n', 1, errInlineTooBig)
			if err != nil {
				return argv, base, err
			}
			out, ok := splitInline(b[:n], argv)
			if !ok {
				return argv, base, errUnbalanced
			}
			base += n + 1
			if len(out) > len(argv) {
				return out, base, nil
			}
			continue
		}
		n, err := p.line(b, '\r', 2, errCountTooBig)
		if err != nil {
			return argv, base, err
		}
		count, ok := parseInt(b[1:n])
		maxArgs := p.MaxArgs
		if maxArgs == 0 {
			maxArgs = DefaultMaxArgs
		}
		switch {
		case !ok || count > maxArgs:
			return argv, base, errCountInvalid
		case count > unauthMaxArgs && p.Unauthenticated:
			return argv, base, errCountUnauth
		case count <= 0:
			base += n + 2
		default:
			p.left, p.pos = count, n+2
		}
	}

	b := buf[base:]
	for p.left > 0 {
		if !p.inBulk {
			n, err := p.line(b[min(p.pos, len(b)):], '\r', 2, errBulkCountTooBig)
			if err != nil {
				return argv, base, err
			}
			head := b[p.pos : p.pos+n]
			if n == 0 || head[0] != '$' {
				return argv, base, ProtocolError(expectedBulk(b[p.pos]))
			}
			size, ok := parseInt(head[1:])
			switch {
			case !ok || size < 0 || size > p.maxBulk():
				return argv, base, errBulkInvalid
			case size > unauthMaxBulk && p.Unauthenticated:
				return argv, base, errBulkUnauth
			}
			p.pos += n + 2
			p.bulk, p.inBulk = size, true
		}
		end := p.pos + int(p.bulk)
		if end+2 > len(b) {
			p.need = end + 2 - len(b)
			return argv, base, ErrMore
		}
		p.spans = append(p.spans, span{p.pos, end})
		p.pos, p.inBulk = end+2, false // as Redis, the two bytes are not looked at
		p.left--
	}

	for _, s := range p.spans {
		argv = append(argv, b[s.start:s.end:s.end])
	}
	n := base + p.pos
	p.Reset()
	return argv, n, nil
}

// line finds the line end at the start of b, going on where the last search
// stopped, and returns its offset once tail bytes, itself included, are there.
// A line of more than MaxInline bytes is tooBig.
func (p *Parser) line(b []byte, end byte, tail int, tooBig ProtocolError) (int, error) {
	i := bytes.IndexByte(b[min(p.scan, len(b)):], end)
	if i >= 0 {
		i += p.scan
	}
	switch {
	case i > MaxInline, i < 0 && len(b) > MaxInline:
		return 0, tooBig
	case i < 0:
		p.scan, p.need = len(b), 1
		return 0, ErrMore
	case i+tail > len(b):
		p.scan, p.need = i, 1
		return 0, ErrMore
	}
	p.scan = 0
	return i, nil
}

// expectedBulk names the byte found as it came, printable or not.
func expectedBulk(got byte) string {
	return "Protocol error: expected '$', got '" + string([]byte{got}) + "'"
}

// parseInt reads a canonical decimal int64: no plus, no leading zeros, no -0.
func parseInt(b []byte) (int64, bool) {
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	if b[0] == '0' {
		return 0, len(b) == 1 && !neg
	}
	var v uint64
	for _, c := range b {
		if c -= '0'; c > 9 {
			return 0, false
		}
		v = v*10 + uint64(c)
	}
	if neg {
		return -int64(v), v <= 1<<63
	}
	return int64(v), v < 1<<63
}

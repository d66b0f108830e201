package rdb

import (
	"encoding/binary"
	"io"
	"strconv"
)

// WriterOptions says how a file is written.
type WriterOptions struct {
	Version  int  // DefaultVersion if 0
	Compress bool // LZF for strings where it pays (rdbcompression)
	Checksum bool // else the trailer is zero, which readers take as "not computed" (rdbchecksum)
}

// Writer puts one RDB on an io.Writer: Header, then anything in the order that
// the format allows, then Close. It buffers a little, keeps the checksum, and
// remembers the first error, which every later call returns.
type Writer struct {
	dst     io.Writer
	opts    WriterOptions
	buf     []byte
	crc     uint64
	written int64
	err     error
}

// writerBuffer is what is collected before dst is written to.
const writerBuffer = 32 << 10

// NewWriter returns a writer to dst. The header is written first.
func NewWriter(dst io.Writer, o WriterOptions) *Writer {
	if o.Version == 0 {
		o.Version = DefaultVersion
	}
	w := &Writer{dst: dst, opts: o, buf: make([]byte, 0, writerBuffer)}
	w.buf = AppendHeader(w.buf, o.Version)
	return w
}

// Info is what the first AUX fields of a file say about its origin.
type Info struct {
	ServerVersion string // of the Redis interface, such as 7.2.4
	CreatedSec    int64  // Unix time
	UsedMemory    int64  // bytes
	AOFBase       bool   // the file is the base of an append-only log
	SlotStates    string // open slots of a full sync's primary (cluster specification, 9.6); "" for none
	Repl          *ReplInfo
}

// ReplInfo is the place in the replication stream that a file stands for.
type ReplInfo struct {
	DB     int    // selected in the stream, -1 for none
	ID     string // 40 hex digits
	Offset int64
}

// Info writes the usual AUX fields.
func (w *Writer) Info(i *Info) error {
	w.Aux("redis-ver", i.ServerVersion)
	w.Aux("redis-bits", "64")
	w.Aux("ctime", strconv.FormatInt(i.CreatedSec, 10))
	w.Aux("used-mem", strconv.FormatInt(i.UsedMemory, 10))
	if r := i.Repl; r != nil {
		w.Aux("repl-stream-db", strconv.Itoa(r.DB))
		w.Aux("repl-id", r.ID)
		w.Aux("repl-offset", strconv.FormatInt(r.Offset, 10))
	}
	if i.SlotStates != "" {
		w.Aux("cluster-slot-states", i.SlotStates)
	}
	base := "0"
	if i.AOFBase {
		base = "1"
	}
	return w.Aux("aof-base", base)
}

// Aux writes one named fact.
func (w *Writer) Aux(name, value string) error {
	w.buf = AppendAux(w.buf, name, value)
	return w.spill()
}

// Function writes the source of a function library.
func (w *Writer) Function(source []byte) error {
	w.buf = AppendFunction(w.buf, source, w.opts.Compress)
	return w.spill()
}

// SelectDB starts the keys of a database and announces their number.
func (w *Writer) SelectDB(db int, keys, expiring uint64) error {
	w.buf = AppendSizes(AppendSelectDB(w.buf, db), keys, expiring)
	return w.spill()
}

// Key writes a key whose value body is already encoded.
func (w *Writer) Key(k *Key, t Type, body []byte) error {
	w.buf = AppendKey(w.buf, k, t, w.opts.Compress)
	_, err := w.Write(body)
	return err
}

// Write adds bytes that are already in RDB form, such as the records that a
// snapshot walker made, or a piece of a big value.
func (w *Writer) Write(p []byte) (int, error) {
	if len(p) >= writerBuffer {
		w.Flush()
		w.put(p)
		return len(p), w.err
	}
	w.buf = append(w.buf, p...)
	return len(p), w.spill()
}

// Close ends the file with the EOF opcode and the checksum and flushes. It does
// not close what lies beneath.
func (w *Writer) Close() error {
	w.buf = append(w.buf, opEOF)
	w.Flush()
	var trailer [8]byte
	if w.opts.Checksum {
		binary.LittleEndian.PutUint64(trailer[:], w.crc)
	}
	w.put(trailer[:])
	return w.err
}

// Flush hands over what is buffered.
func (w *Writer) Flush() error {
	w.put(w.buf)
	w.buf = w.buf[:0]
	return w.err
}

// Written returns how many bytes have been handed over.
func (w *Writer) Written() int64 { return w.written }

func (w *Writer) spill() error {
	if len(w.buf) >= writerBuffer {
		return w.Flush()
	}
	return w.err
}

func (w *Writer) put(p []byte) {
	if w.err != nil || len(p) == 0 {
		return
	}
	if w.opts.Checksum {
		w.crc = CRC64(w.crc, p)
	}
	n, err := w.dst.Write(p)
	w.written += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	w.err = err
}

package aof

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/config"
)

// FileType is what a file of the log is for.
type FileType byte

const (
	Base    FileType = 'b' // the data set at one instant, as an RDB or as commands
	History FileType = 'h' // superseded, to be deleted
	Incr    FileType = 'i' // commands since
)

// FileInfo is a line of the manifest.
type FileInfo struct {
	Name string
	Seq  int64 // positive; bases and increments count separately
	Type FileType
}

// Manifest says which files are the log, and in which order they are read:
//
//	file appendonly.aof.2.base.rdb seq 2 type b
//	file appendonly.aof.1.incr.aof seq 1 type h
//	file appendonly.aof.2.incr.aof seq 2 type i
//
// Its methods change nothing in place: a new Manifest takes effect once its text
// is on disk.
type Manifest struct {
	Base    *FileInfo // nil: there is none
	History []FileInfo
	Incr    []FileInfo // ascending
}

// maxLine bounds a line of a manifest and an annotation in a log, without the
// line end.
const maxLine = 1023

// ParseManifest reads the text of a manifest. Lines that start with # are
// comments, pairs with other names than file, seq and type are passed over.
// Source: persistence, 13.2.
func ParseManifest(text []byte) (*Manifest, error) {
	if len(text) == 0 {
		return nil, errors.New("aof: manifest: empty")
	}
	m := &Manifest{}
	for n := 1; len(text) > 0; n++ {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		text = rest
		fail := func(format string, args ...any) (*Manifest, error) {
			return nil, fmt.Errorf("aof: manifest: line %d: %s", n, fmt.Sprintf(format, args...))
		}
		switch {
		case len(line) > maxLine:
			return fail("%d bytes long", len(line))
		case len(line) > 0 && line[0] == '#':
			continue
		}
		f, err := parseFileInfo(string(line))
		if err != nil {
			return fail("%v", err)
		}
		switch f.Type {
		case Base:
			if m.Base != nil {
				return fail("a second base")
			}
			m.Base = &f
		case History:
			m.History = append(m.History, f)
		case Incr:
			if i := len(m.Incr); i > 0 && f.Seq <= m.Incr[i-1].Seq {
				return fail("increment %d after %d", f.Seq, m.Incr[i-1].Seq)
			}
			m.Incr = append(m.Incr, f)
		}
	}
	return m, nil
}

func parseFileInfo(line string) (f FileInfo, err error) {
	words, ok := config.SplitArgs(line)
	if !ok || len(words) < 6 || len(words)%2 != 0 {
		return f, errors.New("want file <name> seq <number> type <b, h or i>")
	}
	for ; len(words) > 0; words = words[2:] {
		switch v := words[1]; strings.ToLower(words[0]) {
		case "file":
			if v == "" || v == "." || v == ".." || strings.ContainsAny(v, "/\x00") {
				return f, fmt.Errorf("%q is no file name", v)
			}
			f.Name = v
		case "seq":
			if f.Seq, err = strconv.ParseInt(v, 10, 64); err != nil || f.Seq <= 0 || f.Seq > 1<<62 {
				return f, fmt.Errorf("sequence number %q", v)
			}
		case "type":
			if len(v) != 1 || !strings.Contains("bhi", v) {
				return f, fmt.Errorf("type %q", v)
			}
			f.Type = FileType(v[0])
		}
	}
	if f.Name == "" || f.Seq == 0 || f.Type == 0 {
		return f, errors.New("want file, seq and type")
	}
	return f, nil
}

// Text is the manifest as it is written.
func (m *Manifest) Text() []byte {
	var b []byte
	if m.Base != nil {
		b = m.Base.append(b)
	}
	for _, list := range [][]FileInfo{m.History, m.Incr} {
		for i := range list {
			b = list[i].append(b)
		}
	}
	return b
}

func (f *FileInfo) append(dst []byte) []byte {
	name := f.Name
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'\`, r) }) {
		name = config.Quote(name)
	}
	return fmt.Appendf(dst, "file %s seq %d type %c\n", name, f.Seq, f.Type)
}

// nextSeq are the first numbers that no file has, for a base and an increment.
func (m *Manifest) nextSeq() (base, incr int64) {
	if m.Base != nil {
		base = m.Base.Seq
	}
	if n := len(m.Incr); n > 0 {
		incr = m.Incr[n-1].Seq
	}
	for _, f := range m.History { // of either kind
		base, incr = max(base, f.Seq), max(incr, f.Seq)
	}
	return base + 1, incr + 1
}

// withIncr is m with one more increment.
func (m *Manifest) withIncr(f FileInfo) *Manifest {
	n := *m
	n.Incr = append(append([]FileInfo{}, m.Incr...), f)
	return &n
}

// rebased is m after a rewrite: base takes the place of the old base and of all
// increments before incr. An incr of 0 supersedes all.
func (m *Manifest) rebased(base FileInfo, incr int64) *Manifest {
	n := &Manifest{Base: &base, History: append([]FileInfo{}, m.History...)}
	if m.Base != nil {
		n.History = append(n.History, *m.Base)
	}
	for _, f := range m.Incr {
		if incr == 0 || f.Seq < incr {
			n.History = append(n.History, f)
		} else {
			n.Incr = append(n.Incr, f)
		}
	}
	for i := range n.History {
		n.History[i].Type = History
	}
	return n
}

// withoutHistory is m without the files that are no longer part of it.
func (m *Manifest) withoutHistory() *Manifest {
	n := *m
	n.History = nil
	return &n
}

// live are the files of the log in the order in which they are read.
func (m *Manifest) live() []FileInfo {
	var list []FileInfo
	if m.Base != nil {
		list = append(list, *m.Base)
	}
	return append(list, m.Incr...)
}

// Names of files, from the directive appendfilename.
func manifestName(name string) string        { return name + ".manifest" }
func incrName(name string, seq int64) string { return fmt.Sprintf("%s.%d.incr.aof", name, seq) }
func baseName(name string, seq int64, asRDB bool) string {
	if asRDB {
		return fmt.Sprintf("%s.%d.base.rdb", name, seq)
	}
	return fmt.Sprintf("%s.%d.base.aof", name, seq)
}

// Files that are being written; a crash leaves them, the next attempt writes over
// them, nothing reads them.
func tempManifest(name string) string { return "temp-" + name + ".manifest" }
func tempIncr(name string) string     { return "temp-" + name + ".incr" }

const tempBase = "temp-rewriteaof-bg.aof"

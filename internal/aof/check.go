package aof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
)

const checkUsage = "Usage: skein check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>\n"

// checker is one run of the tool.
type checker struct {
	fs    disk.FS
	in    *bufio.Reader
	out   io.Writer
	fix   bool
	until int64 // Unix time to cut the log to; 0: not
}

// CheckMain is the command "skein check-aof": it reads the files of a log, says
// whether they are sound, and cuts the last one if asked to. It returns the exit
// code: 0 if the log is sound, or was made so.
func CheckMain(args []string, in io.Reader, out io.Writer, fsys disk.FS) int {
	c := &checker{fs: fsys, in: bufio.NewReader(in), out: out}
	switch {
	case len(args) == 1:
	case len(args) == 2 && args[0] == "--fix":
		c.fix = true
	case len(args) == 3 && args[0] == "--truncate-to-timestamp":
		n, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil || n <= 0 {
			fmt.Fprint(out, "Invalid timestamp, aborting...\n", checkUsage)
			return 1
		}
		c.until = n
	default:
		fmt.Fprint(out, checkUsage)
		return 1
	}
	path := args[len(args)-1]
	if err := c.check(path); err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	return 0
}

func (c *checker) say(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// check looks at a manifest and its files, or at one file.
func (c *checker) check(path string) error {
	f, err := disk.Open(c.fs, path)
	if err != nil {
		return fmt.Errorf("Cannot open file: %w", err)
	}
	head := make([]byte, 16)
	n, err := f.ReadAt(head, 0)
	f.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("Cannot read file: %w", err)
	}
	head = head[:n]
	if !strings.HasSuffix(path, ".manifest") && !bytes.HasPrefix(head, []byte("file ")) {
		c.say("Start checking Old-Style AOF")
		if err := c.file(path, path, true, bytes.HasPrefix(head, []byte("REDIS"))); err != nil {
			return err
		}
		c.say("AOF %s is valid", path)
		return nil
	}
	c.say("Start checking Multi Part AOF")
	text, err := disk.ReadFile(c.fs, path)
	if err != nil {
		return err
	}
	m, err := ParseManifest(text)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	files := m.live()
	for i, info := range files {
		kind := "INCR"
		asRDB := false
		if info.Type == Base {
			kind = "BASE"
			if asRDB, err = c.startsAsRDB(filepath.Join(dir, info.Name)); err != nil {
				return err
			}
			c.say("Start to check BASE AOF (%s format).", map[bool]string{true: "RDB", false: "RESP"}[asRDB])
		} else if i == 0 || files[i-1].Type == Base {
			c.say("Start to check INCR files.")
		}
		if err := c.file(filepath.Join(dir, info.Name), info.Name, i == len(files)-1, asRDB); err != nil {
			return err
		}
		c.say("%s AOF %s is valid", kind, info.Name)
	}
	c.say("All AOF files and manifest are valid")
	return nil
}

func (c *checker) startsAsRDB(path string) (bool, error) {
	f, err := disk.Open(c.fs, path)
	if err != nil {
		return false, fmt.Errorf("Cannot open file: %w", err)
	}
	defer f.Close()
	return isRDB(f), nil
}

// file checks one file and cuts it if that is asked for and would make it sound.
func (c *checker) file(path, name string, last, asRDB bool) error {
	flag := os.O_RDONLY
	if c.fix || c.until != 0 {
		flag = os.O_RDWR
	}
	f, err := c.fs.OpenFile(path, flag, 0)
	if err != nil {
		return fmt.Errorf("Cannot open file %s: %w", name, err)
	}
	defer f.Close()
	size, err := c.fs.Stat(path)
	if err != nil {
		return err
	}
	var src io.Reader = f
	from := int64(0)
	if asRDB {
		r := rdb.NewReader(f)
		if err := c.preamble(r, name); err != nil {
			return err
		}
		from = r.Offset()
		src = io.MultiReader(bytes.NewReader(bytes.Clone(r.Buffered())), f)
	}
	s := &walk{src: src, off: from, valid: from, until: c.until}
	fault := s.run()
	if s.stamped {
		return c.truncateTo(f, name, size, s.valid, last)
	}
	if c.until != 0 && fault == nil {
		c.say("Truncate nothing in AOF %s to timestamp %d", name, c.until)
		return nil
	}
	if fault != nil {
		c.say("0x%16x: %s", fault.Offset, fault.Reason)
	}
	c.say("AOF analyzed: filename=%s, size=%d, ok_up_to=%d, ok_up_to_line=%d, diff=%d", name, size, s.valid, s.line, size-s.valid)
	if fault == nil {
		return nil
	}
	if !c.fix {
		return fmt.Errorf("AOF %s is not valid. Use the --fix option to try fixing it.", name)
	}
	if !last {
		return fmt.Errorf("AOF %s is not valid, and not the last file: cutting it would lose what stands in the others' way", name)
	}
	c.say("This will shrink the AOF %s from %d bytes, with %d bytes, to %d bytes", name, size, size-s.valid, s.valid)
	fmt.Fprint(c.out, "Continue? [y/N]: ")
	if answer, _ := c.in.ReadString('\n'); !strings.HasPrefix(strings.ToLower(answer), "y") {
		return errors.New("Aborting...")
	}
	if err := truncate(f, s.valid); err != nil {
		return fmt.Errorf("Failed to truncate AOF %s: %w", name, err)
	}
	c.say("Successfully truncated AOF %s", name)
	return nil
}

func truncate(f disk.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Sync()
}

// preamble checks an RDB in full.
func (c *checker) preamble(r *rdb.Reader, name string) error {
	if _, err := rdb.CheckReader(r, name, time.Now().UnixMilli(), c.out); err != nil {
		return fmt.Errorf("RDB preamble of AOF file %s is not sane, aborting.", name)
	}
	c.say("RDB preamble is OK, proceeding with AOF tail...")
	return nil
}

// truncateTo cuts a file before the first record that is younger than asked.
func (c *checker) truncateTo(f disk.File, name string, size, to int64, last bool) error {
	if !last {
		return fmt.Errorf("AOF %s is not the last file and has records younger than %d: later files must go first", name, c.until)
	}
	if err := truncate(f, to); err != nil {
		return fmt.Errorf("Failed to truncate AOF %s: %w", name, err)
	}
	c.say("Successfully truncated AOF %s to timestamp %d", name, c.until)
	return nil
}

// walk reads the records of a file without running them.
type walk struct {
	src     io.Reader
	off     int64 // of the record that is looked at
	valid   int64 // everything before is whole and outside of MULTI
	line    int64 // lines before valid, from 1
	until   int64
	stamped bool // ended at an annotation that is younger than until
}

func (w *walk) run() *FormatError {
	buf := make([]byte, 0, readSize)
	lines := int64(1)
	w.line = 1
	multi := false
	var p resp.Parser
	var argv [][]byte
	fault := func(at int64, reason string) *FormatError { return &FormatError{Offset: at, Reason: reason} }
	for eof := false; ; {
		at := 0
		for at < len(buf) {
			n, err := nextRecord(buf[at:])
			if bad := (*badRecord)(nil); errors.As(err, &bad) {
				return fault(w.off+int64(at+bad.at), bad.reason)
			}
			if err != nil {
				break
			}
			record := buf[at : at+n]
			at += n
			lines += int64(bytes.Count(record, []byte{'\n'}))
			if record[0] == '#' {
				sec, ok := stampOf(record)
				if ok && w.until != 0 && sec > w.until {
					w.stamped = true
					return nil
				}
			} else {
				argv, _, err = p.Next(record, argv[:0])
				if err != nil {
					return fault(w.off+int64(at-n), err.Error())
				}
				switch word := strings.ToLower(string(argv[0][:min(len(argv[0]), 8)])); {
				case word == "multi" && multi:
					return fault(w.off+int64(at-n), "MULTI inside MULTI")
				case word == "multi":
					multi = true
				case word == "exec" && !multi:
					return fault(w.off+int64(at-n), "EXEC without MULTI")
				case word == "exec":
					multi = false
				}
			}
			if !multi {
				w.valid, w.line = w.off+int64(at), lines
			}
		}
		w.off += int64(at)
		buf = buf[:copy(buf, buf[at:])]
		switch {
		case eof && len(buf) > 0:
			return fault(w.off+int64(len(buf)), "the file ends inside a command")
		case eof && multi:
			return fault(w.off, "Reached EOF before reading EXEC for MULTI")
		case eof:
			return nil
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := w.src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if eof = errors.Is(err, io.EOF); err != nil && !eof {
			return fault(w.off, err.Error())
		}
	}
}

// stampOf reads the time of an annotation.
func stampOf(record []byte) (sec int64, ok bool) {
	text, ok := bytes.CutPrefix(record, []byte("#TS:"))
	if !ok {
		return 0, false
	}
	sec, err := strconv.ParseInt(string(bytes.TrimRight(text, "\r\n")), 10, 64)
	return sec, err == nil
}

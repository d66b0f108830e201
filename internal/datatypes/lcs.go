package datatypes

import (
	"math"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

func lcs(c *command.Ctx) {
	oa, ob := c.Obj(0), c.Obj(1)
	var a, b []byte
	for i, o := range []*store.Obj{oa, ob} {
		if c.Find(i+1, o) && o.Type() != store.String {
			c.Error("ERR The specified keys must contain string values")
			return
		}
	}
	if oa.Exists() {
		a = oa.Bytes()
	}
	if ob.Exists() {
		b = ob.Bytes()
	}
	var wantLen, wantIdx, wantMatchLen bool
	var minMatch int64
	for args := c.ArgsFrom(3); ; {
		if !args.More() {
			if !args.Done() {
				return
			}
			break
		}
		switch {
		case args.Is("idx"):
			wantIdx = true
		case args.Is("len"):
			wantLen = true
		case args.Is("withmatchlen"):
			wantMatchLen = true
		case args.Left() > 1 && args.Is("minmatchlen"):
			minMatch = max(args.Int(), 0)
		default:
			args.Syntax()
		}
	}
	switch {
	case wantLen && wantIdx:
		c.Error("ERR If you want both the length and indexes, please just use IDX.")
		return
	case len(a) >= math.MaxUint32-1 || len(b) >= math.MaxUint32-1:
		c.Error("ERR String too long for LCS")
		return
	}
	cells := (uint64(len(a)) + 1) * (uint64(len(b)) + 1)
	if cells*4 > uint64(c.Env.Limits().MaxBulk) {
		c.Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
		return
	}

	// t[i*w+j] is the length for the first i bytes of a and the first j of b.
	w := len(b) + 1
	t := make([]uint32, cells)
	for i := 1; i <= len(a); i++ {
		row, above := t[i*w:i*w+w], t[(i-1)*w:i*w]
		for j := 1; j < w; j++ {
			if a[i-1] == b[j-1] {
				row[j] = above[j-1] + 1
			} else {
				row[j] = max(above[j], row[j-1])
			}
		}
	}
	total := int(t[len(t)-1])
	if wantLen {
		c.Int(int64(total))
		return
	}

	// Walk back from the end. A run of matches is replied when it breaks off.
	common := make([]byte, total)
	i, j, k := len(a), len(b), total
	run, runs := 0, 0
	start := c.Defer()
	if wantIdx {
		c.Map(2)
		c.BulkString("matches")
	}
	list := c.Defer()
	flush := func() {
		if run > 0 && wantIdx && int64(run) >= minMatch {
			runs++
			if wantMatchLen {
				c.Array(3)
			} else {
				c.Array(2)
			}
			for _, from := range [2]int{i, j} {
				c.Array(2)
				c.Int(int64(from))
				c.Int(int64(from + run - 1))
			}
			if wantMatchLen {
				c.Int(int64(run))
			}
		}
		run = 0
	}
	for i > 0 && j > 0 {
		if a[i-1] == b[j-1] {
			i, j, k = i-1, j-1, k-1
			common[k] = a[i]
			run++
			continue
		}
		flush()
		if t[(i-1)*w+j] > t[i*w+j-1] {
			i--
		} else {
			j--
		}
	}
	flush()
	if !wantIdx {
		c.Rewind(start)
		c.Bulk(common)
		return
	}
	c.EndArray(list, runs)
	c.BulkString("len")
	c.Int(int64(total))
}

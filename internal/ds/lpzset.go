package ds

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// A small sorted set is a listpack of member, score, member, score ... in
// ascending order of score, then of the member's bytes. Scores are integers
// where they have no fraction, else text.

// AppendScore appends a score's text as a listpack holds it, which reads back
// as the same value: an integer without exponent where int64 has room for it,
// else the shortest text; inf and -inf; 0 for -0.
func AppendScore(dst []byte, f float64) []byte {
	if v, ok := scoreAsInt(f); ok {
		return strconv.AppendInt(dst, v, 10)
	}
	if math.IsInf(f, 0) {
		if f < 0 {
			dst = append(dst, '-')
		}
		return append(dst, "inf"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func scoreAsInt(f float64) (int64, bool) {
	if f > -1<<62 && f < 1<<62 && f == math.Trunc(f) {
		return int64(f), true // -0 becomes 0
	}
	return 0, false
}

// lpEncodeScore encodes a score; buf gives room for its text.
func lpEncodeScore(f float64, buf *[32]byte) lpEnc {
	if v, ok := scoreAsInt(f); ok {
		return lpEncodeInt(v)
	}
	return lpEncode(AppendScore(buf[:0], f))
}

// LPZElemSize returns the bytes a member and its score take in a listpack.
func LPZElemSize(member []byte, score float64) int {
	var buf [32]byte
	e := lpEncodeScore(score, &buf)
	return LPElemSize(member) + e.size()
}

// CompareElem compares an element's text with b as bytes.Compare does.
func CompareElem(e Elem, b []byte) int {
	if e.IsInt {
		var buf [20]byte
		return bytes.Compare(strconv.AppendInt(buf[:0], e.Int, 10), b)
	}
	return bytes.Compare(e.Str, b)
}

// ZScore returns the score at off, the position of a score in a small sorted
// set.
func (p LP) ZScore(off int) float64 {
	f, ok := p.Get(off).Float()
	if !ok {
		panic(fmt.Sprintf("ds: sorted set listpack: score %q at %d", p.AppendElem(nil, off), off))
	}
	return f
}

// ZFind returns a member's position, rank and score in a small sorted set; off
// is -1 if it is not there. O(n).
func (p LP) ZFind(member []byte) (off, rank int, score float64) {
	off = p.Find(p.First(), member, 1)
	if off < 0 {
		return -1, 0, 0
	}
	for at := lpHeader; at != off; rank++ {
		at = p.After(p.After(at))
	}
	return off, rank, p.ZScore(p.After(off))
}

// LPZSet gives member a score, which is no NaN, and keeps the order. changed
// is true if member was there with another score.
func LPZSet(b Buf, member []byte, score float64) (added, changed bool) {
	p := LP(b.Bytes())
	off := p.Find(p.First(), member, 1)
	if off < 0 {
		LPZInsert(b, member, score)
		return true, false
	}
	scoreOff := p.After(off)
	old := p.ZScore(scoreOff)
	if old == score {
		return false, false
	}
	if p.zFits(off, member, score) {
		var buf [32]byte
		e := lpEncodeScore(score, &buf)
		lpReplace(b, scoreOff, &e)
		return false, true
	}
	LPDelete(b, off, 2)
	if score < old {
		off = lpHeader
	}
	lpzInsertFrom(b, off, member, score) // what is before off is lower
	return false, true
}

// zFits reports whether the member at off would keep its place with score.
func (p LP) zFits(off int, member []byte, score float64) bool {
	if prevScore := p.Prev(off); prevScore >= 0 {
		f := p.ZScore(prevScore)
		if f > score || f == score && CompareElem(p.Get(p.Prev(prevScore)), member) > 0 {
			return false
		}
	}
	if next := p.Next(p.After(off)); next >= 0 {
		f := p.ZScore(p.After(next))
		if f < score || f == score && CompareElem(p.Get(next), member) < 0 {
			return false
		}
	}
	return true
}

// LPZInsert adds a member known to be absent in its place.
func LPZInsert(b Buf, member []byte, score float64) { lpzInsertFrom(b, lpHeader, member, score) }

// lpzInsertFrom is LPZInsert with a position below which its place cannot be.
func lpzInsertFrom(b Buf, off int, member []byte, score float64) {
	p := LP(b.Bytes())
	end := p.End()
	if last := p.Last(); last >= 0 && p.ZScore(last) < score {
		off = end // appending in order is common
	}
	for off < end {
		scoreOff := p.After(off)
		f := p.ZScore(scoreOff)
		if f > score || f == score && CompareElem(p.Get(off), member) > 0 {
			break
		}
		off = p.After(scoreOff)
	}
	var buf [32]byte
	m, s := lpEncode(member), lpEncodeScore(score, &buf)
	lpInsertPair(b, off, &m, &s)
}

// ValidateLPZ checks untrusted bytes as ValidateLPPairs does, and that every
// second element is a score. With order it also checks that the pairs ascend,
// as the writers of this package leave them.
func ValidateLPZ(b []byte, order bool) error {
	if err := ValidateLPPairs(b); err != nil {
		return err
	}
	p, prev, prevScore := LP(b), -1, math.Inf(-1)
	var buf []byte
	for off := p.First(); off >= 0; {
		scoreOff := p.After(off)
		f, ok := p.Get(scoreOff).Float()
		if !ok {
			return fmt.Errorf("ds: sorted set listpack: bad score at %d", scoreOff)
		}
		if order && prev >= 0 {
			buf = p.AppendElem(buf[:0], off)
			if f < prevScore || f == prevScore && CompareElem(p.Get(prev), buf) >= 0 {
				return errors.New("ds: sorted set listpack: out of order")
			}
		}
		prev, prevScore, off = off, f, p.Next(scoreOff)
	}
	return nil
}

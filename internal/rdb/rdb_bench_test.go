package rdb

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/store"
)

// benchFile is 200,000 strings of 64 bytes under 10-byte keys, as a file.
func benchFile() []byte {
	var file bytes.Buffer
	w := NewWriter(&file, WriterOptions{Checksum: true})
	value := AppendString(nil, bytes.Repeat([]byte("abcdefg1"), 8), false)
	for i := range 200_000 {
		w.Key(&Key{Name: fmt.Appendf(nil, "key:%06d", i), IdleSec: NoIdle, Freq: NoFreq}, TypeString, value)
	}
	w.Close()
	return file.Bytes()
}

// benchBig is 12 collections of 300,000 elements each, of a few megabytes.
func benchBig() []byte {
	var file bytes.Buffer
	w := NewWriter(&file, WriterOptions{Checksum: true})
	for i := range 12 {
		t := []Type{TypeHash, TypeSet, TypeZSet}[i%3]
		body := AppendLen(nil, 300_000)
		for j := range 300_000 {
			body = AppendString(body, fmt.Appendf(nil, "member:%08d", j), false)
			switch t {
			case TypeHash:
				body = AppendString(body, []byte("value of some length"), false)
			case TypeZSet:
				body = AppendDouble(body, float64(j))
			}
		}
		w.Key(&Key{Name: fmt.Appendf(nil, "big:%d", i), IdleSec: NoIdle, Freq: NoFreq}, t, body)
	}
	w.Close()
	return file.Bytes()
}

func benchStore(b *testing.B) *store.Store {
	h, err := mem.New(mem.Options{Reserve: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	st := store.New(h, 1)
	b.Cleanup(func() { st.Close(); h.Close() })
	return st
}

func BenchmarkLoad(b *testing.B)    { benchmarkLoad(b, benchFile()) }
func BenchmarkLoadBig(b *testing.B) { benchmarkLoad(b, benchBig()) }

func benchmarkLoad(b *testing.B, file []byte) {
	st := benchStore(b)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(NewReader(bytes.NewReader(file)), st, &LoadOptions{Limits: DefaultLimits()}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		st.LockWorld()
		st.DB(0).Clear(false)
		st.UnlockWorld()
		b.StartTimer()
	}
}

func BenchmarkSave(b *testing.B) {
	file := benchFile()
	st := benchStore(b)
	if _, err := Load(NewReader(bytes.NewReader(file)), st, &LoadOptions{Limits: DefaultLimits()}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		c, snap := cut(b, st, RecordOptions{})
		w := NewWriter(io.Discard, WriterOptions{Checksum: true})
		if err := c.Write(snap, w, &Info{}); err != nil {
			b.Fatal(err)
		}
		w.Close()
	}
}

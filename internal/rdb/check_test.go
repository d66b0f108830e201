package rdb

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// The command tells sound files from others by its exit code, counts keys, and
// says where damage is.
func TestCheckMain(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, WriterOptions{Checksum: true})
	w.Info(&Info{ServerVersion: "7.2.4"})
	w.SelectDB(0, 3, 2)
	for i, expire := range []int64{0, 1, 1 << 45} {
		w.Key(&Key{Name: []byte{'k', byte('0' + i)}, ExpireAtMs: expire, IdleSec: NoIdle, Freq: NoFreq}, TypeString, []byte("\x05value"))
	}
	w.Key(&Key{Name: []byte("z"), IdleSec: NoIdle, Freq: NoFreq}, TypeZSetListpack, AppendString(nil, lpOf("a", "1", "b", "2"), false))
	w.Close()
	good := file.Bytes()
	unsorted := bytes.Replace(good, lpOf("a", "1", "b", "2"), lpOf("a", "3", "b", "2"), 1)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	unchecked := bytes.Clone(good)
	clear(unchecked[len(unchecked)-8:])
	files := map[string][]byte{"good": good, "cut": good[:len(good)-20], "unsorted": unsorted, "flipped": flipped, "unchecked": unchecked}
	open := func(path string) (io.ReadCloser, error) {
		if p, ok := files[path]; ok {
			return io.NopCloser(bytes.NewReader(p)), nil
		}
		return nil, errors.New("no such file")
	}
	counts := "[info] 4 keys read\n[info] 2 expires\n[info] 1 already expired\n"
	for _, tt := range []struct {
		args string
		code int
		want []string
	}{
		{"good", 0, []string{"[offset 0] Checking RDB file good\n", "AUX FIELD redis-ver = '7.2.4'", "Selecting DB ID 0", "Checksum OK", `\o/ RDB looks OK! \o/`, counts}},
		{"unchecked", 0, []string{"checksum disabled", "looks OK", counts}},
		{"cut", 1, []string{"--- RDB ERROR DETECTED ---", "unexpected EOF", "While reading:", `Last key: "z"`}},
		{"unsorted", 1, []string{"--- RDB ERROR DETECTED ---", "out of order"}},
		{"flipped", 1, []string{"wrong checksum"}},
		{"absent", 1, []string{"Cannot open file: no such file"}},
		{"", 1, []string{"Usage:"}},
		{"two files", 1, []string{"Usage:"}},
	} {
		var out strings.Builder
		if code := CheckMain(strings.Fields(tt.args), &out, open); code != tt.code {
			t.Errorf("%q: exit code %d, want %d", tt.args, code, tt.code)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q: no %q in\n%s", tt.args, want, &out)
			}
		}
	}
}

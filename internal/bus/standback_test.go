package bus

import "testing"

// What a replica holds counts as more only within one history, or when there is
// nothing here at all.
func TestHoldingMore(t *testing.T) {
	for _, tt := range []struct {
		name string
		own  Loaded
		h    holding
		want bool
	}{
		{"same history, further", Loaded{Keys: 5, ID: "a", Offset: 10}, holding{keys: true, id: "a", offset: 11}, true},
		{"same history, as far", Loaded{Keys: 5, ID: "a", Offset: 10}, holding{keys: true, id: "a", offset: 10}, false},
		{"same history, behind", Loaded{Keys: 5, ID: "a", Offset: 10}, holding{keys: true, id: "a", offset: 9}, false},
		{"another history", Loaded{Keys: 5, ID: "a", Offset: 10}, holding{keys: true, id: "b", offset: 99}, false},
		{"a snapshot that was empty, same history, further", Loaded{ID: "a", Offset: 10}, holding{keys: true, id: "a", offset: 99}, true},
		{"nothing here", Loaded{}, holding{keys: true, id: "b", offset: 1}, true},
		{"nothing anywhere", Loaded{}, holding{id: "b", offset: 99}, false},
		{"data of unknown age", Loaded{Keys: 1}, holding{keys: true, id: "b", offset: 99}, false},
	} {
		if got := tt.h.more(&tt.own); got != tt.want {
			t.Errorf("%s: more = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A node's own line is told by its flags, not by its place.
func TestOwnLine(t *testing.T) {
	const table = "aa 127.0.0.1:1@2 master - 0 1 1 connected 0-5\nbb 127.0.0.1:3@4,myself myself,slave aa 0 1 1 connected\ncc 127.0.0.1:5@6,myself slave dd 0 1 1 connected\n"
	if f := ownLine(table); len(f) < 4 || f[0] != "bb" || f[3] != "aa" {
		t.Errorf("ownLine = %q, want the line of bb, which follows aa", f)
	}
	if f := ownLine("aa 127.0.0.1:1@2 master - 0 1 1 connected\n"); f != nil {
		t.Errorf("ownLine = %q, want none", f)
	}
}

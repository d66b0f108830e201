package ds

// StreamTotals is what a stream knows about all of its entries at once.
type StreamTotals struct {
	Length     uint64   // live entries
	Last       StreamID // greatest id ever given out
	First      StreamID // of the first live entry, 0-0 if there is none
	MaxDeleted StreamID // greatest id that was deleted
	Added      uint64   // entries ever added
}

// Totals returns them.
func (s Stream) Totals() StreamTotals {
	return StreamTotals{uint64(s.Len()), s.Last(), s.First(), s.MaxDeleted(), s.Added()}
}

// SetTotals says what the nodes that were appended amount to.
func (s Stream) SetTotals(t StreamTotals) {
	s.setU64(strLength, t.Length)
	s.setID(strLast, t.Last)
	s.setID(strFirst, t.First)
	s.setID(strMaxDeleted, t.MaxDeleted)
	s.setU64(strAdded, t.Added)
}

// Tombstones reports whether an entry that was deleted may lie at or after start.
func (t *StreamTotals) Tombstones(start StreamID) bool {
	return t.Length > 0 && t.MaxDeleted != StreamID{} && start.Compare(t.MaxDeleted) <= 0
}

// EntriesReadAt estimates how many entries a group that was delivered everything
// up to id has read, EntriesReadUnknown if that cannot be told.
// Source: persistence-replication.md 11.3.
func (t *StreamTotals) EntriesReadAt(id StreamID) int64 {
	switch {
	case t.Added == 0:
		return 0
	case t.Length == 0 && id.Compare(t.Last) <= 0, id == t.Last:
		return int64(t.Added)
	case t.Last.Less(id):
		return EntriesReadUnknown
	}
	if t.MaxDeleted == (StreamID{}) || t.MaxDeleted.Less(t.First) {
		switch {
		case id.Less(t.First):
			return int64(t.Added - t.Length)
		case id == t.First:
			return int64(t.Added-t.Length) + 1
		}
	}
	return EntriesReadUnknown
}

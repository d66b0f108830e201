package store

// How many keys AverageTTL looks at, of a slot and in all, and in how many steps of
// a slot's index at most: keys with an expiry may be few among many.
const (
	ttlPerSlot = 4
	ttlSample  = 128
	ttlSteps   = 64
)

// AverageTTL estimates how many milliseconds keys with an expiry have left, from a
// sample that begins at a slot by chance, rnd; 0 if it meets none. It takes slot
// locks one after the other, unless the caller holds the world lock (world).
func (db *DB) AverageTTL(nowMs int64, rnd uint64, world bool) int64 {
	if db.Expiring() == 0 {
		return 0
	}
	n, sum := 0, float64(0)
	first := int(rnd % Slots)
	for i := 0; i < Slots && n < ttlSample; i++ {
		slot := uint16((first + i) % Slots)
		if db.slot(slot).nextExpire.Load() == 0 || db.st.SlotHidden(slot) {
			continue
		}
		if !world {
			db.st.Lock(slot)
		}
		found := 0
		for pos, step := uint64(0), 0; step < ttlSteps && found < ttlPerSlot; step++ {
			pos = db.slot(slot).dict.Scan(db.st.Heap, pos, func(ref memRef, volatile bool) {
				var o Obj
				if !volatile || found == ttlPerSlot {
					return
				}
				db.openRef(slot, ref, &o)
				if left := o.ExpireAt() - nowMs; left > 0 {
					found++
					sum += float64(left)
				}
			})
			if pos == 0 {
				break
			}
		}
		n += found
		if !world {
			db.st.Unlock(slot)
		}
	}
	if n == 0 {
		return 0
	}
	return int64(sum / float64(n))
}

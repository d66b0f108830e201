package bus

import (
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

// LeaveWhole says that slots are about to be taken over with their data, so that
// keys of them that are left after the claim can go (cluster.Whole).
func (b *Bus) LeaveWhole(each func(slot func(int))) {
	set := new(cluster.SlotSet)
	each(set.Add)
	b.settle(func(m *cluster.Machine, now cluster.Times) { m.Admin(now, cluster.Whole{Slots: set}) }) // cannot fail
}

// TakeSlots makes this node the owner of slots that it has received with their
// data from another (cluster.TakeSlots). When it returns the claim is saved, on
// its way to all members, and commands on the slots are served. No slot locks may
// be held. each visits the slots. After until nothing is taken. ErrStopping: nobody can
// tell.
func (b *Bus) TakeSlots(from string, until time.Time, each func(take func(slot int))) error {
	id, ok := cluster.ParseID(from)
	if !ok {
		return cluster.AdminError("ERR Unknown node name: " + from)
	}
	set := new(cluster.SlotSet)
	each(set.Add)
	limit := max(b.now().Mono+cluster.Millis(time.Until(until).Milliseconds()), 1)
	var err error
	if !b.show(func(m *cluster.Machine, now cluster.Times) {
		_, err = m.Admin(now, cluster.TakeSlots{Slots: set, From: id, Until: limit})
	}) {
		return ErrStopping
	}
	return err
}

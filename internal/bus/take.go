package bus

import "github.com/skeindb/skein/internal/cluster"

// TakeSlots makes this node the owner of slots that it has received with their
// data from another (cluster.TakeSlots). When it returns the claim is saved, on
// its way to all members, and commands on the slots are served. No slot locks may
// be held. each visits the slots.
func (b *Bus) TakeSlots(from string, each func(take func(slot int))) error {
	id, ok := cluster.ParseID(from)
	if !ok {
		return cluster.AdminError("ERR Unknown node name: " + from)
	}
	set := new(cluster.SlotSet)
	each(set.Add)
	_, err := b.Admin(cluster.TakeSlots{Slots: set, From: id})
	return err
}

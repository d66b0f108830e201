package rdb

import "time"

// Delay slows a load or a save down by a time for each key (key-load-delay,
// rdb-key-save-delay), so that those who test what a server does meanwhile have one
// for as long as they need.
type Delay struct {
	PerKey func() time.Duration // may change meanwhile; nil: none

	owed time.Duration
}

// Keys is called for keys that have gone by. It sleeps when enough has come together
// for a sleep to be exact, and calls between meanwhile, whose error it returns.
func (d *Delay) Keys(n int, between func() error) error {
	if d.PerKey == nil {
		return nil
	}
	per := d.PerKey()
	if per <= 0 {
		d.owed = 0
		return nil
	}
	d.owed += time.Duration(n) * per
	for d.owed >= time.Millisecond && d.PerKey() > 0 { // set to 0 it ends at once
		step := min(d.owed, 50*time.Millisecond)
		time.Sleep(step)
		d.owed -= step
		if err := between(); err != nil {
			return err
		}
	}
	return nil
}

package rdb

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// A delay is as long as it says, told of meanwhile, and given up at once.
func TestKeyDelay(t *testing.T) {
	file := manyBlocks(t, 100, false)
	file = ended(file)
	began, calls := time.Now(), 0
	_, err := Load(NewReader(bytes.NewReader(file)), newStore(t), &LoadOptions{Limits: DefaultLimits(),
		KeyDelay: func() time.Duration { return 200 * time.Microsecond }, Between: func(*LoadStats) error { calls++; return nil }})
	if took := time.Since(began); err != nil || took < 18*time.Millisecond || calls < 10 {
		t.Errorf("100 keys of 200 us took %v, %d calls of Between, %v", took, calls, err)
	}
	enough := errors.New("enough")
	left := 3
	began = time.Now()
	_, err = Load(NewReader(bytes.NewReader(file)), newStore(t), &LoadOptions{Limits: DefaultLimits(),
		KeyDelay: func() time.Duration { return time.Hour }, Between: func(*LoadStats) error {
			if left--; left == 0 {
				return enough
			}
			return nil
		}})
	if took := time.Since(began); err != enough || took > 30*time.Second {
		t.Errorf("%v after %v, want %v", err, took, enough)
	}
}

// A save lasts as long as its keys are delayed, and no longer once they are not.
func TestKeyDelayOfSave(t *testing.T) {
	st := newStore(t)
	fillRandom(t, st, rand.New(rand.NewPCG(3, 4)), 200)
	save := func(delay func() time.Duration) (keys int, took time.Duration) {
		c, snap := cut(t, st, RecordOptions{})
		c.KeyDelay = delay
		w := NewWriter(io.Discard, WriterOptions{})
		began := time.Now()
		if err := c.Write(snap, w, &Info{}); err != nil {
			t.Fatal(err)
		}
		return c.Keys(), time.Since(began)
	}
	keys, took := save(func() time.Duration { return 100 * time.Microsecond })
	if least := time.Duration(keys) * 100 * time.Microsecond * 9 / 10; took < least {
		t.Errorf("%d keys of 100 us took %v, want %v at least", keys, took, least)
	}
	left := 3
	if _, took := save(func() time.Duration {
		if left--; left < 0 {
			return 0
		}
		return time.Hour
	}); took > 30*time.Second {
		t.Errorf("a delay that was taken back still took %v", took)
	}
}

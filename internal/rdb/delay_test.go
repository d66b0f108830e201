package rdb

import (
	"bytes"
	"errors"
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

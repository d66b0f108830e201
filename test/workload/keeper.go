package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/test/proc"
)

// TagsIn returns n different hash tags whose slots are in first <= slot < first+slots.
func TagsIn(n, first, slots int) (tags []string) {
	for i := 0; len(tags) < n; i++ {
		tag := strconv.Itoa(i)
		if s := int(hashslot.Slot([]byte(tag))); s >= first && s < first+slots {
			tags = append(tags, tag)
		}
	}
	return tags
}

// A keeper is a client that has keys of its own, so it knows at any time what
// each must hold, and checks every reply against that. Two keepers never share a
// key, but share slots.
type keeper struct {
	client *redis.ClusterClient
	rnd    *rand.Rand
	tags   []string
	values map[string]string // strings, counters included
	lists  map[string][]string
	done   atomic.Int64
	ended  chan struct{} // closed after the run
	err    error         // why it stopped; after the run
}

func newKeeper(c *proc.Cluster, id int, tags []string) *keeper {
	o := &keeper{rnd: rand.New(rand.NewPCG(uint64(id), 7)), ended: make(chan struct{}),
		values: map[string]string{}, lists: map[string][]string{}}
	for i := id; i < len(tags); i += keepers {
		o.tags = append(o.tags, tags[i])
	}
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	// While half of a slot's keys have moved, commands on two keys are told
	// TRYAGAIN, so there must be many tries.
	o.client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 200,
		MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 20 * time.Millisecond,
		DialTimeout: proc.Patience, ReadTimeout: proc.Patience, WriteTimeout: proc.Patience})
	return o
}

const keepers = 3

// run works until ctx ends or a reply is not what it must be.
func (o *keeper) run(ctx context.Context) {
	defer close(o.ended)
	for ctx.Err() == nil {
		if o.err = o.step(context.Background()); o.err != nil {
			return
		}
		o.done.Add(1)
	}
}

// step is one command and the check of its reply.
func (o *keeper) step(ctx context.Context) error {
	tag := o.tags[o.rnd.IntN(len(o.tags))]
	key := fmt.Sprintf("{%s}:s%d", tag, o.rnd.IntN(6))
	other := fmt.Sprintf("{%s}:s%d", tag, o.rnd.IntN(6))
	counter, list := fmt.Sprintf("{%s}:n", tag), fmt.Sprintf("{%s}:l", tag)
	value := strconv.FormatUint(o.rnd.Uint64(), 36) + strings.Repeat("v", o.rnd.IntN(50))
	differs := func(what string, got, want any) error {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s: got %v, want %v", what, got, want)
		}
		return nil
	}
	switch o.rnd.IntN(8) {
	case 0, 1:
		if err := o.client.Set(ctx, key, value, time.Duration(o.rnd.IntN(2))*time.Hour).Err(); err != nil {
			return fmt.Errorf("SET %s: %w", key, err)
		}
		o.values[key] = value
	case 2:
		got, err := o.client.Get(ctx, key).Result()
		want, has := o.values[key]
		if has != (err == nil) || err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("GET %s: %v, want %q (there: %t)", key, err, want, has)
		}
		return differs("GET "+key, got, want)
	case 3:
		got, err := o.client.Incr(ctx, counter).Result()
		if err != nil {
			return fmt.Errorf("INCR %s: %w", counter, err)
		}
		was, _ := strconv.ParseInt(o.values[counter], 10, 64)
		o.values[counter] = strconv.FormatInt(was+1, 10)
		return differs("INCR "+counter, got, was+1)
	case 4:
		got, err := o.client.RPush(ctx, list, value).Result()
		if err != nil {
			return fmt.Errorf("RPUSH %s: %w", list, err)
		}
		o.lists[list] = append(o.lists[list], value)
		return differs("RPUSH "+list, got, len(o.lists[list]))
	case 5:
		got, err := o.client.Del(ctx, key).Result()
		if err != nil {
			return fmt.Errorf("DEL %s: %w", key, err)
		}
		want := 0
		if _, has := o.values[key]; has {
			want = 1
		}
		delete(o.values, key)
		return differs("DEL "+key, got, want)
	case 6:
		if err := o.client.MSet(ctx, key, value, other, value+"2").Err(); err != nil {
			return fmt.Errorf("MSET %s %s: %w", key, other, err)
		}
		o.values[key] = value
		o.values[other] = value + "2"
	case 7:
		got, err := o.client.MGet(ctx, key, other).Result()
		if err != nil {
			return fmt.Errorf("MGET %s %s: %w", key, other, err)
		}
		want := []any{nil, nil}
		for i, k := range []string{key, other} {
			if v, has := o.values[k]; has {
				want[i] = v
			}
		}
		return differs("MGET "+key+" "+other, got, want)
	}
	return nil
}

// check reads everything once more.
func (o *keeper) check(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	for k, want := range o.values {
		if got, err := o.client.Get(ctx, k).Result(); err != nil || got != want {
			t.Errorf("GET %s = %q, %v, want %q", k, got, err, want)
		}
	}
	for k, want := range o.lists {
		if got, err := o.client.LRange(ctx, k, 0, -1).Result(); err != nil || !slices.Equal(got, want) {
			t.Errorf("LRANGE %s = %d elements, %v, want %d as they were pushed", k, len(got), err, len(want))
		}
	}
}

// Work runs keepers on tags while during runs, and a while before and after, then
// compares the data with what they know: no key lost, none changed, none doubled,
// every key where its slot is served, replicas equal to their primaries.
func Work(t *testing.T, c *proc.Cluster, tags []string, during func(progress func(what string))) {
	t.Helper()
	var all []*keeper
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	defer wg.Wait()
	defer stop()
	for i := range keepers {
		o := newKeeper(c, i, tags)
		defer o.client.Close()
		all = append(all, o)
		wg.Add(1)
		go func() {
			defer wg.Done()
			o.run(ctx)
		}()
	}
	progress := func(what string) {
		t.Helper()
		for i, o := range all {
			from := o.done.Load()
			proc.Wait(t, proc.Patience, fmt.Sprintf("keeper %d at work %s", i, what), func() string {
				select {
				case <-o.ended:
					t.Fatalf("keeper %d gave up: %v", i, o.err)
				default:
				}
				if o.done.Load() < from+100 {
					return fmt.Sprintf("%d commands done", o.done.Load()-from)
				}
				return ""
			})
		}
	}
	progress("at first")
	during(progress)
	progress("in the end")
	stop()
	wg.Wait()
	keys := 0
	for i, o := range all {
		if o.err != nil {
			t.Errorf("keeper %d: %v", i, o.err)
		}
		t.Logf("keeper %d: %d commands, %d keys", i, o.done.Load(), len(o.values)+len(o.lists))
		o.check(t)
		keys += len(o.values) + len(o.lists)
	}
	stored := 0
	for _, p := range c.Primaries() {
		me := p.Myself()
		for _, key := range strings.Fields(p.CLI("--scan")) {
			if slot := int(hashslot.Slot([]byte(key))); !me.Serves(slot) {
				t.Errorf("%s holds %s of slot %d, which it does not serve", p, key, slot)
			}
			stored++
		}
		for _, r := range c.Replicas(p) {
			proc.WaitInStep(t, p, r)
		}
	}
	if stored != keys {
		t.Errorf("%d keys are stored in all, the keepers know of %d", stored, keys)
	}
}

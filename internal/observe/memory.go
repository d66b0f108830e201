package observe

import (
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/mem"
)

// memoryUsage replies with the exact bytes of a key: record, index entry, and
// what its value owns. SAMPLES is accepted; nothing needs to be estimated.
func memoryUsage(c *command.Ctx) {
	for args := c.ArgsFrom(3); args.More(); {
		if !args.Is("samples") {
			c.Error(command.ErrSyntax)
			return
		}
		n := args.Int()
		if !args.Done() {
			return
		}
		if n < 0 {
			c.Error(command.ErrSyntax)
			return
		}
	}
	o := c.Obj(0)
	if !c.Look(2, o) {
		c.Null()
		return
	}
	c.Int(int64(o.MemUsed()))
}

func (ob *Observer) memoryStats(c *command.Ctx) {
	u := ob.usage()
	keys := 0
	st := ob.o.Engine.Store
	type dbSize struct{ i, keys, volatile int }
	var dbs []dbSize
	for i := range st.DBs() {
		if db := st.DB(i); !db.Empty() {
			n, v := db.Len(c.World)
			keys += n
			dbs = append(dbs, dbSize{i, n, v})
		}
	}
	m, n := c.Defer(), 0
	num := func(name string, v int64) {
		n++
		c.BulkString(name)
		c.Int(v)
	}
	double := func(name string, v float64) {
		n++
		c.BulkString(name)
		c.Double(v)
	}
	num("peak.allocated", u.peak)
	num("total.allocated", u.used)
	num("startup.allocated", u.startup)
	num("replication.backlog", u.buffers.Backlog)
	num("clients.slaves", u.clients.replicaBytes)
	num("clients.normal", u.clients.normalBytes)
	num("cluster.links", u.buffers.Links)
	num("aof.buffer", u.buffers.AOF)
	num("lua.caches", 0)
	num("functions.caches", 0)
	for _, d := range dbs {
		n++
		c.BulkString("db." + strconv.Itoa(d.i))
		c.Map(3)
		c.BulkString("overhead.hashtable.main")
		c.Int(share(u.index, d.keys, keys))
		c.BulkString("overhead.hashtable.expires")
		c.Int(0) // expiries are in the records
		c.BulkString("overhead.hashtable.slot-to-keys")
		c.Int(0) // every slot has its own table
	}
	num("overhead.total", u.overhead)
	num("keys.count", int64(keys))
	num("keys.bytes-per-key", int64(ratio(u.used-u.startup, int64(keys))))
	num("dataset.bytes", u.dataset)
	double("dataset.percentage", percent(u.dataset, u.used-u.startup))
	double("peak.percentage", percent(u.used, u.peak))
	num("allocator.allocated", u.used)
	num("allocator.active", u.held)
	num("allocator.resident", u.held+u.retained)
	double("allocator-fragmentation.ratio", ratio(u.held, u.used))
	num("allocator-fragmentation.bytes", u.held-u.used)
	double("allocator-rss.ratio", ratio(u.held+u.retained, u.held))
	num("allocator-rss.bytes", u.retained)
	double("rss-overhead.ratio", ratio(u.rss, u.held+u.retained))
	num("rss-overhead.bytes", u.rss-u.held-u.retained)
	double("fragmentation", ratio(u.rss, u.used))
	num("fragmentation.bytes", u.rss-u.used)
	num("go.heap", u.goHeap)
	num("go.total", u.goTotal)
	c.EndMap(m, n)
}

func share(total int64, part, whole int) int64 {
	if whole == 0 {
		return 0
	}
	return int64(math.Round(float64(total) * float64(part) / float64(whole)))
}

// Where memory becomes worth a remark.
const (
	doctorLeast    = 5 << 20 // below it ratios mean nothing
	doctorPeak     = 1.5
	doctorFree     = 1.1
	doctorResident = 1.4
	doctorClients  = 200 << 10 // bytes per client
)

func (ob *Observer) memoryDoctor(c *command.Ctx) {
	u := ob.usage()
	if u.used < doctorLeast {
		c.Verbatim("txt", fmt.Sprintf("Only %s are in use: too little to say anything about.\n", human(u.used)))
		return
	}
	var b strings.Builder
	if r := ratio(u.peak, u.used); r > doctorPeak {
		fmt.Fprintf(&b, " * Peak: at its peak the node used %s, %.1f times as much as now. Freed memory goes back to the system by itself.\n", human(u.peak), r)
	}
	if r := ratio(u.held, u.used); r > doctorFree && u.held-u.used > 10<<20 {
		fmt.Fprintf(&b, " * Fragmentation: %s of the pages taken hold no object (ratio %.2f). Values of other sizes than before may fill them.\n", human(u.held-u.used), r)
	}
	if r := ratio(u.rss, u.held+u.retained); r > doctorResident && u.rss-u.held > 10<<20 {
		fmt.Fprintf(&b, " * Resident memory: the process has %s, %.2f times what the data takes. Go's runtime holds %s of it.\n", human(u.rss), r, human(u.goTotal))
	}
	if n := u.clients.normal; n > 0 && u.clients.normalBytes/int64(n) > doctorClients {
		fmt.Fprintf(&b, " * Clients: their buffers take %s, %s each. Look at CLIENT LIST for large qbuf and omem.\n",
			human(u.clients.normalBytes), human(u.clients.normalBytes/int64(n)))
	}
	if b.Len() == 0 {
		b.WriteString("Nothing unusual about this node's memory.\n")
	} else {
		c.Verbatim("txt", "Found in this node's memory:\n\n"+b.String())
		return
	}
	c.Verbatim("txt", b.String())
}

func (ob *Observer) memoryMallocStats(c *command.Ctx) {
	s := ob.o.Heap.Stats()
	var b strings.Builder
	fmt.Fprintf(&b, "region       %s reserved, used up to %s\n", human(s.Reserved), human(s.Top))
	fmt.Fprintf(&b, "used         %s (%d bytes)\n", human(s.Used), s.Used)
	for p := range s.ByPurpose {
		fmt.Fprintf(&b, "  %-10s %s (%d bytes)\n", mem.Purpose(p), human(s.ByPurpose[p]), s.ByPurpose[p])
	}
	fmt.Fprintf(&b, "held         %s in pages\n", human(s.Held))
	fmt.Fprintf(&b, "retained     %s to be given back\n", human(s.Retained))
	fmt.Fprintf(&b, "shards       %d\n", s.Shards)
	heap, total := goMemory()
	fmt.Fprintf(&b, "go heap      %s live, %s in all\n", human(heap), human(total))
	c.Verbatim("txt", b.String())
}

func (ob *Observer) memoryPurge(c *command.Ctx) {
	ob.o.Heap.Trim()
	debug.FreeOSMemory()
	c.OK()
}

func memoryHelp(c *command.Ctx) {
	c.Help("DOCTOR",
		"    What is unusual about the memory, in words.",
		"MALLOC-STATS",
		"    The books of the allocator.",
		"PURGE",
		"    Give free memory back to the system.",
		"STATS",
		"    Where the memory is.",
		"USAGE <key> [SAMPLES <count>]",
		"    The bytes that <key> and its value take, exactly; SAMPLES has no effect.")
}

package observe

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
)

func (ob *Observer) server(t *text, _ bool) {
	c, now := ob.o.Config, time.Now()
	mode := "standalone"
	if c.ClusterEnabled.Get() {
		mode = "cluster"
	}
	supervised := "no"
	switch c.Supervised.Get() {
	case config.SupervisedSystemd:
		supervised = "systemd"
	case config.SupervisedUpstart:
		supervised = "upstart"
	}
	up := int64(now.Sub(ob.start) / time.Second)
	exe, _ := os.Executable()
	port := c.Port.Get()
	if port == 0 {
		port = c.TLSPort.Get()
	}
	t.line("redis_version", engine.Version)
	t.line("redis_git_sha1", ob.o.Commit)
	t.line("redis_git_dirty", 0)
	t.line("redis_build_id", ob.o.Commit)
	t.line("redis_mode", mode)
	t.line("os", osName())
	t.line("arch_bits", 32<<(^uint(0)>>63))
	t.line("monotonic_clock", "Go runtime")
	t.line("multiplexing_api", "goroutines")
	t.line("atomicvar_api", "Go sync/atomic")
	t.line("gcc_version", "0.0.0")
	t.line("process_id", os.Getpid())
	t.line("process_supervised", supervised)
	t.line("run_id", ob.o.RunID)
	t.line("tcp_port", port)
	t.line("server_time_usec", now.UnixMicro())
	t.line("uptime_in_seconds", up)
	t.line("uptime_in_days", up/(24*3600))
	t.line("hz", c.Hz.Get())
	t.line("configured_hz", c.Hz.Get())
	t.line("lru_clock", now.Unix()&(1<<24-1))
	t.line("executable", exe)
	t.line("config_file", c.File)
	t.line("availability_zone", c.AvailabilityZone.Get())
	t.line("io_threads_active", 0)
	n := 0
	listener := func(kind, bind string, port int64) {
		t.format("listener"+strconv.Itoa(n), "name=%s,%s,port=%d", kind, bind, port)
		n++
	}
	var binds []string
	for _, addr := range c.Bind.Get() {
		binds = append(binds, "bind="+addr)
	}
	bind := strings.Join(binds, ",")
	if c.Port.Get() != 0 {
		listener("tcp", bind, c.Port.Get())
	}
	if path := c.UnixSocket.Get(); path != "" {
		t.format("listener"+strconv.Itoa(n), "name=unix,bind=%s", path)
		n++
	}
	if c.TLSPort.Get() != 0 {
		listener("tls", bind, c.TLSPort.Get())
	}
	t.line("skein_version", ob.o.Build)
	t.line("skein_go_version", runtime.Version())
	t.line("skein_cores", runtime.GOMAXPROCS(0))
}

// clientMemory looks at the buffers of connections.
type clientMemory struct {
	normal, replicas int // connections
	in, out          int // largest buffers
	normalBytes      int64
	replicaBytes     int64
}

func (ob *Observer) clientMemory() (m clientMemory) {
	for _, s := range ob.o.Engine.Clients() {
		_, in := s.Conn().QueryBuffer()
		m.in, m.out = max(m.in, in), max(m.out, s.Conn().OutputPending())
		if s.IsReplica() {
			m.replicas++
			m.replicaBytes += s.MemUsed()
		} else {
			m.normal++
			m.normalBytes += s.MemUsed()
		}
	}
	return m
}

func (ob *Observer) clients(t *text, _ bool) {
	m := ob.clientMemory()
	links := 0
	if ob.o.Links != nil {
		links = ob.o.Links()
	}
	blocked := ob.o.Engine.Stats.Blocked()
	t.line("connected_clients", m.normal)
	t.line("cluster_connections", links)
	t.line("maxclients", ob.o.Config.MaxClients.Get())
	t.line("client_recent_max_input_buffer", m.in)
	t.line("client_recent_max_output_buffer", m.out)
	t.line("blocked_clients", blocked)
	tracking, _, _, _ := ob.o.Engine.TrackingCounts()
	t.line("tracking_clients", tracking)
	t.line("clients_in_timeout_table", 0)
	t.line("total_blocking_keys", ob.o.Engine.BlockingKeys())
	t.line("total_blocking_keys_on_nokey", 0)
}

func (ob *Observer) memory(t *text, _ bool) {
	c, u := ob.o.Config, ob.usage()
	t.size("used_memory", u.used)
	t.size("used_memory_rss", u.rss)
	t.size("used_memory_peak", u.peak)
	t.format("used_memory_peak_perc", "%.2f%%", percent(u.used, u.peak))
	t.line("used_memory_overhead", u.overhead)
	t.line("used_memory_startup", u.startup)
	t.line("used_memory_dataset", u.dataset)
	t.format("used_memory_dataset_perc", "%.2f%%", percent(u.dataset, u.used-u.startup))
	t.line("allocator_allocated", u.used)
	t.line("allocator_active", u.held)
	t.line("allocator_resident", u.held+u.retained)
	t.size("total_system_memory", systemMemory())
	t.line("used_memory_lua", 0)
	t.line("used_memory_vm_eval", 0)
	t.line("used_memory_lua_human", human(0))
	t.line("used_memory_scripts_eval", 0)
	t.line("number_of_cached_scripts", 0)
	var libraries, functions int
	var sources int64
	if ob.o.Functions != nil {
		libraries, functions, sources = ob.o.Functions()
	}
	t.line("number_of_functions", functions)
	t.line("number_of_libraries", libraries)
	t.line("used_memory_vm_functions", 0)
	t.size("used_memory_vm_total", 0)
	t.line("used_memory_functions", sources)
	t.size("used_memory_scripts", sources)
	t.size("maxmemory", c.MaxMemory.Get())
	t.line("maxmemory_policy", c.MaxMemoryPolicy.Get())
	t.format("allocator_frag_ratio", "%.2f", ratio(u.held, u.used))
	t.line("allocator_frag_bytes", u.held-u.used)
	t.format("allocator_rss_ratio", "%.2f", ratio(u.held+u.retained, u.held))
	t.line("allocator_rss_bytes", u.retained)
	t.format("rss_overhead_ratio", "%.2f", ratio(u.rss, u.held+u.retained))
	t.line("rss_overhead_bytes", u.rss-u.held-u.retained)
	t.format("mem_fragmentation_ratio", "%.2f", ratio(u.rss, u.used))
	t.line("mem_fragmentation_bytes", u.rss-u.used)
	t.line("mem_not_counted_for_evict", 0)
	t.line("mem_replication_backlog", u.buffers.Backlog)
	t.line("mem_total_replication_buffers", u.buffers.Backlog+u.buffers.Replicas)
	t.line("mem_clients_slaves", u.clients.replicaBytes)
	t.line("mem_clients_normal", u.clients.normalBytes)
	t.line("mem_cluster_links", u.buffers.Links)
	t.line("mem_aof_buffer", u.buffers.AOF)
	t.line("mem_allocator", "skein-"+ob.o.Build)
	t.line("active_defrag_running", 0)
	t.line("lazyfree_pending_objects", ob.o.Engine.Store.LazyfreePending())
	t.line("lazyfreed_objects", ob.o.Engine.Store.Lazyfreed())
	t.line("mem_go_heap", u.goHeap)
	t.line("mem_go_total", u.goTotal)
}

func percent(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

func ratio(a, b int64) float64 {
	if b <= 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// What INFO shows of disks when nothing is kept on them.
const (
	noRDB = "loading:0\r\nasync_loading:0\r\ncurrent_cow_peak:0\r\ncurrent_cow_size:0\r\ncurrent_cow_size_age:0\r\ncurrent_fork_perc:0.00\r\n" +
		"current_save_keys_processed:0\r\ncurrent_save_keys_total:0\r\nrdb_changes_since_last_save:%d\r\nrdb_bgsave_in_progress:0\r\n" +
		"rdb_last_save_time:%d\r\nrdb_last_bgsave_status:ok\r\nrdb_last_bgsave_time_sec:-1\r\nrdb_current_bgsave_time_sec:-1\r\nrdb_saves:0\r\n" +
		"rdb_last_cow_size:0\r\nrdb_last_load_keys_expired:0\r\nrdb_last_load_keys_loaded:0\r\n"
	noAOF = "aof_enabled:0\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\naof_last_rewrite_time_sec:-1\r\n" +
		"aof_current_rewrite_time_sec:-1\r\naof_last_bgrewrite_status:ok\r\naof_rewrites:0\r\naof_rewrites_consecutive_failures:0\r\n" +
		"aof_last_write_status:ok\r\naof_last_cow_size:0\r\nmodule_fork_in_progress:0\r\nmodule_fork_last_cow_size:0\r\n"
	noReplication = "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\nmaster_replid:%s\r\n" +
		"master_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:0\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\n" +
		"repl_backlog_size:%d\r\nrepl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n"
)

func (ob *Observer) persistence(t *text, _ bool) {
	part := ""
	if ob.o.Persistence != nil {
		part = ob.o.Persistence()
	}
	if !strings.Contains(part, "rdb_changes_since_last_save:") {
		t.b = fmt.Appendf(t.b, noRDB, ob.o.Engine.Dirty(), ob.start.Unix())
	}
	t.b = append(t.b, part...)
	if !strings.Contains(part, "aof_enabled:") {
		t.b = append(t.b, noAOF...)
	}
}

func (ob *Observer) stats(t *text, _ bool) {
	st, n, r, rate := ob.o.Engine.Stats, ob.net(), ob.repl(), ob.sample.rates()
	channels, patterns, shard := ob.o.Engine.PubSubCounts()
	t.line("total_connections_received", n.Accepted)
	t.line("total_commands_processed", st.Commands.Load())
	t.line("instantaneous_ops_per_sec", int64(rate.commands+0.5))
	t.line("total_net_input_bytes", n.BytesIn+r.BytesIn)
	t.line("total_net_output_bytes", n.BytesOut+r.BytesOut)
	t.line("total_net_repl_input_bytes", r.BytesIn)
	t.line("total_net_repl_output_bytes", r.BytesOut)
	t.format("instantaneous_input_kbps", "%.2f", (rate.netIn+rate.replIn)/1024)
	t.format("instantaneous_output_kbps", "%.2f", (rate.netOut+rate.replOut)/1024)
	t.format("instantaneous_input_repl_kbps", "%.2f", rate.replIn/1024)
	t.format("instantaneous_output_repl_kbps", "%.2f", rate.replOut/1024)
	t.line("rejected_connections", n.Rejected)
	t.line("sync_full", r.Full)
	t.line("sync_partial_ok", r.PartialOK)
	t.line("sync_partial_err", r.PartialErr)
	t.line("expired_keys", st.Expired.Load())
	t.line("expired_subkeys", st.ExpiredFields.Load())
	t.format("expired_stale_perc", "%.2f", st.StalePercent())
	t.line("expired_time_cap_reached_count", st.ExpireCapped.Load())
	t.line("expire_cycle_cpu_milliseconds", st.ExpireNanos.Load()/1e6)
	t.line("evicted_keys", st.Evicted.Load())
	t.line("evicted_clients", st.EvictedClients.Load())
	total, current := st.OverLimit()
	t.line("total_eviction_exceeded_time", total.Milliseconds())
	t.line("current_eviction_exceeded_time", current.Milliseconds())
	t.line("keyspace_hits", st.Hits.Load())
	t.line("keyspace_misses", st.Misses.Load())
	t.line("pubsub_channels", channels)
	t.line("pubsub_patterns", patterns)
	t.line("pubsubshard_channels", shard)
	t.line("latest_fork_usec", 0)
	t.line("total_forks", 0)
	t.line("migrate_cached_sockets", 0)
	t.line("slave_expires_tracked_keys", 0)
	t.line("active_defrag_hits", 0)
	t.line("active_defrag_misses", 0)
	t.line("active_defrag_key_hits", 0)
	t.line("active_defrag_key_misses", 0)
	t.line("total_active_defrag_time", 0)
	t.line("current_active_defrag_time", 0)
	_, keys, items, prefixes := ob.o.Engine.TrackingCounts()
	t.line("tracking_total_keys", keys)
	t.line("tracking_total_items", items)
	t.line("tracking_total_prefixes", prefixes)
	t.line("unexpected_error_replies", 0)
	t.line("total_error_replies", st.ErrorReplies.Load())
	t.line("dump_payload_sanitizations", 0)
	t.line("total_reads_processed", n.Reads)
	t.line("total_writes_processed", n.Sends)
	t.line("io_uring_rings", n.Rings)
	t.line("io_uring_calls", n.RingCalls)
	t.line("io_uring_reads_and_writes", n.RingMoves)
	t.line("io_threaded_reads_processed", 0)
	t.line("io_threaded_writes_processed", 0)
	t.line("reply_buffer_shrinks", 0)
	t.line("reply_buffer_expands", 0)
	t.line("eventloop_cycles", 0)
	t.line("eventloop_duration_sum", 0)
	t.line("eventloop_duration_cmd_sum", 0)
	t.line("instantaneous_eventloop_cycles_per_sec", 0)
	t.line("instantaneous_eventloop_duration_usec", 0)
	t.line("acl_access_denied_auth", 0)
	t.line("acl_access_denied_cmd", 0)
	t.line("acl_access_denied_key", 0)
	t.line("acl_access_denied_channel", 0)
}

func (ob *Observer) replication(t *text, _ bool) {
	if ob.o.Replication != nil {
		t.b = append(t.b, ob.o.Replication()...)
		return
	}
	t.b = fmt.Appendf(t.b, noReplication, ob.o.RunID, ob.o.Config.ReplBacklogSize.Get())
}

func (ob *Observer) cpu(t *text, _ bool) {
	system, user := cpuTimes()
	t.format("used_cpu_sys", "%.6f", system.Seconds())
	t.format("used_cpu_user", "%.6f", user.Seconds())
	t.line("used_cpu_sys_children", "0.000000")
	t.line("used_cpu_user_children", "0.000000")
	t.format("used_cpu_sys_main_thread", "%.6f", system.Seconds())
	t.format("used_cpu_user_main_thread", "%.6f", user.Seconds())
}

func (ob *Observer) commandStats(t *text, _ bool) {
	st := ob.o.Engine.Stats
	for _, s := range ob.o.Engine.Table.All() {
		p := st.Command(s)
		calls, rejected, failed := p.Calls.Load(), p.Rejected.Load(), p.Failed.Load()
		if calls == 0 && rejected == 0 && failed == 0 {
			continue
		}
		micros := p.Nanos.Load() / 1000
		t.format("cmdstat_"+s.Full, "calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d",
			calls, micros, ratio(micros, calls), rejected, failed)
	}
}

func (ob *Observer) errorStats(t *text, _ bool) {
	ob.o.Engine.Stats.Errors(func(kind string, n int64) { t.format("errorstat_"+kind, "count=%d", n) })
}

func (ob *Observer) latencyStats(t *text, _ bool) {
	percentiles := ob.o.Config.LatencyTrackingInfoPercentiles.Get()
	if !ob.o.Config.LatencyTracking.Get() || len(percentiles) == 0 {
		return
	}
	for _, s := range ob.o.Engine.Table.All() {
		h := histogramOf(ob.o.Engine.Stats.Command(s))
		if h.calls == 0 {
			continue
		}
		var parts []string
		for _, p := range percentiles {
			parts = append(parts, fmt.Sprintf("p%s=%.3f", strconv.FormatFloat(p, 'g', -1, 64), float64(h.percentile(p))/1000))
		}
		t.line("latency_percentiles_usec_"+s.Full, strings.Join(parts, ","))
	}
}

func (ob *Observer) cluster(t *text, _ bool) {
	t.flag("cluster_enabled", ob.o.Config.ClusterEnabled.Get())
	if ob.o.Slots != nil {
		t.b = append(t.b, ob.o.Slots()...)
	}
}

func (ob *Observer) keyspace(t *text, world bool) {
	st := ob.o.Engine.Store
	for i := range st.DBs() {
		db := st.DB(i)
		if db.Empty() {
			continue
		}
		if keys, volatile := db.Visible(world); keys > 0 {
			t.format("db"+strconv.Itoa(i), "keys=%d,expires=%d,avg_ttl=%d", keys, volatile, db.AverageTTL(ob.o.Engine.Now(), rand.Uint64(), world))
		}
	}
}

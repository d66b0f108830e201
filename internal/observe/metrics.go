package observe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// metric says under which name a field of INFO is exported. The names are those
// that redis_exporter made usual, so that existing dashboards and alerts fit.
type metric struct {
	field, name string
	counter     bool
	help        string
}

var exported = []metric{
	{"uptime_in_seconds", "uptime_in_seconds", false, "Seconds since the start."},
	{"skein_cores", "skein_cores", false, "Processors that commands may use."},
	{"connected_clients", "connected_clients", false, "Connections of clients, without replicas."},
	{"cluster_connections", "cluster_connections", false, "Connections of the cluster bus."},
	{"maxclients", "max_clients", false, "Most connections accepted."},
	{"client_recent_max_input_buffer", "client_recent_max_input_buffer_bytes", false, "Largest input buffer."},
	{"client_recent_max_output_buffer", "client_recent_max_output_buffer_bytes", false, "Largest output buffer."},
	{"blocked_clients", "blocked_clients", false, "Clients in blocking commands."},
	{"tracking_clients", "tracking_clients", false, "Clients with client-side caching."},
	{"used_memory", "memory_used_bytes", false, "Memory of the data with its index."},
	{"used_memory_rss", "memory_used_rss_bytes", false, "Resident memory of the process."},
	{"used_memory_peak", "memory_used_peak_bytes", false, "Most memory_used_bytes so far."},
	{"used_memory_overhead", "memory_used_overhead_bytes", false, "Part of the memory used that holds no data."},
	{"used_memory_startup", "memory_used_startup_bytes", false, "Memory used right after the start."},
	{"used_memory_dataset", "memory_used_dataset_bytes", false, "Part of the memory used that holds data."},
	{"maxmemory", "memory_max_bytes", false, "Limit of the memory used, 0: none."},
	{"total_system_memory", "total_system_memory_bytes", false, "Memory of the machine."},
	{"allocator_active", "allocator_active_bytes", false, "Memory in pages that hold data."},
	{"allocator_allocated", "allocator_allocated_bytes", false, "Memory handed out."},
	{"allocator_resident", "allocator_resident_bytes", false, "Memory in pages not given back."},
	{"mem_fragmentation_ratio", "mem_fragmentation_ratio", false, "Resident memory by memory used."},
	{"mem_replication_backlog", "replication_backlog_bytes", false, "Memory of the replication backlog."},
	{"mem_clients_normal", "mem_clients_normal", false, "Memory of client buffers."},
	{"mem_clients_slaves", "mem_clients_slaves", false, "Memory of replica buffers."},
	{"mem_go_heap", "skein_go_heap_bytes", false, "Live memory of Go's heap."},
	{"mem_go_total", "skein_go_total_bytes", false, "Memory that Go's runtime has from the system."},
	{"lazyfree_pending_objects", "lazyfree_pending_objects", false, "Objects waiting to be freed in the background."},
	{"loading", "loading_dump_file", false, "1 while a data set is loaded."},
	{"rdb_changes_since_last_save", "rdb_changes_since_last_save", false, "Changes since the last save."},
	{"rdb_bgsave_in_progress", "rdb_bgsave_in_progress", false, "1 during a background save."},
	{"rdb_last_save_time", "rdb_last_save_timestamp_seconds", false, "When the data set was last saved."},
	{"rdb_last_bgsave_status", "rdb_last_bgsave_status", false, "1 if the last background save succeeded."},
	{"rdb_last_bgsave_time_sec", "rdb_last_bgsave_duration_sec", false, "Duration of the last background save."},
	{"aof_enabled", "aof_enabled", false, "1 if there is an append only file."},
	{"aof_rewrite_in_progress", "aof_rewrite_in_progress", false, "1 during a rewrite of the append only file."},
	{"aof_last_bgrewrite_status", "aof_last_bgrewrite_status", false, "1 if the last rewrite succeeded."},
	{"aof_last_write_status", "aof_last_write_status", false, "1 if the last write succeeded."},
	{"aof_current_size", "aof_current_size_bytes", false, "Size of the append only file."},
	{"aof_base_size", "aof_base_size_bytes", false, "Size of the append only file after the last rewrite."},
	{"total_connections_received", "connections_received_total", true, "Connections accepted."},
	{"total_commands_processed", "commands_processed_total", true, "Commands run."},
	{"instantaneous_ops_per_sec", "instantaneous_ops_per_sec", false, "Commands per second of late."},
	{"total_net_input_bytes", "net_input_bytes_total", true, "Bytes received."},
	{"total_net_output_bytes", "net_output_bytes_total", true, "Bytes sent."},
	{"total_net_repl_input_bytes", "net_repl_input_bytes_total", true, "Bytes received from the primary."},
	{"total_net_repl_output_bytes", "net_repl_output_bytes_total", true, "Bytes sent to replicas."},
	{"rejected_connections", "rejected_connections_total", true, "Connections turned away."},
	{"sync_full", "replica_resyncs_full", true, "Full synchronisations given to replicas."},
	{"sync_partial_ok", "replica_partial_resync_accepted", true, "Partial synchronisations given to replicas."},
	{"sync_partial_err", "replica_partial_resync_denied", true, "Partial synchronisations denied."},
	{"expired_keys", "expired_keys_total", true, "Keys whose time came."},
	{"evicted_keys", "evicted_keys_total", true, "Keys evicted for want of memory."},
	{"keyspace_hits", "keyspace_hits_total", true, "Keys looked up and found."},
	{"keyspace_misses", "keyspace_misses_total", true, "Keys looked up in vain."},
	{"pubsub_channels", "pubsub_channels", false, "Channels with subscribers."},
	{"pubsub_patterns", "pubsub_patterns", false, "Patterns with subscribers."},
	{"pubsubshard_channels", "pubsubshard_channels", false, "Shard channels with subscribers."},
	{"total_error_replies", "total_error_replies", true, "Error replies."},
	{"total_reads_processed", "total_reads_processed", true, "Reads from sockets."},
	{"total_writes_processed", "total_writes_processed", true, "Writes to sockets."},
	{"connected_slaves", "connected_slaves", false, "Replicas attached."},
	{"master_repl_offset", "master_repl_offset", false, "Replication offset."},
	{"slave_repl_offset", "slave_repl_offset", false, "Offset that this replica has applied."},
	{"master_last_io_seconds_ago", "master_last_io_seconds_ago", false, "Seconds since the primary was heard."},
	{"master_sync_in_progress", "master_sync_in_progress", false, "1 during a full synchronisation with the primary."},
	{"master_link_status", "master_link_up", false, "1 if the link to the primary is up."},
	{"repl_backlog_active", "repl_backlog_is_active", false, "1 if there is a backlog."},
	{"repl_backlog_size", "repl_backlog_size_bytes", false, "Size of the backlog."},
	{"repl_backlog_first_byte_offset", "repl_backlog_first_byte_offset", false, "Oldest offset in the backlog."},
	{"repl_backlog_histlen", "repl_backlog_history_bytes", false, "Bytes in the backlog."},
	{"used_cpu_sys", "cpu_sys_seconds_total", true, "Processor time in the kernel."},
	{"used_cpu_user", "cpu_user_seconds_total", true, "Processor time of the process itself."},
	{"cluster_enabled", "cluster_enabled", false, "1 in cluster mode."},
	{"cluster_state", "cluster_state", false, "1 if the cluster is ok."},
	{"cluster_slots_assigned", "cluster_slots_assigned", false, "Slots with an owner."},
	{"cluster_slots_ok", "cluster_slots_ok", false, "Slots with a healthy owner."},
	{"cluster_slots_pfail", "cluster_slots_pfail", false, "Slots whose owner may have failed."},
	{"cluster_slots_fail", "cluster_slots_fail", false, "Slots whose owner has failed."},
	{"cluster_known_nodes", "cluster_known_nodes", false, "Nodes known."},
	{"cluster_size", "cluster_size", false, "Primaries with slots."},
	{"cluster_current_epoch", "cluster_current_epoch", false, "The cluster's epoch."},
	{"cluster_my_epoch", "cluster_my_epoch", false, "The epoch of this node's slots."},
	{"cluster_stats_messages_sent", "cluster_messages_sent_total", true, "Messages sent on the bus."},
	{"cluster_stats_messages_received", "cluster_messages_received_total", true, "Messages received on the bus."},
	{"slot_migration_active_exports", "slot_migration_active_exports", false, "Slot migrations that send."},
	{"slot_migration_active_imports", "slot_migration_active_imports", false, "Slot migrations that receive."},
	{"slot_migration_succeeded", "slot_migration_succeeded_total", true, "Slot migrations that succeeded."},
	{"slot_migration_failed", "slot_migration_failed_total", true, "Slot migrations that failed."},
	{"slot_migration_cancelled", "slot_migration_cancelled_total", true, "Slot migrations that were cancelled."},
	{"slot_migration_keys_sent", "slot_migration_keys_sent_total", true, "Keys sent by slot migrations."},
	{"slot_migration_bytes_sent", "slot_migration_bytes_sent_total", true, "Bytes sent by slot migrations."},
	{"slot_migration_lag_bytes", "slot_migration_lag_bytes", false, "Bytes that targets of slot migrations have not run yet."},
	{"slot_migration_throttle_pulses", "slot_migration_throttle_pulses_total", true, "Times that writers of moving slots were slowed down."},
	{"slot_migration_throttle_usec", "slot_migration_throttle_microseconds_total", true, "Time for which they were."},
	{"slot_migration_last_pause_usec", "slot_migration_last_pause_microseconds", false, "Pause of writes at the last hand-over of slots."},
	{"slot_migration_max_pause_usec", "slot_migration_max_pause_microseconds", false, "Longest such pause."},
}

// labelled are the metrics made from lines with several values: the samples of
// one name come together, as the text format wants.
var labelled = []metric{
	{"", "db_keys", false, "Keys of a database."},
	{"", "db_keys_expiring", false, "Keys of a database that will expire."},
	{"", "commands_total", true, "Calls of a command."},
	{"", "commands_duration_seconds_total", true, "Time spent in a command."},
	{"", "commands_rejected_calls_total", true, "Calls of a command refused before it ran."},
	{"", "commands_failed_calls_total", true, "Calls of a command that failed."},
	{"", "errors_total", true, "Error replies by their code."},
	{"", "connected_slave_offset_bytes", false, "Offset that a replica has acknowledged."},
	{"", "connected_slave_lag_seconds", false, "Seconds since a replica's last acknowledgement."},
}

// Metrics returns everything that INFO tells, in Prometheus's text format.
func (ob *Observer) Metrics() []byte {
	info := ob.Info([]string{"everything"}, false)
	if ob.o.ClusterInfo != nil {
		info += ob.o.ClusterInfo()
	}
	fields := map[string]string{}
	series := map[string][]string{} // metric -> "{labels} value"
	for _, line := range strings.Split(info, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		fields[name] = value
		collect(series, name, value)
	}
	var b []byte
	head := func(m *metric) {
		kind := "gauge"
		if m.counter {
			kind = "counter"
		}
		b = fmt.Appendf(b, "# HELP redis_%s %s\n# TYPE redis_%s %s\n", m.name, m.help, m.name, kind)
	}
	head(&metric{name: "up", help: "1: the node answers."})
	b = append(b, "redis_up 1\n"...)
	head(&metric{name: "instance_info", help: "What the node is."})
	b = append(b, "redis_instance_info{"...)
	for i, l := range []string{"role", "redis_version", "redis_build_id", "redis_mode", "os", "maxmemory_policy", "tcp_port", "run_id", "process_id",
		"master_replid", "skein_version"} {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%s=%s", l, label(fields[l]))
	}
	b = append(b, "} 1\n"...)
	for i := range exported {
		m := &exported[i]
		value, ok := number(fields[m.field])
		if !ok {
			continue
		}
		head(m)
		b = fmt.Appendf(b, "redis_%s %s\n", m.name, value)
	}
	head(&metric{name: "slowlog_length", help: "Entries of the slow log."})
	b = fmt.Appendf(b, "redis_slowlog_length %d\n", ob.Slow.Len())
	for i := range labelled {
		m := &labelled[i]
		if len(series[m.name]) == 0 {
			continue
		}
		head(m)
		for _, s := range series[m.name] {
			b = fmt.Appendf(b, "redis_%s%s\n", m.name, s)
		}
	}
	return b
}

// collect takes the lines of INFO that hold several values.
func collect(series map[string][]string, name, value string) {
	part := map[string]string{}
	for _, kv := range strings.Split(value, ",") {
		if k, v, ok := strings.Cut(kv, "="); ok {
			part[k] = v
		}
	}
	add := func(metric, labels, value string) {
		if v, ok := number(value); ok {
			series[metric] = append(series[metric], "{"+labels+"} "+v)
		}
	}
	switch {
	case strings.HasPrefix(name, "cmdstat_"):
		cmd := "cmd=" + label(strings.TrimPrefix(name, "cmdstat_"))
		add("commands_total", cmd, part["calls"])
		if us, err := strconv.ParseFloat(part["usec"], 64); err == nil {
			add("commands_duration_seconds_total", cmd, strconv.FormatFloat(us/1e6, 'f', -1, 64))
		}
		add("commands_rejected_calls_total", cmd, part["rejected_calls"])
		add("commands_failed_calls_total", cmd, part["failed_calls"])
	case strings.HasPrefix(name, "errorstat_"):
		add("errors_total", "err="+label(strings.TrimPrefix(name, "errorstat_")), part["count"])
	case strings.HasPrefix(name, "db") && part["keys"] != "":
		add("db_keys", "db="+label(name), part["keys"])
		add("db_keys_expiring", "db="+label(name), part["expires"])
	case strings.HasPrefix(name, "slave") && part["ip"] != "":
		who := fmt.Sprintf("slave_ip=%s,slave_port=%s,slave_state=%s", label(part["ip"]), label(part["port"]), label(part["state"]))
		add("connected_slave_offset_bytes", who, part["offset"])
		add("connected_slave_lag_seconds", who, part["lag"])
	}
}

// number turns a value of INFO into one of a metric; words of state are 1 and 0.
func number(value string) (string, bool) {
	if slices.Contains([]string{"ok", "up"}, value) {
		return "1", true
	}
	if slices.Contains([]string{"err", "fail", "down"}, value) {
		return "0", true
	}
	if _, err := strconv.ParseFloat(value, 64); err != nil {
		return "", false
	}
	return value, true
}

// label quotes a value of a label.
func label(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

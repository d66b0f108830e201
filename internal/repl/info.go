package repl

import (
	"fmt"
	"strings"
	"time"
)

// Info is the section "replication" of INFO, without its heading.
func (r *Repl) Info() string {
	var b strings.Builder
	s := r.o.Settings()
	now := time.Now()
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	truth := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	l := r.log
	if f := r.follower.Load(); f == nil {
		line("role:master")
	} else {
		st := r.Status()
		line("role:slave")
		line("master_host:%s", f.host)
		line("master_port:%d", f.port)
		link := "down"
		if st.LinkUp {
			link = "up"
		}
		line("master_link_status:%s", link)
		io := int64(-1)
		if st.SinceIO >= 0 && st.LinkUp {
			io = int64(st.SinceIO / time.Second)
		}
		line("master_last_io_seconds_ago:%d", io)
		line("master_sync_in_progress:%d", truth(st.Sync))
		line("slave_read_repl_offset:%d", st.Offset)
		line("slave_repl_offset:%d", st.Offset)
		if st.Sync {
			left, perc := int64(0), 0.0
			if st.SyncTotal > 0 {
				left, perc = st.SyncTotal-st.SyncRead, float64(st.SyncRead)/float64(st.SyncTotal)*100
			}
			line("master_sync_total_bytes:%d", st.SyncTotal)
			line("master_sync_read_bytes:%d", st.SyncRead)
			line("master_sync_left_bytes:%d", left)
			line("master_sync_perc:%.2f", perc)
			line("master_sync_last_io_seconds_ago:%d", int64(now.Sub(time.Unix(0, f.syncIO.Load()))/time.Second))
		}
		if !st.LinkUp {
			down := int64(-1)
			if !st.NeverUp {
				down = int64(st.DownFor / time.Second)
			}
			line("master_link_down_since_seconds:%d", down)
		}
		line("slave_priority:%d", s.Priority)
		line("slave_read_only:%d", truth(s.ReadOnly))
		line("replica_announced:%d", truth(s.Announced))
	}

	r.mu.Lock()
	line("connected_slaves:%d", len(r.peers))
	if s.MinReplicas > 0 && s.MinReplicasMaxLag > 0 {
		line("min_slaves_good_slaves:%d", r.goodReplica)
	}
	for i, p := range r.peers {
		ip, port := p.addrLocked()
		lag := int64(0)
		if p.state == peerOnline {
			lag = max(int64(now.Sub(time.Unix(0, p.ackAt.Load()))/time.Second), 0)
		}
		line("slave%d:ip=%s,port=%d,state=%s,offset=%d,lag=%d", i, ip, port, p.state, p.ackOff.Load(), lag)
	}
	line("master_failover_state:%s", r.failover.phase)
	r.mu.Unlock()
	line("repl_sync_buffer_bytes:%d", r.snapshotHeld())
	line("repl_write_limit_bytes_per_sec:%d", r.pace.limit())
	line("repl_write_limit_waits:%d", r.pace.waits.Load())
	line("repl_write_limit_wait_msec:%d", r.pace.waited.Load()/1e6)

	l.mu.Lock()
	defer l.mu.Unlock()
	line("master_replid:%s", l.id)
	line("master_replid2:%s", l.id2)
	line("master_repl_offset:%d", l.off)
	line("second_repl_offset:%d", l.second)
	active, first, length := l.back.Active(), int64(0), int64(0)
	if active {
		first, length = l.back.From()+1, l.back.To()-l.back.From()
	}
	line("repl_backlog_active:%d", truth(active))
	line("repl_backlog_size:%d", s.BacklogSize)
	line("repl_backlog_first_byte_offset:%d", first)
	line("repl_backlog_histlen:%d", length)
	return b.String()
}

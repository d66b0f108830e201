#!/bin/bash
# CPU that the server spends per operation, skein-server beside redis-server:
# server on one core, redis-benchmark on another, both servers with the same
# keys, rounds interleaved so that a busy moment of the machine hits both, the
# median of the rounds. The time is utime + stime of /proc/PID/stat, so that it
# does not matter how fast the client is. Linux only.
set -eu
usage() {
	cat <<-END
	usage: scripts/bench-peer.sh [options]
	  --keys N        keys in each server (5000000)
	  --size N        bytes of a value (64)
	  --clients N     connections (50)
	  --rounds N      rounds, of which the median is taken (5)
	  --pipelines L   pipeline lengths ("1 16 64")
	  --tests L       commands ("get set")
	  --requests N    requests of one measurement without pipelining (400000); with
	                  pipelining 5 times as many
	  --skein FILE    binary (bin/skein)
	  --peer FILE     binary (redis-server)
	  --server-core N, --client-core N   (0, 1)
	  --quick         200000 keys, 3 rounds, 60000 requests
	END
}
keys=5000000 size=64 clients=50 rounds=5 pipelines="1 16 64" tests="get set" requests=400000
cd "$(dirname "$0")/.."
skein=bin/skein peer=redis-server score=0 ccore=1
while [ $# -gt 0 ]; do
	case $1 in
	--quick) keys=200000 rounds=3 requests=60000; shift; continue ;;
	-h | --help) usage; exit 0 ;;
	--keys | --size | --clients | --rounds | --pipelines | --tests | --requests | --skein | --peer | --server-core | --client-core) ;;
	*) usage >&2; exit 2 ;;
	esac
	[ $# -ge 2 ] || { usage >&2; exit 2; }
	case $1 in
	--server-core) score=$2 ;;
	--client-core) ccore=$2 ;;
	*) declare "${1#--}=$2" ;;
	esac
	shift 2
done
[ "$(uname)" = Linux ] || { echo "bench-peer: needs /proc and taskset of Linux"; exit 1; }
for p in "$skein" "$peer" redis-cli redis-benchmark taskset; do
	command -v "$p" >/dev/null || { echo "bench-peer: $p is missing"; exit 1; }
done

dir=$(mktemp -d) pids=
cleanup() {
	for p in $pids; do kill -9 "$p" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

freeport() { # a port on which nobody listens
	local p
	while p=$((11000 + RANDOM % 10000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
	echo $p
}
start() { # start PORT PROGRAM...: starts a server on its core, sets pid
	local port=$1
	shift
	mkdir "$dir/$port"
	taskset -c "$score" "$@" --port "$port" --bind 127.0.0.1 --dir "$dir/$port" --save "" --appendonly no >"$dir/$port/log" 2>&1 &
	pid=$!
	pids="$pids $pid"
	for _ in $(seq 300); do
		[ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ] && return
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	echo "bench-peer: $1 does not start:"; tail -5 "$dir/$port/log"; exit 1
}
fill() { # fill PORT: the keys that redis-benchmark -r asks for
	awk -v n="$keys" -v d="$size" 'BEGIN {
		v = sprintf("%" d "s", ""); gsub(" ", "x", v)
		for (i = 0; i < n; i++) printf "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n", i, d, v
	}' | taskset -c "$ccore" redis-cli -p "$1" --pipe >/dev/null
	local have
	have=$(redis-cli -p "$1" dbsize)
	[ "$have" = "$keys" ] || { echo "bench-peer: $have keys instead of $keys"; exit 1; }
}
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
measure() { # measure PID PORT COMMAND PIPELINE: microseconds of CPU per request
	local n=$requests before after
	[ "$4" -gt 1 ] && n=$((requests * 5))
	before=$(ticks "$1")
	taskset -c "$ccore" redis-benchmark -p "$2" -c "$clients" -n "$n" -r "$keys" -d "$size" -P "$4" -t "$3" -q >"$dir/bench" 2>&1 ||
		{ cat "$dir/bench"; exit 1; }
	after=$(ticks "$1")
	awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v n="$n" 'BEGIN { printf "%.4f\n", t / hz / n * 1e6 }'
}

sport=$(freeport) && start "$sport" "$skein" server && spid=$pid
pport=$(freeport) && start "$pport" "$peer" && ppid=$pid
echo "skein:  $("$skein" version)"
echo "peer:   $("$peer" --version)"
echo "machine: $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), Linux $(uname -r)"
echo "$keys keys, $size-byte values, $clients connections, median of $rounds rounds, server on core $score, client on core $ccore"
fill "$sport"
fill "$pport"
for port in "$sport" "$pport"; do
	redis-cli -p "$port" info memory | tr -d '\r' | awk -F: -v n="$keys" '/^used_memory:|^used_memory_rss:/ { printf "  %s %.1f bytes/key", $1, $2 / n } END { print "" }'
done

for round in $(seq "$rounds"); do
	for p in $pipelines; do
		for c in $tests; do
			measure "$spid" "$sport" "$c" "$p" >>"$dir/skein.$c.$p"
			measure "$ppid" "$pport" "$c" "$p" >>"$dir/peer.$c.$p"
		done
	done
	echo "round $round of $rounds done" >&2
done

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
printf '%-8s %9s  %14s  %14s  %s\n' command pipeline "skein us/op" "peer us/op" ratio
for c in $tests; do
	for p in $pipelines; do
		s=$(median "$dir/skein.$c.$p") q=$(median "$dir/peer.$c.$p")
		awk -v c="$c" -v p="$p" -v s="$s" -v q="$q" 'BEGIN { printf "%-8s %9d  %14.3f  %14.3f  %.2f\n", toupper(c), p, s, q, (q > 0) ? s / q : 0 }'
	done
done

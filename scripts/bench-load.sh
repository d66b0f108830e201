#!/bin/bash
# Time to load a data set at start, skein-server beside redis-server: from the
# start of the process to the first PING that is not answered with -LOADING, both
# servers with the same files, those that skein wrote and those that redis-server
# wrote, rounds interleaved, the median of the rounds. Linux only.
set -eu
usage() {
	cat <<-END
	usage: scripts/bench-load.sh [options]
	  --keys N        keys (5000000)
	  --size N        bytes of a value (64)
	  --data KIND     strings, or mixed: small and big hashes, sets, sorted sets,
	                  lists and streams too, a fifth as many keys (strings)
	  --form FORM     rdb, or aof: an append-only file of all the commands (rdb)
	  --rounds N      rounds, of which the median is taken (5)
	  --skein FILE    binary (bin/skein)
	  --peer FILE     binary (redis-server)
	  --other FILE    a third binary, an older skein, measured too
	  --quick         300000 keys, 3 rounds
	END
}
keys=5000000 size=64 rounds=5 data=strings form=rdb
cd "$(dirname "$0")/.."
skein=bin/skein peer=redis-server other=
while [ $# -gt 0 ]; do
	case $1 in
	--quick) keys=300000 rounds=3; shift; continue ;;
	-h | --help) usage; exit 0 ;;
	--keys | --size | --data | --form | --rounds | --skein | --peer | --other) ;;
	*) usage >&2; exit 2 ;;
	esac
	[ $# -ge 2 ] || { usage >&2; exit 2; }
	declare "${1#--}=$2"
	shift 2
done
[ "$(uname)" = Linux ] || { echo "bench-load: needs /proc of Linux"; exit 1; }
for p in "$skein" "$peer" redis-cli; do
	command -v "$p" >/dev/null || { echo "bench-load: $p is missing"; exit 1; }
done

case $form in
rdb) args="--appendonly no" ;;
aof) args="--appendonly yes --auto-aof-rewrite-percentage 0" ;;
*) usage >&2; exit 2 ;;
esac
dir=$(mktemp -d) pid=
cleanup() {
	[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
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
# start DATADIR PROGRAM...: starts a server, waits until it answers PING, sets pid,
# port and took, in seconds.
start() {
	local data=$1 began line
	shift
	port=$(freeport)
	began=$EPOCHREALTIME
	"$@" --port "$port" --bind 127.0.0.1 --dir "$data" --save "" $args >"$dir/log" 2>&1 &
	pid=$!
	until exec 3<>"/dev/tcp/127.0.0.1/$port"; do
		kill -0 "$pid" 2>/dev/null || { echo "bench-load: $1 does not start:"; tail -5 "$dir/log"; exit 1; }
		sleep 0.01
	done 2>/dev/null
	while printf 'PING\r\n' >&3 && read -r line <&3; do
		case $line in
		+PONG*) break ;;
		-LOADING*) sleep 0.02 ;;
		*) echo "bench-load: $1 says $line"; exit 1 ;;
		esac
	done
	took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", b - a }')
	exec 3>&-
}
stop() {
	redis-cli -p "$port" shutdown nosave >/dev/null 2>&1 || true
	wait "$pid" 2>/dev/null || true
	pid=
}
strings() { # keys with values of random text, as RESP
	awk -v n="$keys" -v d="$size" 'BEGIN {
		srand(7)
		for (i = 0; i < 4000; i++) s = s sprintf("%08x", int(rand() * 4294967296))
		for (i = 0; i < n; i++) printf "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n", i, d, substr(s, 1 + int(rand() * (32000 - d)), d)
	}'
}
mixed() { # of ten keys 3 strings, one with an expiry, 2 hashes, 2 sorted sets, 1 set, 1 list, 1 stream; one collection in a thousand is big
	awk -v n="$((keys / 5))" -v d="$size" 'BEGIN {
		srand(7)
		for (i = 0; i < 4000; i++) s = s sprintf("%08x", int(rand() * 4294967296))
		split("SET SET SETEX HSET HSET ZADD ZADD SADD RPUSH XADD", names)
		for (i = 0; i < n; i++) {
			name = names[i % 10 + 1]
			m = int(rand() * 1000) == 0 ? 2000 : 1 + int(rand() * 20)
			if (name ~ /^SET/) m = 1
			for (j = 0; j < m; j++) {
				v = substr(s, 1 + int(rand() * (32000 - d)), d)
				f = "f" int(rand() * 1000000)
				if (name == "SET") c = "SET k" i " " v
				else if (name == "SETEX") c = "SETEX k" i " 1000000 " v
				else if (name == "HSET") c = "HSET k" i " " f " " v
				else if (name == "ZADD") c = "ZADD k" i " " int(rand() * 1000000) / 8 " " f
				else if (name == "XADD") c = "XADD k" i " " j + 1 "-1 " f " " v
				else c = name " k" i " " v
				print c
			}
		}
	}'
}
files() { find "$dir/$1" -type f; }
make_file() { # make_file NAME PROGRAM...
	mkdir "$dir/$1"
	start "$dir/$1" "${@:2}"
	"$data" | redis-cli -p "$port" --pipe >/dev/null
	have=$(redis-cli -p "$port" dbsize)
	[ "$form" = aof ] || redis-cli -p "$port" save >/dev/null
	stop
	echo "file by $1: $have keys, $(files "$1" | xargs cat | wc -c) bytes"
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

echo "skein:  $("$skein" version)"
echo "peer:   $("$peer" --version)"
echo "machine: $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), Linux $(uname -r)"
echo "$data, --form $form --keys $keys --size $size, median of $rounds rounds"
make_file skein "$skein" server
make_file peer "$peer"
who="skein peer${other:+ other}"
for round in $(seq "$rounds"); do
	for file in skein peer; do
		files "$file" | xargs cat >/dev/null # from the page cache for all
		for w in $who; do
			case $w in
			skein) start "$dir/$file" "$skein" server ;;
			other) start "$dir/$file" "$other" server ;;
			peer) start "$dir/$file" "$peer" ;;
			esac
			echo "$took" >>"$dir/$w.$file"
			redis-cli -p "$port" info memory | tr -d '\r' | awk -F: '/^used_memory:/ { u = $2 } /^used_memory_rss:/ { r = $2 } END { printf "%.1f %.1f\n", u / 1e6, r / 1e6 }' >>"$dir/mem.$w.$file"
			stop
		done
	done
	echo "round $round of $rounds done" >&2
done
for file in skein peer; do
	echo "file by $file:"
	base=$(median "$dir/peer.$file")
	for w in $who; do
		t=$(median "$dir/$w.$file")
		cut -d' ' -f1 "$dir/mem.$w.$file" >"$dir/used"
		cut -d' ' -f2 "$dir/mem.$w.$file" >"$dir/rss"
		awk -v w="$w" -v t="$t" -v q="$base" -v u="$(median "$dir/used")" -v r="$(median "$dir/rss")" -v all="$(sort -n "$dir/$w.$file" | tr '\n' ' ')" \
			'BEGIN { printf "  %-6s %7.3f s  %.2f  used_memory %.1f MB  rss %.1f MB  (%s)\n", w, t, t / q, u, r, all }'
	done
done

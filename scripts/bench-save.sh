#!/bin/sh
# What BGSAVE costs while clients write as fast as they can: Skein beside
# redis-server, one after the other, pinned alike. See usage below.
set -eu

usage() {
	cat <<USAGE
usage: scripts/bench-save.sh [--quick] [--keys N] [--size BYTES] [--conns N] [--quiet SECONDS] [--saves N]
                             [--server CPUS] [--client CPUS] [--peer PATH] [--dir DIR]
  --quick     a tenth of the size: 430 000 keys, 3 seconds without a save
  --keys      number of keys (4 300 000: with values of 400 bytes 2 GB of memory)
  --server    processors of the server (0), --client those of the writers (1)
  --peer      the other server (redis-server of the path)
  --dir       where the files are written (a new directory in TMPDIR)
columns: SET per second without and during the save; p99.9 of both in ms and their ratio; p99 and
the longest during the save; resident MB before and at most, and their ratio; seconds of the save.
USAGE
}

keys=4300000 size=400 conns=50 quiet=10 saves=1 server=0 client=1 peer=redis-server dir=
while [ $# -gt 0 ]; do
	case $1 in
	--quick) keys=430000 quiet=3 ;;
	--keys) keys=$2; shift ;;
	--size) size=$2; shift ;;
	--conns) conns=$2; shift ;;
	--quiet) quiet=$2; shift ;;
	--saves) saves=$2; shift ;;
	--server) server=$2; shift ;;
	--client) client=$2; shift ;;
	--peer) peer=$2; shift ;;
	--dir) dir=$2; shift ;;
	--help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

root=$(cd "$(dirname "$0")/.." && pwd)
skein=${SKEIN_BIN:-$root/bin/skein}
work=$(mktemp -d "${TMPDIR:-/tmp}/bench-save.XXXXXX")
[ -n "$dir" ] || dir=$work
pid=
clean() {
	[ -z "$pid" ] || { kill -9 "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
	rm -rf "$work" "$dir"/bench-save-*.rdb
}
trap clean EXIT
trap 'exit 1' INT TERM

ln -s "$skein" "$work/skein-server"
(cd "$root" && CGO_ENABLED=0 go build -o "$work/savebench" ./test/savebench)
port=$((20000 + $$ % 10000))

printf '%-14s | %7s | %7s | %6s | %6s | %5s | %6s | %6s | %5s | %5s | %5s | %5s\n' "$keys keys" SET/s saving p99.9 saving ratio p99 worst MB peak ratio s
one() { # name, program
	port=$((port + 1))
	taskset -c "$server" "$2" --port "$port" --bind 127.0.0.1 --dir "$dir" --dbfilename "bench-save-$1.rdb" --save "" \
		--daemonize no --logfile "$work/$1.log" --protected-mode no &
	pid=$!
	n=0
	until redis-cli -p "$port" PING 2>/dev/null | grep -q PONG; do
		n=$((n + 1))
		[ $n -lt 100 ] || { cat "$work/$1.log"; exit 1; }
		sleep 0.1
	done
	taskset -c "$client" "$work/savebench" -name "$1" -addr "127.0.0.1:$port" -pid "$pid" -keys "$keys" -size "$size" -conns "$conns" \
		-quiet "${quiet}s" -saves "$saves" || { tail -20 "$work/$1.log"; exit 1; }
	kill -9 "$pid"
	wait "$pid" 2>/dev/null || true
	pid=
	rm -f "$dir"/bench-save-*.rdb*
}
one redis "$peer"
one skein "$work/skein-server"

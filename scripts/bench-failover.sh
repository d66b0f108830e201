#!/bin/sh
# Failover times of Skein beside redis-server and valkey-server: kill -9 of a
# primary to the first acknowledged write on its successor, rounds interleaved.
#   scripts/bench-failover.sh [ROUNDS]     default 20, in pieces of 5
# PEERS names the folder with valkey-server. FAILOVER_OUT keeps the times
# (default: a new file); a file that exists is added to.
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-20}
out=${FAILOVER_OUT:-$(mktemp)}
: "${PEERS:?PEERS must name a folder with valkey-server}"
export PEERS
while [ "$rounds" -gt 0 ]; do
	n=5
	[ "$rounds" -lt 5 ] && n=$rounds
	go test -count=1 -run 'TestFailoverTime$' -v -timeout 20m ./test/e2e -failover-rounds "$n" -failover-out "$out" | grep -E 'median|FAIL|ok' || true
	rounds=$((rounds - n))
done
echo "times in $out"

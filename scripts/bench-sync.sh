#!/bin/sh
# A full sync under full write load, default settings: 2 GB of values of 1000 random
# bytes, 8 connections that overwrite random keys in pipelines of 16 meanwhile.
# Prints how long it took until the replica kept up, the full syncs that it took,
# what it cost in memory, and the two servers' logs.
#   scripts/bench-sync.sh [MB] [LINK]   defaults 2048 and 0; LINK is the MB a second
#                                       that the replica's link carries, 0: no limit
set -eu
cd "$(dirname "$0")/.."
exec go test -count=1 -run 'TestFullSyncUnderLoad$' -v -timeout 40m ./test/e2e -sync-mb "${1:-2048}" -sync-link "${2:-0}" ${SYNC_PRIMARY:+-sync-primary "$SYNC_PRIMARY"}

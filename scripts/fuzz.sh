#!/bin/sh
# Usage: scripts/fuzz.sh TIME [package-directory:FuzzName ...]
# Runs the given fuzz targets, or all of them, for TIME each. The Go tool takes
# one target of one package at a time.
cd "$(dirname "$0")/.." || exit 1
time=${1:?usage: scripts/fuzz.sh TIME [dir:Fuzz ...]}
shift
targets=$*
if [ -z "$targets" ]; then
	targets=$(grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' internal | sed 's#/[^/]*_test.go:func #:#' | sort -u)
fi
failed=
for t in $targets; do
	dir=${t%%:*} name=${t##*:}
	echo "fuzz: $dir $name for $time"
	${GO:-go} test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "./$dir" || failed="$failed $t"
done
[ -z "$failed" ] || { echo "fuzz: failed:$failed"; exit 1; }

#!/bin/sh
# Sees to the programs that the tests run beside Skein: redis-server, redis-cli,
# redis-benchmark, redis-check-rdb. Installs them where that is possible without
# asking (Debian or Ubuntu, as root); otherwise says what to install and goes on,
# and the tests that need them are skipped with a line that says so.
missing=
for p in redis-server redis-cli redis-benchmark redis-check-rdb; do
	command -v $p >/dev/null 2>&1 || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "tools: installing redis-server and redis-tools for$missing"
	export DEBIAN_FRONTEND=noninteractive
	# The package would start a server on port 6379: policy-rc.d forbids it.
	policy=/usr/sbin/policy-rc.d
	made=
	if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=1; fi
	{ apt-get install -y -q redis-server redis-tools || { apt-get update -q && apt-get install -y -q redis-server redis-tools; }; } >/tmp/tools.$$ 2>&1
	rc=$?
	[ -n "$made" ] && rm -f $policy
	[ $rc -eq 0 ] || { tail -5 /tmp/tools.$$; echo "tools: apt-get failed; tests that need$missing will be skipped"; }
	rm -f /tmp/tools.$$
else
	echo "tools: missing$missing: install the packages redis-server and redis-tools (Debian, Ubuntu), redis (Fedora, Homebrew); tests that need them will be skipped"
fi
exit 0

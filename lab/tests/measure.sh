# Runs inside a machine: what `measure` counts there, as JSON, after it has been put to the test.
set -e
# An emulated machine is slow to acknowledge. What TCP then sends again as a probe (RFC 8985) is
# copied again, and counted.
echo 0 >/proc/sys/net/ipv4/tcp_early_retrans
events=/sys/kernel/tracing/kprobe_events
measure="underpass measure --counts-only --dir ."

# A run that is killed leaves its events behind, and nothing else.
$measure --links veth --ways read-write >/dev/null &
until grep -q underpass_ $events; do usleep 10000; done
kill -9 $!
wait $! || true
grep -q underpass_ $events
if ip link | grep underpass; then exit 11; fi

# The next one finds and removes them, and its own.
$measure --links veth,veth-no-gather --verify --json >report
test -z "$(cat $events)"

# With scatter-gather on where it is expected off, and off where it is expected on, the same check must fail.
status=0
$measure --links veth,veth-no-gather --ways read-write,sendfile --verify --swap-gather >/dev/null 2>said || status=$?
test $status = 1
cat said >&2
grep -q '^underpass: FAILS: sendfile over veth: CPU copies of a byte: 1.00' said
grep -q '^underpass: FAILS: sendfile over veth-no-gather: CPU copies of a byte: 0.00' said
grep -q '^underpass: 20 claims: 3 held, 3 failed, 14 not counted here' said

# A signal ends it, with nothing left. (A shell has its background jobs ignore SIGINT.)
$measure --links veth --ways read-write >/dev/null 2>said &
until grep -q underpass_ $events; do usleep 10000; done
kill -TERM $!
status=0
wait $! || status=$?
test $status = 143
test -z "$(cat $events)"

cat report

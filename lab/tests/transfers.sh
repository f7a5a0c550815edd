# Runs inside a machine: what the project needs of it. Ends with 7 when all of it is there.
set -e
uname -r
underpass --version

test "$(nproc)" = 1
test -w /sys/kernel/tracing/kprobe_events
test -d /sys/kernel/debug/tracing
echo 'p:sent tcp_sendmsg_locked' >/sys/kernel/tracing/kprobe_events
for module in veth sch_netem tls; do
    test -d /sys/module/$module
done
ip link add one type veth
ip link set one up
grep -q ' /mnt ext4 ' /proc/mounts
grep -q ' /tmp tmpfs ' /proc/mounts
test "$PWD" = /mnt

underpass explain /root/input copy >/tmp/plan
grep -q sendfile /tmp/plan
underpass copy --quiet /root/input copy
cmp copy /root/input

underpass recv --quiet tcp://127.0.0.1:4000 got &
until netstat -ltn | grep -q :4000; do usleep 10000; done
underpass send --receipt json copy tcp://127.0.0.1:4000 >/tmp/receipt
wait $!
cmp got /root/input
grep -q sendfile /tmp/receipt

underpass serve --listen 127.0.0.1:8080 . 2>/tmp/log &
until netstat -ltn | grep -q :8080; do usleep 10000; done
wget -q -O /tmp/served http://127.0.0.1:8080/copy
cmp /tmp/served /root/input

sh /root/relay.sh
sh /root/fan-out.sh

echo 'all done'
exit 7

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

# What `top` counts where functions can be watched: none of what sendfile moves is copied, and what
# is read and written is copied twice.
of() { sed 's/{"pid"/\n&/g' /tmp/counted | grep "\"name\":\"$1\""; }
sends() { underpass top --json -- sh -c "nc -l -p 8082 -e $* & until netstat -ltn | grep -q :8082; do usleep 10000; done; nc 127.0.0.1 8082 </dev/null >/tmp/served; wait" 2>/tmp/counted; }
sends cat copy
cmp /tmp/served copy
of cat | grep -q '"line":"zero-copy: sendfile"'
sends dd if=copy bs=64k
of dd | grep -q '"copies_per_byte":{"value":\(2\.0[01]\|1\.99\)[0-9]*,"evidence":"measured"'
of dd | grep -q '"line":"2.0 copies a byte: reads files and writes sockets; sendfile would save both"'

sh /root/relay.sh
sh /root/fan-out.sh

echo 'all done'
exit 7

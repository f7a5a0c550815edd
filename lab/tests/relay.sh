# Runs inside a machine: relays between two networks that delay, reorder and lose what is sent.
set -e
# Debian's own, with its libraries: busybox has no netem and no namespaces of networks.
run='/root/ld-linux-x86-64.so.2 --library-path /root'
ip="$run /root/ip" tc="$run /root/tc"

# A network namespace, held by process $there, and a bad way to it: $1 here is address $2.1, there it is $2.2.
network() {
    unshare -n sleep 1000 &
    there=$!
    until [ "$(readlink /proc/$there/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do usleep 10000; done
    $ip link add "$1" type veth peer name way netns $there
    spoil "" "$1" "$2.1"
    spoil "nsenter -t $there -n" way "$2.2"
}

# Packets, not segments of 64 KiB, are lost.
spoil() {
    $1 $ip address add "$3/24" dev "$2"
    $1 $ip link set dev "$2" up gso_max_segs 1
    $1 $tc qdisc add dev "$2" root netem delay 10ms 4ms loss 2%
}

network client 10.0.1
client=$there
network target 10.0.2
target=$there

listens() { until $1 netstat -ltn | grep -q "$2"; do usleep 10000; done; }
at_client="nsenter -t $client -n" at_target="nsenter -t $target -n"
underpass relay --listen 10.0.1.1:4000 --to 10.0.2.2:4000 --receipt json --route splice >spliced &
splicing=$!
underpass relay --listen 10.0.1.1:5000 --to 10.0.2.2:5000 --receipt json >ruled &
ruled=$!
listens "" :4000
listens "" :5000

# Up, and down.
$at_target underpass recv --quiet --force tcp://10.0.2.2:4000 got &
receiving=$!
$at_target underpass serve --quiet --listen 10.0.2.2:5000 /root &
listens "$at_target" :4000
listens "$at_target" :5000
$at_client underpass send --quiet /root/input tcp://10.0.1.1:4000 &
sending=$!
$at_client wget -q -O fetched http://10.0.1.1:5000/input
wait $sending
wait $receiving
cmp got /root/input
cmp fetched /root/input

kill -TERM $splicing $ruled
wait $splicing
wait $ruled
grep -q '"complete":true' spliced
grep -q '"route":"splice","bytes":1048576' spliced
grep -q '"bytes":1048' ruled
for way in client target; do
    $tc -s qdisc show dev $way >counts
    if grep -q 'dropped 0' counts; then exit 21; fi
done

# Runs inside a machine whose kernel has TLS: every command has the kernel encrypt and decrypt, by
# sendfile and splice, and nothing falls back.
set -e
# Ends with a line that says what was missing.
trap 'echo "failed at: $step" >&2' EXIT
said() { until grep -qs "$1" "$2"; do usleep 10000; done; }
# What a receipt must have, and must not.
has() { step="$step: $1 in $(cat "$2")"; grep -q "$1" "$2"; }
lacks() { step="$step: no $1 in $(cat "$2")"; if grep -q "$1" "$2"; then exit 1; fi; }
in_kernel() { has '"mode":"kernel"' "$1"; lacks '"mode":"user"' "$1"; }
# Receives by TLS into got; its address is in $to.
receive() {
    rm -f log
    underpass recv "$@" got --force --receipt json >received 2>log &
    receiving=$!
    said 'listening on' log
    to=$(sed -n 's/.*listening on //p' log)
}
received() {
    wait $receiving
    cmp got "$1"
    in_kernel received
    has '"route":"splice"' received
    has '"fallbacks":\[\]' received
    has '"work":"decrypt","place":"kernel"' received
}

dd if=/dev/urandom of=input bs=1024 count=8195 2>/dev/null
sum=$(sha256sum <input)

step='send to recv'
receive tls://127.0.0.1:0
underpass send input "$to" --receipt json >sent
received input
in_kernel sent
has '"route":"sendfile"' sent
has '"fallbacks":\[\]' sent
has '"copies":{"cpu_bytes":0,' sent
has '"work":"encrypt","place":"kernel"' sent
step='pitfall 45: the source is as it was'
test "$(sha256sum <input)" = "$sum"

step='a pipe'
receive tls://127.0.0.1:0
cat input | underpass send - "$to" --receipt json >sent
received input
in_kernel sent
has '"route":"splice"' sent
has '"fallbacks":\[\]' sent

step='a large sparse file'
truncate -s 200M sparse
receive tls://127.0.0.1:0
underpass send sparse "$to" --receipt json >sent
received sparse
has '"route":"sendfile","bytes":209715200' sent

step='pitfall 43: tiny send buffers'
cp /proc/sys/net/ipv4/tcp_wmem wmem
echo 4096 8192 8192 >/proc/sys/net/ipv4/tcp_wmem
receive tls://127.0.0.1:0
underpass send input "$to" --receipt json >sent
received input
in_kernel sent
cat wmem >/proc/sys/net/ipv4/tcp_wmem

step='both modes understand each other'
receive tls://127.0.0.1:0
underpass send input "$to" --no-ktls --receipt json >sent
received input
has '"route":"seal"' sent
rm log
underpass recv tls://127.0.0.1:0 got --force --no-ktls 2>log >/dev/null &
said 'listening on' log
underpass send input "$(sed -n 's/.*listening on //p' log)" --receipt json >sent
wait $!
cmp got input
in_kernel sent

step='a sender that is killed'
rm log
underpass recv tls://127.0.0.1:0 killed 2>log &
receiving=$!
said 'listening on' log
mkfifo fifo
underpass send - "$(sed -n 's/.*listening on //p' log)" <fifo 2>/dev/null &
sending=$!
exec 3>fifo
cat input >&3
kill -KILL $sending
exec 3>&-
code=0
wait $receiving || code=$?
test $code = 3
test ! -e killed

step='a relay that ends TLS, and one that begins it'
rm log
underpass relay --listen tls://127.0.0.1:4001 --to 127.0.0.1:4002 --receipt json >ending 2>log &
ending=$!
said relaying log
to=$(awk '/relaying/ { print $3 }' log)
underpass relay --listen 127.0.0.1:4000 --to "$to" --receipt json >beginning 2>log2 &
beginning=$!
said relaying log2
underpass recv 127.0.0.1:4002 got --force --quiet &
receiving=$!
until netstat -ltn | grep -q :4002; do usleep 10000; done
underpass send input 127.0.0.1:4000 --quiet
wait $receiving
cmp got input
kill -TERM $ending $beginning
wait $ending
wait $beginning
for receipt in ending beginning; do
    in_kernel $receipt
    has '"complete":true' $receipt
    has '"route":"splice"' $receipt
    lacks '"splice_refused":true' $receipt
done

step='a fan-out of a file and of a stream'
rm log
underpass fan-out --listen tls://127.0.0.1:4003 --from input --receipt json >file 2>log &
fan_out=$!
said giving log
from=$(sed -n 's/.* at \(tls[^ ]*\) .*/\1/p' log)
for at in 1 2; do
    underpass recv --connect "$from" got --force --quiet
    cmp got input
done
kill -TERM $fan_out
wait $fan_out
in_kernel file
has '"route":"sendfile"' file
has '"fallbacks":\[\]' file
rm log
cat input | underpass fan-out --listen tls://127.0.0.1:4004 --from - --await 2 --receipt json >stream 2>log &
fan_out=$!
said giving log
from=$(sed -n 's/.* at \(tls[^ ]*\) .*/\1/p' log)
underpass recv --connect "$from" one --quiet &
one=$!
underpass recv --connect "$from" two --quiet
wait $one
wait $fan_out
cmp one input
cmp two input
in_kernel stream
has '"route":"splice"' stream
lacks '"splice_refused":true' stream

step='pitfall 37: without the module this process encrypts, and says why'
rmmod tls
receive tls://127.0.0.1:0
underpass send input "$to" --receipt json >sent
wait $receiving
cmp got input
for receipt in sent received; do
    lacks '"mode":"kernel"' $receipt
    has '"mode":"user","reason":"the kernel has no TLS: ENOENT"' $receipt
done
rm log
underpass fan-out --listen tls://127.0.0.1:4005 --from input --receipt json >file 2>log &
fan_out=$!
said giving log
from=$(sed -n 's/.* at \(tls[^ ]*\) .*/\1/p' log)
underpass recv --connect "$from" got --force --quiet
cmp got input
kill -TERM $fan_out
wait $fan_out
has '"reason":"the kernel has no TLS: ENOENT"' file

trap - EXIT
echo 'all by the kernel'

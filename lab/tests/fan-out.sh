# Runs inside a machine: a stream and a file, each to three at once, and the disk read once for all who get the file.
set -e
listens() { until netstat -ltn | grep -q "$1"; do usleep 10000; done; }

# Bulk is teed, and the last to take it needs no tee.
cat /root/input /root/input >twice
cp twice /tmp/twice
underpass fan-out --listen 127.0.0.1:6000 --from tcp://127.0.0.1:6001 --await 3 --route splice --receipt json >stream &
giving=$!
listens :6000
listens :6001
for one in 1 2 3; do nc 127.0.0.1 6000 </dev/null >got$one & done
underpass send --quiet twice tcp://127.0.0.1:6001
wait $giving
for one in 1 2 3; do
    until cmp -s got$one twice; do usleep 10000; done
done
test "$(grep -c '"complete":true' stream)" = 4
test "$(grep -c '"route":"splice","bytes":2097152' stream)" = 4
if grep -q read-write stream; then exit 31; fi
if ! grep -q '"tees":[1-9]' stream; then exit 32; fi

# /mnt is on a disk. What lies in the page cache is dropped; what was written is read back from there.
sync
echo 1 >/proc/sys/vm/drop_caches
underpass fan-out --listen 127.0.0.1:6000 --from twice --receipt json >file &
giving=$!
listens :6000
for one in 1 2 3; do nc 127.0.0.1 6000 </dev/null >got$one & done
for one in 1 2 3; do
    until cmp -s got$one /tmp/twice; do usleep 10000; done
done
kill -TERM $giving
wait $giving
test "$(grep -c '"complete":true' file)" = 3
test "$(grep -c '"route":"sendfile","bytes":2097152' file)" = 3
# Some of it may have stayed in memory.
read=$(sed 's/.*"device_bytes":\([0-9]*\).*/\1/' file | sort -n | tail -n 1)
echo "$read bytes read from the disk, for all" >&2
test $read -gt 0
test $read -le 2516582

# Runs inside a machine whose kernel has TLS: sends a sparse file of this size by it, and counts in
# the kernel what that took. Prints the counts.
#
#   lab vm --kernel 6.1 --cpus 1 --timeout 600 --file lab/tests/ktls.sh -- sh /root/ktls.sh 1G
#
# The receiver decrypts in its own process, so that what the kernel copies is the sender's.
set -e
trace=/sys/kernel/tracing
# Places a probe, and adds up its calls and bytes for each thread.
probe() {
    echo "$1:lab/$2 $2 $3" >>$trace/kprobe_events
    echo "hist:keys=common_pid:vals=bytes" >$trace/events/lab/$2/trigger
}
# Prints the calls of a function by the sender (hitcount), or its bytes. An entry is a line such as
# { common_pid: 42 } hitcount: 7 bytes: 448
of_sender() { of_all $1 $2 "common_pid: *$sender }"; }
of_all() {
    grep "${3:-common_pid}" $trace/events/$1/hist | sed -n "s/.* $2: *\([0-9]*\).*/\1/p" |
        awk '{ sum += $1 } END { print sum + 0 }'
}
# Ends with a line that says what is not as it must be.
must() {
    if ! test "$@"; then
        echo "not so: $*" >&2
        exit 1
    fi
}

truncate -s $1 file
bytes=$(stat -c %s file)
# Pieces that tell if a part is missing, or is in the wrong place.
for part in 0 1 2 3 4 5 6 7; do
    dd if=/dev/urandom of=file bs=4k count=3 seek=$((bytes / 4096 * part / 8)) conv=notrunc 2>/dev/null
done
sum=$(sha256sum <file)

# Each record is encrypted by one call, which passes it on through a wrapper around the cipher.
probe p crypto_aead_encrypt 'bytes=+0($arg1):u32'
probe p simd_aead_encrypt 'bytes=+0($arg1):u32'
# What copies data into a record, and what copies pages of a packet.
probe r sk_msg_memcopy_from_iter 'bytes=$retval:s32'
probe p skb_copy_bits 'bytes=$arg4:u32'
echo 'hist:keys=common_pid:vals=ret if ret > 0' >$trace/events/syscalls/sys_exit_sendfile64/trigger

underpass recv tls://127.0.0.1:0 - --no-ktls 2>log | sha256sum >arrived &
until grep -qs 'listening on' log; do usleep 10000; done
underpass send file "$(sed -n 's/.*listening on //p' log)" --receipt json >sent &
sender=$!
wait $sender
wait

records=$(($(of_sender lab/crypto_aead_encrypt hitcount) - $(of_sender lab/simd_aead_encrypt hitcount)))
turns=$(of_sender syscalls/sys_exit_sendfile64 hitcount)
sent=$(of_sender syscalls/sys_exit_sendfile64 ret)
copied=$(($(of_sender lab/sk_msg_memcopy_from_iter bytes) + $(of_all lab/skb_copy_bits bytes)))
cat sent
echo "$bytes bytes: $turns turns of sendfile, $records records, $copied bytes copied"

must "$(cat arrived)" = "$sum"
must $sent = $bytes
full=$((bytes / 16384))
must $records -ge $((full - full / 100)) -a $records -le $((full + full / 100))
# 0.00, and less than a byte in a thousand: the end of the stream is said in a record, too.
must $((copied * 1000)) -lt $bytes
# A turn is one call of sendfile, of many records. What the receipt has besides found no room.
must $((turns * 16)) -le $full
for said in '"mode":"kernel"' '"route":"sendfile"' '"fallbacks":\[\]' '"cpu_bytes":0' '"complete":true'; do
    grep -q "$said" sent || must "$said" = "$(cat sent)"
done

# Runs inside a machine whose kernel has TLS: a directory is sent and received with the kernel
# encrypting and decrypting, by sendfile and splice, and nothing falls back.
set -e
# Ends with a line that says what was missing.
trap 'echo "failed at: $step" >&2' EXIT
said() { until grep -qs "$1" "$2"; do usleep 10000; done; }
# What a receipt must have, and must not.
has() { step="$step: $1 in $(cat "$2")"; grep -q "$1" "$2"; }
lacks() { step="$step: no $1 in $(cat "$2")"; if grep -q "$1" "$2"; then exit 1; fi; }
in_kernel() { has '"mode":"kernel"' "$1"; lacks '"mode":"user"' "$1"; }

step='a tree'
mkdir -p tree/deep
for name in a b deep/c; do
    dd if=/dev/urandom of=tree/$name bs=1024 count=300 2>/dev/null
done
echo small >tree/deep/small
ln -s a tree/link
truncate -s 4M tree/sparse
dd if=/dev/urandom of=tree/sparse bs=64k count=1 seek=20 conv=notrunc 2>/dev/null
chmod 640 tree/a
for options in '' '--verify'; do
    step="a tree, $options"
    rm -rf log into
    underpass recv tls://127.0.0.1:0 into/ $options --receipt json >received 2>log &
    receiving=$!
    said 'listening on' log
    to=$(sed -n 's/.*listening on //p' log)
    underpass send tree "$to" $options --receipt json >sent
    wait $receiving
    diff -r tree into/tree
    test "$(readlink into/tree/link)" = a
    test "$(stat -c %a into/tree/a)" = 640
    # The holes are still there.
    test "$(stat -c %b into/tree/sparse)" -le 256
    for receipt in sent received; do
        in_kernel $receipt
        has '"complete":true' $receipt
        has '"fallbacks":\[\]' $receipt
    done
    # Three files of 300 KiB, and the data of the one with holes.
    has '"route":"sendfile","bytes":987136' sent
    has '"route":"splice","bytes":987136' received
    has '"work":"encrypt","place":"kernel"' sent
    has '"work":"decrypt","place":"kernel"' received
done

trap - EXIT
echo 'all by the kernel'

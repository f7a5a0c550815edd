# Runs inside a machine: programs that copy and programs that do not, each counted by `underpass
# top`. Prints a line `== NAME` and the report, as JSON, for each.
set -e
# Programs of Debian, with their libraries. Run by the linker's name, they would be called like it.
mkdir -p /lib64 /etc temporary
cp /root/ld-linux-x86-64.so.2 /lib64
for program in nginx socat curl mkfs.xfs mkfs.btrfs ip ethtool; do chmod +x /root/$program; done
chmod +x /lib64/ld-linux-x86-64.so.2
export LD_LIBRARY_PATH=/root
printf 'root:x:0:0::/root:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\n' >/etc/group
dd if=/dev/urandom of=big bs=1M count=8 2>/dev/null

# Counts a script of commands, and prints the report under a name.
counted() {
    printf '%s\n' 'listens() { until netstat -ltn | grep -q ":$1 "; do usleep 10000; done; }' "$2" >script
    underpass top --json -- sh -e script >said 2>report || { cat said report >&2; exit 1; }
    echo "== $1"
    tail -n 1 report
}

counted copying 'dd if=big of=copy bs=64k'
counted pipes 'cat big | dd of=copy bs=64k'
counted httpd '
httpd -p 127.0.0.1:4001 -h /mnt
wget -q -O got http://127.0.0.1:4001/big
cmp got big
killall httpd'
counted nc '
nc -l -p 4002 -e dd if=big bs=64k &
listens 4002
nc 127.0.0.1 4002 </dev/null >got
cmp got big'

# A server with the options $3, which is asked for $1://…/$2$4 with curl's options $5.
served() {
    echo "underpass serve --quiet --listen 127.0.0.1:4003 $3 /mnt &
listens 4003
/root/curl -sk $5 $1://127.0.0.1:4003/$2$4 -o got
cmp got $2
kill -TERM \$!
wait \$!"
}
head -c 1000 big >small
counted serve "$(served http big '')"
counted serve-small "$(served http small '' '?[1-500]')"
counted serve-ktls "$(served https big --tls-self-signed '' --http1.1)"
counted serve-ktls-2 "$(served https big --tls-self-signed '' --http2)"
counted serve-tls "$(served https big '--tls-self-signed --no-ktls')"

counted relay '
httpd -p 127.0.0.1:4004 -h /mnt
underpass relay --listen 127.0.0.1:4005 --to 127.0.0.1:4004 --route splice &
relay=$!
listens 4005
wget -q -O got http://127.0.0.1:4005/big
cmp got big
kill -TERM $relay
killall httpd
wait $relay'

# Sends big, and receives it into got: each with its own options.
sent() {
    # The log of the case before would say that it listens.
    echo "rm -f log
underpass recv --force ${1}127.0.0.1:4008 got $3 2>log &
until grep -qs 'listening on' log; do usleep 10000; done
$2 underpass send ${4:-big} \"\$(sed -n 's/.*listening on //p' log)\" $3
wait \$!
cmp got big"
}
counted sent "$(sent '')"
counted sent-pipe "$(sent '' 'cat big |' '' -)"
counted sent-ktls "$(sent tls://)"
counted sent-tls "$(sent tls:// '' --no-ktls)"

# Copies inside the kernel, on file systems that share blocks and on others.
copies() { echo "underpass copy --quiet --force --route copy_file_range $1/big $1/copy"; }
cp big /tmp/big
counted copy-ext4 "$(copies /mnt)"
counted copy-tmpfs "$(copies /tmp)"
rm /tmp/big /tmp/copy copy

for way in on off; do
    cat >nginx-$way.conf <<CONF
user root; daemon off; master_process off; pid /tmp/nginx; error_log stderr;
events {}
http {
    access_log off; sendfile $way;
    client_body_temp_path /mnt/temporary; proxy_temp_path /mnt/temporary; fastcgi_temp_path /mnt/temporary;
    uwsgi_temp_path /mnt/temporary; scgi_temp_path /mnt/temporary;
    server { listen 127.0.0.1:4006; root /mnt; }
}
CONF
    counted nginx-$way "
/root/nginx -e stderr -c /mnt/nginx-$way.conf &
listens 4006
wget -q -O got http://127.0.0.1:4006/big
cmp got big
kill -TERM \$!
wait \$!"
done
counted socat '
/root/socat -u OPEN:big TCP-LISTEN:4007,bind=127.0.0.1 &
listens 4007
nc 127.0.0.1 4007 </dev/null >got
cmp got big'
counted socat-relay '
httpd -p 127.0.0.1:4004 -h /mnt
/root/socat TCP-LISTEN:4009,bind=127.0.0.1 TCP:127.0.0.1:4004 &
listens 4009
wget -q -O got http://127.0.0.1:4009/big
cmp got big
killall httpd
wait $!'

# A relay between two networks, which gather. Then one does not: packets come in their heads, which
# a pipe cannot refer to.
network() {
    unshare -n sleep 10000 &
    there=$!
    until [ "$(readlink /proc/$there/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do usleep 10000; done
    /root/ip link add "$1" type veth peer name way netns $there
    /root/ip address add $2.1/24 dev $1
    /root/ip link set $1 up
    nsenter -t $there -n /root/ip address add $2.2/24 dev way
    nsenter -t $there -n /root/ip link set way up
}
network client 10.0.1
client=$there
network target 10.0.2
target=$there
between="
nsenter -t $target -n httpd -p 10.0.2.2:4004 -h /mnt
underpass relay --listen 10.0.1.1:4005 --to 10.0.2.2:4004 --route splice &
listens 4005
nsenter -t $client -n wget -q -O got http://10.0.1.1:4005/big
cmp got big
kill -TERM \$!
killall httpd
wait \$!"
counted relay-veth "$between"
nsenter -t $target -n /root/ethtool -K way sg off >/dev/null
counted relay-no-gather "$between"

for system in xfs btrfs; do
    truncate -s 400M $system
    /root/mkfs.$system -q $system >/dev/null
    mkdir -p /tmp/$system
    mount -t $system -o loop $system /tmp/$system
    cp big /tmp/$system
    counted $system "cd /tmp/$system; dd if=big of=copy bs=64k"
    counted copy-$system "$(copies /tmp/$system)"
    umount /tmp/$system
done

# A thread of the kernel reads for a loop device. It is nobody's child, so all processes are watched.
losetup /dev/loop7 big
underpass top --json --interval 1s >watched &
top=$!
until test -s watched; do usleep 10000; done
dd if=/dev/loop7 of=/dev/null bs=64k 2>/dev/null
until grep -q 'it copies' watched; do usleep 10000; done
kill $top
wait $top || true
echo '== loop'
grep -m 1 'it copies' watched

# One that is killed leaves nothing in the kernel.
programs() { grep -c 'bpf_prog_' /proc/kallsyms || true; }
before=$(programs)
underpass top --json >/dev/null &
until test "$(programs)" -gt "$before"; do usleep 10000; done
kill -9 $!
wait $! || true
until test "$(programs)" -le "$before"; do usleep 10000; done
echo '== removed'

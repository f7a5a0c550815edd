# Runs inside a machine whose kernel has TLS: lab's scenario https-idle, with underpass alone, and
# what the kernel says of its TLS meanwhile. The machine is slow, so idle connections may wait. A
# server whose limit on open files is low keeps fewer connections than 10,000.
cp /root/lab lab
cat >serve <<'X'
#!/bin/sh
if test "$1" = serve; then ulimit -n 65536; exec underpass "$@" --keep-alive 2h; fi
exec underpass "$@"
X
chmod +x lab serve
(while sleep 30; do grep Curr.xSw /proc/net/tls_stat; done) >&2 &
./lab rivals https-idle --only underpass --rounds 1 --no-pin --into out --underpass ./serve --dir .
kill $!
cat /proc/net/tls_stat
cat out/https-idle.json

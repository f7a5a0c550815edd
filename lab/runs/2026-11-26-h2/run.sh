#!/bin/bash
cd "$1"   # a directory with `upr`, the release build, and `srv`, the files
cpu(){ awk '{print $14+$15}' /proc/$1/stat; }
run(){ # name env args -- url opts
 name=$1; env=$2; shift 2
 sargs=$1; shift
 env $env taskset -c 0 ./upr serve srv --threads 1 --listen 127.0.0.1:18500 $sargs --quiet >/dev/null 2>&1 & p=$!
 sleep 0.7
 a=$(cpu $p); out=$(taskset -c 1 "$@" 2>&1); b=$(cpu $p)
 echo "$name cpu=$((b-a))cs $(echo "$out" | grep -E 'finished in' ) $(echo "$out"| grep -oE '[0-9]+ succeeded')"
 kill $p; wait $p 2>/dev/null
}
for i in 1 2; do
run h2c-big-sendmsg A=1 "" h2load -n 64 -c 8 -m 1 http://127.0.0.1:18500/big
run h2c-big-sendfile H2_SENDFILE=1 "" h2load -n 64 -c 8 -m 1 http://127.0.0.1:18500/big
run h2c-huge-sendmsg A=1 "" h2load -n 2 -c 1 -m 1 http://127.0.0.1:18500/huge
run h2c-huge-sendfile H2_SENDFILE=1 "" h2load -n 2 -c 1 -m 1 http://127.0.0.1:18500/huge
run h1-huge A=1 "" h2load --h1 -n 2 -c 1 http://127.0.0.1:18500/huge
run tls-h2-huge A=1 "--tls-self-signed" h2load -n 2 -c 1 -m 1 https://127.0.0.1:18500/huge
run tls-h1-huge A=1 "--tls-self-signed" h2load --h1 -n 2 -c 1 https://127.0.0.1:18500/huge
run h2c-small A=1 "" h2load -n 150000 -c 32 -m 10 http://127.0.0.1:18500/small
run tls-h2-small A=1 "--tls-self-signed" h2load -n 150000 -c 32 -m 10 https://127.0.0.1:18500/small
done

# Runs the commands of one block of a document, or one example of `--help`, one after another, as a
# reader types them.
#
# Usage: bash typed.sh BLOCK, as root, in new namespaces (network, mounts, processes), in a
# directory with the files that documents name.
#
# - A command that listens runs until another such command takes its place, or the block ends, as if
#   Ctrl-C ended it. The next command comes when it listens.
# - A command that ends with `&` must end by itself, and succeed, before the block is done. A line
#   with nothing but `wait` waits for those before it.
# - Every other command must succeed.
set -m -o pipefail
patience=120

ip link set lo up
ip address add 10.0.0.7/32 dev lo
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /srv
cp -r photos /srv/files
printf '127.0.0.1 localhost backup backup.example host db1 db2\n' >hosts
mount --bind hosts /etc/hosts
export HOME=$PWD/home
# An answer such as 404 is a failure, too.
echo fail >"$HOME/.curlrc"

# What the examples name, and is not here.
sudo() { "$@"; }
camera() { sleep 1000; }
ssh() { mkdir -p "$1" && cd "$1" && eval "$2"; }

fail() {
    printf '%s\n' "$1"
    cat ./*.log 2>/dev/null
    exit 1
}

# How many sockets listen here.
listening() {
    local tcp unix
    tcp=$(cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A ')
    unix=$(grep -c ' 00010000 ' /proc/net/unix)
    echo $((tcp + unix))
}

# Starts a command in the background. With a number, waits until so many more sockets listen.
start() {
    local before=$(listening) deadline=$((SECONDS + patience))
    ( eval "$1" ) </dev/null >/dev/null 2>"$number.log" &
    while [ $(($(listening) - before)) -lt "$2" ]; do
        kill -0 "$!" 2>/dev/null || fail "it ended before it listened: $1"
        [ $SECONDS -lt $deadline ] || fail "it never listened: $1"
        sleep 0.05
    done
}

stop_server() {
    [ -n "$server" ] || return 0
    local deadline=$((SECONDS + patience))
    # The whole pipeline, and until its addresses are free again.
    while kill -TERM -- -"$server" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || fail "it does not end"
        sleep 0.05
    done
    server=
}

finish_jobs() {
    local each
    for ((each = 0; each < ${#jobs[@]}; each += 2)); do
        wait "${jobs[each]}" || fail "exit code $?: ${jobs[each + 1]}"
    done
    jobs=()
}

# How many addresses a command listens at, or 0.
addresses() {
    local options=" --metrics --redirect-http " count=1 word
    [[ $1 =~ underpass\ (serve|relay|fan-out|recv)(\ |$) && ! $1 =~ --(connect|check-config|help) ]] || { echo 0; return; }
    for word in $1; do
        [[ $options == *" $word "* ]] && count=$((count + 1))
    done
    echo $count
}

number=0 server= jobs=()
while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    while [[ $line == *\\ ]]; do
        IFS= read -r more
        line=${line%\\}$more
    done
    addresses=$(addresses "$line")
    # Not a `&` within quotes, and not `&&`.
    if [ "$line" = wait ]; then
        finish_jobs
    elif [[ $line =~ ^(.*[^\&])\&\ *(\#[^\']*)?$ ]]; then
        line=${BASH_REMATCH[1]}
        start "$line" "$addresses"
        jobs+=("$!" "$line")
    elif [ "$addresses" -gt 0 ]; then
        stop_server
        start "$line" "$addresses"
        server=$!
    else
        ( eval "$line" ) </dev/null >/dev/null 2>"$number.log" || fail "exit code $?: $line"
    fi
done <"$1"

finish_jobs
stop_server
exit 0

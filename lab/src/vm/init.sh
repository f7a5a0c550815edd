#!/bin/busybox sh
# The first process of the virtual machine: sets it up, runs /lab/command, sends what it said and its exit status through
# three virtio ports, and ends the machine. Its own messages go to the console.
set -e
export PATH=/bin HOME=/root
/bin/busybox --install -s /bin
trap 'echo "lab: the machine could not be set up"; reboot -f' EXIT

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t securityfs securityfs /sys/kernel/security
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t tmpfs tmpfs /tmp
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
while read -r module; do
    insmod "/lab/modules/$module.ko"
done </lab/modules/order
mount -t ext4 /dev/vda /mnt
ip link set lo up
hostname lab

# The driver makes the ports some time after it is loaded, the last one last.
until [ -c /dev/vport0p3 ]; do usleep 5000; done
# Pipes, as between any two programs: what is written to a virtio port itself takes a route of its own.
mkfifo /lab/out /lab/err
cat /lab/out >/dev/vport0p1 & out=$!
cat /lab/err >/dev/vport0p2 & err=$!
cd /mnt
set +e
# In a shell of its own: this one says "Killed" to the standard error that it gives a command.
(exec /lab/command </dev/null >/lab/out 2>/lab/err)
status=$?

# What the command left running would hold the pipes open for ever.
for process in /proc/[0-9]*; do
    case ${process#/proc/} in
        1 | "$out" | "$err") ;;
        *) kill -9 "${process#/proc/}" 2>/dev/null ;;
    esac
done
wait "$out" "$err"
echo "$status" >/dev/vport0p3
trap - EXIT
reboot -f

#!/usr/bin/env python3
"""Sends a tree over loopback with each contender in turn: tree.py UNDERPASS ROUNDS. Needs 5 GB in /dev/shm."""

import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time

UNDERPASS = os.path.abspath(sys.argv[1])
ROOT = "/dev/shm/underpass-tree"
OUT = f"{ROOT}/out"
CONTENDERS = {
    "underpass": ("exec {U} recv 127.0.0.1:{P} {OUT}/", "exec {U} send src 127.0.0.1:{P}"),
    "tar|nc": ("nc -l 127.0.0.1 {P} | tar xf - -C {OUT}", "tar cSf - src | nc -N 127.0.0.1 {P}"),
    "tar|socat": (
        "socat -u -b 262144 TCP-LISTEN:{P},bind=127.0.0.1 STDOUT | tar xf - -C {OUT}",
        "tar cSf - src | socat -u -b 262144 STDIN TCP:127.0.0.1:{P}",
    ),
    "rsync": (
        "exec rsync --daemon --no-detach --address=127.0.0.1 --port={P} --config=rsyncd.conf",
        "exec rsync -a --whole-file --sparse src rsync://127.0.0.1:{P}/o/",
    ),
}


def plant():
    random.seed(7)
    os.makedirs(f"{ROOT}/src")
    block = os.urandom(1 << 20)
    for directory in range(100):
        os.mkdir(f"{ROOT}/src/d{directory:02}")
        for file in range(100):
            size = int(1024 * 1024 ** random.random())
            with open(f"{ROOT}/src/d{directory:02}/f{file:02}", "wb") as out:
                out.write(block[:size])
    with open(f"{ROOT}/src/sparse", "wb") as out:
        out.truncate(4 << 30)
        out.seek(1 << 30)
        out.write(block)


def cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def await_listener(port):
    end = time.time() + 10
    while time.time() < end:
        with open("/proc/net/tcp") as table:
            fields = [line.split() for line in table]
        if any(f[3] == "0A" and f[1].endswith(f":{port:04X}") for f in fields):
            return
        time.sleep(0.005)
    sys.exit("no listener")


def run(name, port):
    shutil.rmtree(OUT, ignore_errors=True)
    os.mkdir(OUT)
    receive, send = (text.format(P=port, OUT=OUT, U=UNDERPASS) for text in CONTENDERS[name])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    before = cpu()
    receiver = subprocess.Popen(["sh", "-c", receive], **quiet)
    await_listener(port)
    start = time.time()
    if subprocess.call(["sh", "-c", send], **quiet) != 0:
        sys.exit(f"{send} failed")
    if name == "rsync":
        receiver.terminate()
        receiver.wait()
    elif receiver.wait() != 0:
        sys.exit(f"{receive} failed")
    return time.time() - start, cpu() - before


def compare():
    for directory in ("d00", "d57", "d99"):
        subprocess.check_call(["diff", "-r", f"src/{directory}", f"out/src/{directory}"])
    subprocess.check_call(["cmp", "-n", "1200000000", "src/sparse", "out/src/sparse"])


def main():
    plant()
    os.chdir(ROOT)
    with open("rsyncd.conf", "w") as conf:
        conf.write(f"use chroot=no\nuid=0\ngid=0\nlog file=/dev/null\n[o]\npath={OUT}\nread only=no\n")
    samples = {name: [] for name in CONTENDERS}
    port = 9700
    for turn in range(int(sys.argv[2])):
        for name in CONTENDERS:
            port += 1
            samples[name].append(run(name, port))
            if turn == 0:
                compare()
    for name, each in samples.items():
        wall, used = (statistics.median(one[at] for one in each) for at in (0, 1))
        print(f"{name:12} wall {wall:.2f} s  cpu {used:.2f} s", [f"{w:.2f}/{c:.2f}" for w, c in each])
    shutil.rmtree(ROOT)


main()

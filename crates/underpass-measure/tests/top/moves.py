"""Moves known numbers of bytes by each family of calls, and says at the end how many: a list of
family, from, to, bytes.

Waits in read(2) of 100 bytes before it begins and of 101 when it is done, so that whoever looks
from outside can tell.
"""

import ctypes
import json
import mmap
import os
import pty
import socket
import struct
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
expected = {}


def moved(family, source, sink, count):
    key = (family, source, sink)
    expected[key] = expected.get(key, 0) + count


def c(name, *args):
    result = getattr(libc, name)(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        return near, server.accept()[0]


def drain(sock, count):
    while count:
        got = len(sock.recv(count))
        moved("recv", sock_end(sock), "memory", got)
        count -= got


def sock_end(sock):
    if sock.family == socket.AF_UNIX:
        return "unix"
    return "tcp" if sock.type == socket.SOCK_STREAM else "udp"


def files(fd, other):
    moved("read", "file", "memory", len(os.pread(fd, 1000, 0)))
    moved("read", "file", "memory", len(os.read(fd, 2000)))
    moved("read", "file", "memory", os.preadv(fd, [bytearray(30), bytearray(70)], 0))
    moved("read", "file", "memory", os.readv(fd, [bytearray(31), bytearray(71)]))
    moved("write", "memory", "file", os.pwrite(other, bytes(400), 0))
    moved("write", "memory", "file", os.write(other, bytes(500)))
    moved("write", "memory", "file", os.writev(other, [bytes(60), bytes(7)]))
    moved("write", "memory", "file", os.pwritev(other, [bytes(61), bytes(8)], 0))
    moved("copy_file_range", "file", "file", os.copy_file_range(fd, other, 30000, 0, 0))
    with mmap.mmap(fd, 1 << 16, prot=mmap.PROT_READ) as view:
        sum(view[at] for at in range(0, 1 << 16, 4096))


def pipes(fd, other, pair):
    source, sink = os.pipe()
    moved("write", "memory", "pipe", os.write(sink, bytes(700)))
    moved("read", "pipe", "memory", len(os.read(source, 1 << 16)))
    moved("splice", "file", "pipe", c("splice", fd, None, sink, None, 8192, 0))
    second_source, second = os.pipe()
    moved("tee", "pipe", "pipe", c("tee", source, second, 4096, 0))
    moved("splice", "pipe", "tcp", c("splice", source, None, pair[0].fileno(), None, 8192, 0))
    drain(pair[1], 8192)
    moved("splice", "pipe", "file", c("splice", second_source, None, other, None, 4096, 0))
    data = ctypes.create_string_buffer(900)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(data), 900)
    moved("vmsplice", "memory", "pipe", c("vmsplice", sink, vector, 1, 0))
    moved("vmsplice", "pipe", "memory", c("vmsplice", source, vector, 1, 0))
    remote = (ctypes.c_void_p * 2)(ctypes.addressof(data), 600)
    got = c("process_vm_readv", os.getpid(), vector, 1, remote, 1, 0)
    moved("process_vm", "process", "memory", got)


def sockets(fd, pair):
    near, far = pair
    moved("send", "memory", "tcp", near.send(bytes(1100)))
    moved("write", "memory", "tcp", os.write(near.fileno(), bytes(120)))
    moved("send", "memory", "tcp", near.sendmsg([bytes(13), bytes(14)]))
    drain(far, 1100 + 120 + 27)
    moved("sendfile", "file", "tcp", os.sendfile(near.fileno(), fd, 0, 50000))
    drain(far, 50000)
    record = b"\x17\x03\x03\x00\x10" + bytes(16)
    moved("write", "memory", "program_tls", os.write(near.fileno(), record))
    moved("send", "memory", "program_tls", near.sendmsg([record, bytes(5)]))
    drain(far, 47)
    near.setsockopt(socket.SOL_SOCKET, 60, 1)
    moved("zerocopy_send", "memory", "tcp", near.send(bytes(2000), 0x4000000))
    drain(far, 2000)
    left, right = socket.socketpair()
    moved("send", "memory", "unix", left.send(bytes(1300)))
    drain(right, 1300)
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    moved("send", "memory", "udp", one.sendto(bytes(900), one.getsockname()))
    drain(one, 900)
    messages()


def messages():
    """sendmmsg(2) and recvmmsg(2), whose results are numbers of messages."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    headers = (ctypes.c_uint64 * (8 * 3))()
    keep = []
    for at, size in enumerate([10, 20, 30]):
        data = ctypes.create_string_buffer(size)
        vector = (ctypes.c_void_p * 2)(ctypes.addressof(data), size)
        keep += [data, vector]
        headers[8 * at + 2] = ctypes.addressof(vector)
        headers[8 * at + 3] = 1
    assert c("sendmmsg", left.fileno(), headers, 3, 0) == 3
    moved("send", "memory", "unix", 60)
    assert c("recvmmsg", right.fileno(), headers, 3, 0, None) == 3
    moved("recv", "unix", "memory", 60)


def others():
    fd = os.open("/proc/self/status", os.O_RDONLY)
    moved("read", "kernel_file", "memory", len(os.read(fd, 100)))
    _, slave = pty.openpty()
    moved("write", "memory", "terminal", os.write(slave, b"hello there"))
    event = os.eventfd(0)
    moved("write", "memory", "other", os.write(event, (1).to_bytes(8, "little")))
    null = os.open("/dev/null", os.O_WRONLY)
    moved("write", "memory", "other", os.write(null, bytes(40)))
    try:
        os.write(-1, bytes(99))
    except OSError:
        pass


def ring(fd, other, pair):
    """io_uring(7): one request after the other, where the kernel lets it be used."""
    setup, enter = 425, 426
    parameters = (ctypes.c_uint32 * 30)()
    descriptor = libc.syscall(setup, 4, parameters)
    if descriptor < 0:
        return
    sq_off, cq_off = parameters[10:20], parameters[20:30]
    rings = mmap.mmap(descriptor, 4096, offset=0)
    completions = mmap.mmap(descriptor, 4096, offset=0x8000000)
    entries = mmap.mmap(descriptor, 4096, offset=0x10000000)
    word = lambda at: ctypes.c_uint32.from_buffer(rings, at)
    data = ctypes.create_string_buffer(4096)
    for operation, target, size, key in [
        (22, fd, 3000, ("uring_in", "file", "memory")),
        (23, other, 2500, ("uring_out", "memory", "file")),
        (26, pair[0].fileno(), 1500, ("uring_out", "memory", "tcp")),
        (27, pair[1].fileno(), 1500, ("uring_in", "tcp", "memory")),
        (47, pair[0].fileno(), 1700, ("uring_zerocopy_send", "memory", "tcp")),
    ]:
        entry = struct.pack("=BBHiQQI", operation, 0, 0, target, 0, ctypes.addressof(data), size)
        entries[:64] = entry.ljust(64, b"\0")
        tail = word(sq_off[1])
        word(sq_off[6] + 4 * (tail.value & word(sq_off[2]).value)).value = 0
        tail.value += 1
        head = ctypes.c_uint32.from_buffer(completions, cq_off[0])
        assert libc.syscall(enter, descriptor, 1, 1, 1, None, 0) == 1
        mask = ctypes.c_uint32.from_buffer(completions, cq_off[2]).value
        at = cq_off[5] + 16 * (head.value & mask)
        result = ctypes.c_int32.from_buffer(completions, at + 8).value
        assert result == size, (operation, result)
        head.value = ctypes.c_uint32.from_buffer(completions, cq_off[1]).value
        moved(*key, size)
    drain(pair[1], 1700)


def in_thread(fd):
    thread = threading.Thread(target=lambda: os.pread(fd, 123, 0))
    thread.start()
    thread.join()
    moved("read", "file", "memory", 123)


def children(directory):
    """One that forks, one that becomes another program, one that calls as 32-bit programs do."""
    fd = os.open(directory + "/child", os.O_CREAT | os.O_WRONLY)
    if os.fork() == 0:
        os.write(fd, bytes(17))
        os._exit(0)
    os.wait()
    if os.fork() == 0:
        sink = "of=" + directory + "/dd"
        words = ["dd", "if=/dev/zero", sink, "bs=1000", "count=7", "status=none"]
        os.execvp("dd", words)
    os.wait()
    if os.fork() == 0:
        write_by_32_bits(fd)
    os.wait()


def write_by_32_bits(fd):
    """write(2) of 19 bytes by `int 0x80`: a kernel without that ends the process."""
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    low = libc.mmap(None, 4096, 7, 0x62, -1, 0)
    code = bytes.fromhex("53b80400000089fb89f1cd805bc3")
    ctypes.memmove(low, code, len(code))
    libc.prctl(15, b"by-32-bits")
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(low)(fd, low, 19)
    os._exit(0)


def main():
    directory = sys.argv[1]
    fd = os.open(directory + "/source", os.O_CREAT | os.O_RDWR)
    os.write(fd, bytes(1 << 20))
    os.lseek(fd, 0, 0)
    other = os.open(directory + "/other", os.O_CREAT | os.O_RDWR)
    pair = tcp_pair()
    moved("read", "pipe", "memory", len(os.read(0, 100)))
    files(fd, other)
    pipes(fd, other, pair)
    sockets(fd, pair)
    others()
    ring(fd, other, pair)
    in_thread(fd)
    children(directory)
    os.read(0, 101)
    print(json.dumps([[*key, count] for key, count in expected.items()]), flush=True)


main()

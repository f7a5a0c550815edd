"""receive.py tcp | receive.py unix PATH: accepts one connection and writes what comes to standard output."""

import socket
import sys

if sys.argv[1] == "tcp":
    listener = socket.create_server(("127.0.0.1", 0))
    name = listener.getsockname()[1]
else:
    name = sys.argv[2]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen()
print("listening on", name, file=sys.stderr, flush=True)
connection, _ = listener.accept()
while block := connection.recv(1 << 16):
    sys.stdout.buffer.write(block)

"""send.py tcp PORT | send.py unix PATH: connects and sends standard input."""

import socket
import sys

if sys.argv[1] == "tcp":
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
else:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[2])
connection.sendall(sys.stdin.buffer.read())
connection.close()

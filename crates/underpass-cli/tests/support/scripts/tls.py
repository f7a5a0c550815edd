"""A peer with TLS, whose every step is told to it.

tls.py send PORT CA HOW [CERT KEY]   connects, sends standard input, and ends by HOW
tls.py receive CERT KEY HOW FILE     listens, prints its port, and receives to the end into FILE

HOW: close   says the end (close_notify), and waits for the other side's
     cut     ends TCP without a word
     1.2     as close, by TLS 1.2
     wrong   sends a record that no key has sealed, goes on sending, and prints what it is told
"""

import os
import socket
import ssl
import sys


def wrong(connection):
    plain = socket.socket(fileno=os.dup(connection.fileno()))
    # So that it is still sending when the other side finds out.
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    try:
        plain.sendall(bytes(300_000))
        while connection.recv(1 << 20):
            pass
        print("told the end")
    except OSError as error:
        print("told", getattr(error, "reason", None) or error)


def end(connection, how):
    if how == "wrong":
        wrong(connection)
    elif how == "cut":
        # The end of TCP below TLS.
        socket.socket(fileno=connection.detach()).close()
    else:
        connection.unwrap().close()


def limited(context, how):
    if how == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def send(port, ca, how, *identity):
    context = limited(ssl.create_default_context(cafile=ca), how)
    if identity:
        context.load_cert_chain(*identity)
    plain = socket.create_connection(("127.0.0.1", int(port)))
    connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.sendall(sys.stdin.buffer.read())
    end(connection, how)


def receive(cert, key, how, file):
    context = limited(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), how)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", 0))
    print("listening on", listener.getsockname()[1], file=sys.stderr, flush=True)
    plain, _ = listener.accept()
    connection = context.wrap_socket(plain, server_side=True)
    with open(file, "wb") as out:
        # At the end of TCP without close_notify this raises SSLEOFError.
        while part := connection.recv(1 << 20):
            out.write(part)
    end(connection, how)


{"send": send, "receive": receive}[sys.argv[1]](*sys.argv[2:])

"""Between an ACME client and pebble: adds renewal information (RFC 9773).

renewal_info.py ADDRESS CERT KEY DAYS ORDERS [ECHO]
   listens at ADDRESS:14001; pebble is at ADDRESS:14000

It suggests to renew every certificate in as many days as the file DAYS says, and adds each order
that a client makes to the file ORDERS, as a line of JSON. With ECHO it repeats, as it must, which
certificate an order replaces.
"""

import base64
import datetime
import http.client
import http.server
import json
import ssl
import sys

ADDRESS, CERT, KEY, DAYS, ORDERS = sys.argv[1:6]
ECHOES = sys.argv[6:] == ["echo"]


def suggestion():
    with open(DAYS) as file:
        days = int(file.read())
    now = datetime.datetime.now(datetime.timezone.utc)
    moment = now + datetime.timedelta(days=days, minutes=10)
    start, end = (moment + datetime.timedelta(minutes=it) for it in (0, 10))
    shown = [it.strftime("%Y-%m-%dT%H:%M:%SZ") for it in (start, end)]
    return {"suggestedWindow": dict(zip(("start", "end"), shown))}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        if self.path.startswith("/renewal-info/"):
            return self.answer(200, [("Retry-After", "3600")], json.dumps(suggestion()).encode())
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        order = self.order(body) if self.path == "/order-plz" else {}
        # Pebble makes its URLs, and checks those of requests, by the field Host.
        pebble = http.client.HTTPSConnection(ADDRESS, 14000, context=ssl._create_unverified_context())
        pebble.request(self.command, self.path, body, dict(self.headers))
        response = pebble.getresponse()
        content = response.read()
        if self.path == "/dir":
            directory = json.loads(content)
            directory["renewalInfo"] = f"https://{ADDRESS}:14001/renewal-info"
            content = json.dumps(directory).encode()
        if ECHOES and response.status == 201 and "replaces" in order:
            content = json.dumps(json.loads(content) | {"replaces": order["replaces"]}).encode()
        left_out = ("content-length", "transfer-encoding", "connection")
        fields = [it for it in response.getheaders() if it[0].lower() not in left_out]
        self.answer(response.status, fields, content)

    def order(self, body):
        payload = base64.urlsafe_b64decode(json.loads(body)["payload"] + "==").decode()
        with open(ORDERS, "a") as file:
            file.write(payload + "\n")
        return json.loads(payload)

    do_GET = do_HEAD = do_POST = handle_any

    def answer(self, status, fields, content):
        self.send_response_only(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


server = http.server.ThreadingHTTPServer((ADDRESS, 14001), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
# The handshake is made by the thread that answers.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("listening", flush=True)
server.serve_forever()

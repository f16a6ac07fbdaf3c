"""A proxy between Medlift and the S3 of LocalStack. It disturbs the first three reads of an object.

The first read gets status 503. The second answer is cut short. The third answer stalls.
"""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STALL_SECONDS = 25
GOOD_BYTES = 20_000
FAULTS = ("busy", "cut", "stall")


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port, spoiled_key):
        super().__init__(("127.0.0.1", 0), Handler)
        self.backend, self.spoiled_key = port, spoiled_key
        self.faults, self.injected, self.lock = list(FAULTS), [], threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def next_fault(self, method, path):
        with self.lock:
            if method != "GET" or self.spoiled_key not in path or not self.faults:
                return None
            self.injected.append(self.faults.pop(0))
            return self.injected[-1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        fault = self.server.next_fault(self.command, self.path)
        if fault == "busy":
            self.send_response(503, "Slow Down")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        length = int(self.headers.get("Content-Length", 0))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.backend, timeout=60)
        connection.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if fault is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[:GOOD_BYTES])
        self.wfile.flush()
        if fault == "stall":
            time.sleep(STALL_SECONDS)
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

    def log_message(self, *_):
        pass

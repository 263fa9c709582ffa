"""A local HTTP server of a folder that lists it as pages of links and, if asked to, knows ranges."""

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler

from tests.local_server import LocalServer


class FileServer(LocalServer):
    """Serves a folder; notes what is asked for as (method, path, range), and fails as often as it is told to."""

    def __init__(self, folder, ranges=True, listing=True):
        super().__init__(functools.partial(Handler, directory=str(folder)))
        self.ranges = ranges
        self.listing = listing
        self.failures = 0
        self.broken_from = None  # bytes from here on are not served
        self.truncated_to = None  # so many bytes of a range are sent, where it has more
        self.on_range = None  # called with the path when a range was sent
        self.fault = None  # asked before a file is served: a status, "stall", "loop", or None
        self.headers = {}  # sent with a faulty status
        self.stalled = threading.Event()  # set when the test is over
        self.requests = []
        self.stalling = threading.Event()  # set when somebody is kept waiting

    def __exit__(self, *exception):
        self.stalled.set()
        super().__exit__(*exception)


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def is_broken(self, span):
        if self.server.failures:
            self.server.failures -= 1
            return True
        broken_from = self.server.broken_from
        return broken_from is not None and span and int(span.removeprefix("bytes=").partition("-")[0]) >= broken_from

    def list_directory(self, path):
        return super().list_directory(path) if self.server.listing else self.send_error(403)

    def is_faulty(self):
        fault = self.server.fault and self.server.fault(self.path)
        if fault == "stall":  # the first bytes, and then nothing
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            self.server.stalling.set()
            self.server.stalled.wait(60)
        elif fault == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault:
            self.send_response(fault)
            for name, value in {"Content-Length": "0", **self.server.headers}.items():
                self.send_header(name, value)
            self.end_headers()
        return bool(fault)

    def do_HEAD(self):
        if not self.is_faulty():
            super().do_HEAD()

    def do_GET(self):
        if self.is_faulty():
            return
        span = self.headers.get("Range")
        self.server.requests.append((self.command, self.path, span))
        path = self.translate_path(self.path)
        if os.path.isfile(path) and self.is_broken(span):
            self.send_error(503)
        elif span and self.server.ranges and os.path.isfile(path):
            size = os.path.getsize(path)
            start, _, stop = span.removeprefix("bytes=").partition("-")
            start, stop = int(start), min(int(stop or size - 1), size - 1)
            with open(path, "rb") as file:
                file.seek(start)
                data = file.read(stop - start + 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop}/{size}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: self.server.truncated_to])
            if self.server.on_range:
                self.server.on_range(self.path)
        else:
            super().do_GET()

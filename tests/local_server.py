"""What the servers of the tests have in common."""

import threading
from http.server import ThreadingHTTPServer


class LocalServer(ThreadingHTTPServer):
    """A server on this machine, which serves as long as its context lasts."""

    def __init__(self, handler):
        handler.disable_nagle_algorithm = True  # or each answer would wait 40 ms for the one before to be acknowledged
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()

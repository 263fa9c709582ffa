import contextlib
import threading


@contextlib.contextmanager
def serving(server):
    """A server that serves, in a thread."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(30)
        assert not thread.is_alive()

"""A small web server: the page, what it lists, and sound and pictures rendered when they are asked for."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import numpy.typing as npt

from ..errors import HiveError
from ..export.encoding import Encoding
from ..mixing import Mixer, RenderedMixture
from ..utils.pictures import draw_signal, loudest_of
from .collection import Collection, describe_recipe

#: Mixtures that stay rendered: those of a page, some 5 MB each.
_KEPT_MIXTURES = 24
#: Mixtures of a page of the list.
PAGE_ROWS = 12
_ENCODING = Encoding("wav", "PCM_16")
_RANGE = re.compile(r"bytes=(\d{0,12})-(\d{0,12})")


class BrowseServer(ThreadingHTTPServer):
    """Serves mixtures to web browsers.

    Args:
        collection: the mixtures.
        mixer: renders them.
        host: address to listen at; that of this machine alone by default.
        port: port to listen at; 0 for any that is free.
        note: shown on the page.

    Raises:
        OSError: the address cannot be listened at.
    """

    daemon_threads = True
    #: Of others, those that a browser opened are kept waiting; more are turned away, before descriptors run out.
    max_connections = 64

    def __init__(
        self, collection: Collection, mixer: Mixer, host: str = "127.0.0.1", port: int = 0, note: str = ""
    ) -> None:
        self.collection, self.mixer, self.note = collection, mixer, note
        self._lock = threading.Lock()
        self._free = threading.Semaphore(self.max_connections)
        self._render = functools.lru_cache(_KEPT_MIXTURES)(self._render_anew)
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        self.is_local = ipaddress.ip_address(str(self.server_address[0])).is_loopback

    def get_request(self) -> tuple[socket.socket, Any]:
        """As `socketserver` has it; where there are no descriptors, not again at once."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """As `socketserver` has it, up to a number of connections."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As `socketserver` has it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def explain(self, error: HiveError) -> str:
        """An error as a page may show it: to others, without where the files of this machine are."""
        if self.is_local:
            return str(error)
        print(error, file=sys.stderr, flush=True)
        mix_id, source_id = (getattr(error, name, None) for name in ("mix_id", "source_id"))
        what = f"mixture {mix_id}" + (f", source {source_id}" if source_id else "") if mix_id else "it"
        return f"{what} cannot be rendered ({type(error).__name__}); whoever started this server is told why"

    @property
    def url(self) -> str:
        """Its address."""
        host = str(self.server_address[0])
        if ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def signal(self, row: int, name: str) -> tuple[npt.NDArray[np.float32], int, float]:
        """A signal of a mixture, "mix" or "s1", ...; its rate in Hz; and what `loudest_of` says of the mixture.

        Raises:
            IndexError: there is no such mixture or signal.
            HiveError: it cannot be rendered.
        """
        # one at a time: a page asks for all signals of a mixture at once, and they are rendered together
        with self._lock:
            rendered, loudest = self._render(row)
        signals = {"mix": rendered["mix"], **{f"s{n}": s for n, s in enumerate(rendered["sources"], start=1)}}
        if name not in signals:
            raise IndexError(f"mixture {row} has no signal {name!r}, but {', '.join(signals)}")
        return signals[name], rendered["sampling_rate"], loudest

    def list_page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """A page of the mixtures that a query asks for."""
        rows = self.collection.find(query)
        offset = query.get("offset", ["0"])[0]
        if not re.fullmatch(r"\d{1,9}", offset):
            raise ValueError(f"offset must be a number, not {offset[:20]!r}")
        first = int(offset)
        chosen = rows[first : first + PAGE_ROWS].tolist()
        return {
            "total": len(rows),
            "mixtures": [describe_recipe(row, self.collection.recipe(row)) for row in chosen],
        }

    def _render_anew(self, row: int) -> tuple[RenderedMixture, float]:
        rendered = self.mixer(self.collection.recipe(row))
        return rendered, loudest_of(rendered["mix"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    #: Seconds after which a connection on which nothing is asked for is closed.
    timeout = 30

    @property
    def _browse(self) -> BrowseServer:
        return cast(BrowseServer, self.server)

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a browser that has gone
            super().handle()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        try:
            url = urlsplit(self.path)
            body, type_ = self._answer(unquote(url.path), parse_qs(url.query))
            self._send(200, body, type_)
        except (IndexError, ValueError) as error:
            self._send_error(404, str(error))
        except HiveError as error:
            self._send_error(500, self._browse.explain(error))
        except (MemoryError, OverflowError) as error:
            self._send_error(500, f"it cannot be rendered: {type(error).__name__}: {error}")
        except (BrokenPipeError, ConnectionResetError):  # a player has heard enough
            self.close_connection = True

    def _answer(self, path: str, query: dict[str, list[str]]) -> tuple[bytes, str]:
        if self._browse.is_local and not _is_this_machine(self.headers.get("Host", "")):
            raise ValueError("this server answers this machine only")  # not a page that points a name of its own here
        if path == "/":
            return _page(), "text/html; charset=utf-8"
        if path == "/facets":
            facets = {"total": len(self._browse.collection), "note": self._browse.note}
            return _to_json({**facets, **self._browse.collection.describe()}), "application/json"
        if path == "/mixtures":
            return _to_json(self._browse.list_page(query)), "application/json"
        wanted = re.fullmatch(r"/(\d{1,9})/(mix|s\d+)\.(wav|png)", path)
        if wanted is None:
            raise ValueError(f"there is no {path}")
        signal, rate, loudest = self._browse.signal(int(wanted[1]), wanted[2])
        if wanted[3] == "wav":
            return _ENCODING.encode(signal, rate)[0], "audio/wav"
        return draw_signal(signal, rate, loudest), "image/png"

    def _send(self, status: int, body: bytes, type_: str) -> None:
        """Send a body, or the part of it that is asked for: players seek by it."""
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        headers = {"Content-Type": type_, "Accept-Ranges": "bytes"}
        if found and status == 200 and (found[1] or found[2]):
            total = len(body)
            start = int(found[1]) if found[1] else max(0, total - int(found[2]))
            stop = min(int(found[2]) + 1, total) if found[1] and found[2] else total
            if start >= stop:
                status, body, headers["Content-Range"] = 416, b"", f"bytes */{total}"
            else:
                status, body, headers["Content-Range"] = 206, body[start:stop], f"bytes {start}-{stop - 1}/{total}"
        self.send_response(status)
        # what a row is, another run of this server may see otherwise
        for name, value in {**headers, "Content-Length": str(len(body)), "Cache-Control": "no-store"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_error(self, status: int, message: str) -> None:
        self._send(status, _to_json({"error": message}), "application/json")


def _is_this_machine(host: str) -> bool:
    name = re.sub(r":\d+$", "", host).strip("[]").casefold()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@functools.cache
def _page() -> bytes:
    return resources.files("hive_datasets.browsing").joinpath("page.html").read_bytes()


def _to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")

"""What web browsers are answered: the page, what it lists, and sound and pictures rendered when they are asked for.

Connections are waitress', requests and ranges are Werkzeug's.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import ipaddress
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import HiveError, SourceError, SourceRootError
from ..export.encoding import Encoding
from ..mixing import Mixer, RenderedMixture
from ..utils.pictures import can_draw, draw_signal, loudest_of, place_frequencies
from .collection import Collection, describe_recipe

#: Mixtures that stay rendered: those of a page, some 5 MB each.
_KEPT_MIXTURES = 24
#: Mixtures of a page of the list.
PAGE_ROWS = 12
#: Connections at once, and seconds after which one on which nothing is asked for is closed.
_MAX_CONNECTIONS, _IDLE_SECONDS = 64, 30
_ENCODING = Encoding("wav", "PCM_16")


class _Rendered:
    """A mixture that stays rendered."""

    def __init__(self, mixture: RenderedMixture) -> None:
        self.mixture = mixture

    @functools.cached_property
    def loudest(self) -> float:
        """What `loudest_of` says of it: pictures only ask for that, since librosa takes its time before the first."""
        return loudest_of(self.mixture["mix"], self.mixture["sampling_rate"])


class BrowseServer:
    """Serves mixtures to web browsers.

    Args:
        collection: the mixtures.
        mixer: renders them.
        host: address to listen at; that of this machine alone by default.
        port: port to listen at; 0 for any that is free.
        note: shown on the page.
        max_connections: at once; more have to wait.
        idle_seconds: after which a connection on which nothing is asked for is closed.

    Raises:
        OSError: the address cannot be listened at.
        HiveError: waitress and Werkzeug are not installed.
    """

    def __init__(
        self,
        collection: Collection,
        mixer: Mixer,
        host: str = "127.0.0.1",
        port: int = 0,
        note: str = "",
        max_connections: int = _MAX_CONNECTIONS,
        idle_seconds: int = _IDLE_SECONDS,
    ) -> None:
        self.collection, self.mixer, self.note = collection, mixer, note
        self._lock = threading.Lock()
        self._render = functools.lru_cache(_KEPT_MIXTURES)(self._render_anew)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
        self.server_address: tuple[str, int] = listening.getsockname()[:2]
        self.is_local = ipaddress.ip_address(self.server_address[0]).is_loopback
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a page asks for several pictures at once
        self._is_serving = False
        self._requests = _import("werkzeug.wrappers")
        self._server = _import("waitress").create_server(
            self._requests.Request.application(self._answer),
            sockets=[listening],
            connection_limit=max_connections,
            channel_timeout=idle_seconds,
            cleanup_interval=min(idle_seconds, 5),
            ident=None,
        )

    def serve_forever(self) -> None:
        """Serve until Ctrl-C, or until it is closed."""
        self._is_serving = True
        try:
            self._server.run()
        finally:
            self._is_serving = False
            self._server.task_dispatcher.shutdown()
            self._release()

    def close(self) -> None:
        """Serve no more; from any thread."""
        if self._is_serving:
            with contextlib.suppress(OSError):  # the thread that serves was awake, and has done so already
                self._server.trigger.pull_trigger(self._release)
        else:
            self._release()

    def _release(self) -> None:
        _import("waitress.wasyncore").close_all(self._server._map, ignore_all=True)

    @property
    def url(self) -> str:
        """Its address."""
        host, port = self.server_address
        if ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def explain(self, error: HiveError) -> str:
        """An error as a page may show it: to others, without where the files of this machine are."""
        if self.is_local:
            return str(error)
        print(error, file=sys.stderr, flush=True)
        mix_id, source_id = (getattr(error, name, None) for name in ("mix_id", "source_id"))
        what = f"mixture {mix_id}" + (f", source {source_id}" if source_id else "") if mix_id else "it"
        return f"{what} cannot be rendered ({type(error).__name__}); whoever started this server is told why"

    def signal(self, row: int, name: str) -> tuple[npt.NDArray[np.float32], _Rendered]:
        """A signal of a mixture, "mix" or "s1", ..., and with what it was rendered.

        Of a mixture that cannot be rendered, its sources are, but for those that cannot be read.

        Raises:
            IndexError: there is no such mixture or signal.
            HiveError: it cannot be rendered.
        """
        recipe = self.collection.recipe(row)
        names = ["mix", *(f"s{n}" for n in range(1, recipe.num_sources + 1))]
        if name not in names:
            raise IndexError(f"mixture {row} has no signal {name!r}, but {', '.join(names)}")
        number = names.index(name)
        # one at a time: a page asks for all signals of a mixture at once, and they are rendered together
        with self._lock:
            try:
                rendered = self._render(row, None)
            except (SourceError, SourceRootError):
                if name == "mix":
                    raise
                rendered = self._render(row, number - 1)
                number = 1
        mixture = rendered.mixture
        return mixture["sources"][number - 1] if number else mixture["mix"], rendered

    def _render_anew(self, row: int, source: int | None) -> _Rendered:
        recipe = self.collection.recipe(row)
        if source is not None:
            recipe = replace(recipe, sources=(recipe.sources[source],))
        return _Rendered(self.mixer(recipe))

    def _answer(self, request: Any) -> Any:
        """A response to a request."""
        try:
            body, type_ = self._find(request)
        except (IndexError, ValueError) as error:
            return self._refuse(404, str(error))
        except HiveError as error:
            return self._refuse(500, self.explain(error))
        except (MemoryError, OverflowError) as error:
            return self._refuse(500, f"it cannot be rendered: {type(error).__name__}: {error}")
        response = self._requests.Response(body, content_type=type_)
        response.cache_control.no_store = True  # what a row is, another run of this server may see otherwise
        response.accept_ranges = "bytes"
        if request.range is None or request.range.units != "bytes":  # none is asked for, or it is none
            return response
        try:
            return response.make_conditional(request, accept_ranges=True, complete_length=len(body))
        except _import("werkzeug.exceptions").RequestedRangeNotSatisfiable:
            return self._requests.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})

    def _find(self, request: Any) -> tuple[bytes, str]:
        if self.is_local and not _is_this_machine(request.headers.get("Host", "")):
            raise ValueError("this server answers this machine only")  # not a page that points a name of its own here
        path, query = request.path, request.args.to_dict(flat=False)
        answers: dict[str, Callable[[], Any]] = {"/facets": self._describe, "/mixtures": lambda: self._list(query)}
        if path == "/":
            return _page(), "text/html; charset=utf-8"
        if path in answers:
            return _to_json(answers[path]()), "application/json"
        wanted = re.fullmatch(r"/(\d{1,9})/(mix|s\d+)\.(wav|png)", path)
        if wanted is None or (wanted[3] == "png" and not can_draw()):
            raise ValueError(f"there is no {path}")
        signal, rendered = self.signal(int(wanted[1]), wanted[2])
        rate = rendered.mixture["sampling_rate"]
        if wanted[3] == "wav":
            return _ENCODING.encode(signal, rate)[0], "audio/wav"
        return draw_signal(signal, rate, rendered.loudest), "image/png"

    def _describe(self) -> dict[str, Any]:
        about = {"total": len(self.collection), "note": self.note, "has_pictures": can_draw()}
        return {**about, **self.collection.describe()}

    def _list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """A page of the mixtures that a query asks for."""
        rows = self.collection.find(query)
        offset = query.get("offset", ["0"])[0]
        if not re.fullmatch(r"\d{1,9}", offset):
            raise ValueError(f"offset must be a number, not {offset[:20]!r}")
        first = int(offset)
        mixtures = []
        for row in rows[first : first + PAGE_ROWS].tolist():
            recipe = self.collection.recipe(row)
            rate = self.mixer.sampling_rate or recipe.sample_rate
            frequencies = place_frequencies(rate) if can_draw() else []
            mixtures.append({**describe_recipe(row, recipe), "frequencies": frequencies})
        return {"total": len(rows), "mixtures": mixtures}

    def _refuse(self, status: int, message: str) -> Any:
        return self._requests.Response(_to_json({"error": message}), status, content_type="application/json")


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


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise HiveError("a page needs a web server: pip install 'hive-datasets[browse]'") from None

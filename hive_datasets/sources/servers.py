"""Asking servers: for how long, how often, and what their failures mean.

Only a server's own word that a file is not there (404, 410) makes it missing. Everything else says something of the
server: what may pass is tried again, after the time that the server asks for or after pauses that double, and what
stays is a `SourceUnreachableError`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec

from ..errors import HiveError, SourceNotFoundError, SourceRootError, SourceUnreachableError, describe

#: For how many seconds a connection, or the next bytes of an answer, is waited for.
TIMEOUT_VARIABLE = "HIVE_TIMEOUT"
DEFAULT_TIMEOUT = 30.0
#: Seconds before the second attempt, which double until the longest; and how long a server may ask to be left alone.
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_REQUEST = 0.1, 10.0, 60.0
#: Attempts, if the server answers that it cannot just now; if there is no connection, or it breaks; if it is silent.
_BUSY_ATTEMPTS, _BROKEN_ATTEMPTS, _SILENT_ATTEMPTS = 10, 4, 2
_GONE = frozenset({404, 410})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
#: What installs a protocol's package.
_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http"}

Answer = TypeVar("Answer")


def ask(url: str, request: Callable[[Any, str], Answer]) -> Answer:
    """What a request to the server of a URL gives.

    Args:
        url: the file or folder that it is about.
        request: called with the filesystem and the path in it, again after failures that may pass.

    Raises:
        SourceNotFoundError: the server says that it is not there.
        SourceUnreachableError: the server fails, refuses or does not answer.
        SourceRootError: there is no such protocol, or its package is missing.
    """
    return ask_for(url, lambda: request(*open_filesystem(url)))


def ask_for(url: str, request: Callable[[], Answer]) -> Answer:
    """As `ask`, of a request that has a way of its own to the server of a URL."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return request()
        except HiveError:
            raise
        except Exception as error:  # every protocol has exceptions of its own
            failure = _Failure.of(error)
            if failure.is_missing:
                raise SourceNotFoundError("there is no such file") from None
            if attempt >= failure.attempts or failure.asked_pause > _LONGEST_REQUEST:
                raise failure.explain(url, attempt) from None
        time.sleep(max(failure.asked_pause, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1))))


def open_filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and the path in it.

    Raises:
        SourceRootError: there is no such protocol, or its package is missing.
    """
    protocol = url.partition("://")[0]
    try:
        # looked up again each time: fsspec keeps one for each process and thread, since none survives a fork
        fs, path = fsspec.core.url_to_fs(url, **_options(protocol))
        if protocol in ("s3", "s3a"):  # it would try five times for each time of `ask`
            fs.retries = 1
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        hint = f' (pip install "hive-datasets[{extra}]")' if extra else ""
        raise SourceRootError(f"{url}: {error}{hint}") from None
    except ValueError as error:
        raise SourceRootError(f"{url}: {error}") from None
    return fs, path


def find_timeout() -> float:
    """For how many seconds servers are waited for: 30, or what ``HIVE_TIMEOUT`` says.

    Raises:
        SourceRootError: the environment variable is not a number of seconds.
    """
    try:
        return parse_timeout(os.environ.get(TIMEOUT_VARIABLE, str(DEFAULT_TIMEOUT)))
    except ValueError as error:
        raise SourceRootError(f"{TIMEOUT_VARIABLE} {error}") from None


def parse_timeout(text: str) -> float:
    """A number of seconds, of less than a day.

    Raises:
        ValueError: it is none.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 86400.0:
        raise ValueError(f"must be a number of seconds, such as 30, not {text!r}")
    return seconds


def _options(protocol: str) -> dict[str, Any]:
    """What makes a filesystem give up on a silent server, with what the user has configured fsspec to."""
    seconds = find_timeout()
    if protocol in ("http", "https"):
        import aiohttp

        options = _configured(("http", "https"), "client_kwargs")
        timeout = aiohttp.ClientTimeout(None, sock_connect=seconds, sock_read=seconds)
        return {"client_kwargs": {"timeout": timeout, **options}}
    if protocol in ("s3", "s3a"):
        options = _configured(("s3", "s3a"), "config_kwargs")
        own = {"connect_timeout": seconds, "read_timeout": seconds, "retries": {"max_attempts": 0}}  # `ask` tries again
        return {"config_kwargs": {**own, **options}}
    return {}


def _configured(protocols: tuple[str, ...], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for protocol in protocols:
        found |= fsspec.config.conf.get(protocol, {}).get(name, {})
    return found


@dataclass(frozen=True)
class _Failure:
    """Why a request failed.

    Attributes:
        reason: in words; empty for silence.
        attempts: how many are worth it.
        status: of HTTP; 0 if there was no answer.
        is_missing: whether the server says that there is no such file.
        asked_pause: for how many seconds the server asks to be left alone.
    """

    reason: str
    attempts: int
    status: int = 0
    is_missing: bool = False
    asked_pause: float = 0.0

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        """Read it off an exception; fsspec makes a FileNotFoundError of any failure, and keeps that as its cause."""
        chain = list(_causes(error))
        status = next(filter(None, map(_status_of, chain)), 0)
        if status in _GONE or (isinstance(error, FileNotFoundError) and len(chain) == 1):
            return cls("", 1, status, is_missing=True)
        root = chain[-1]
        if status:
            holders = [holder for each in chain for holder in (each, getattr(each, "response", None))]
            headers: Any = next((found for each in holders if (found := getattr(each, "headers", None))), {})
            attempts = _BUSY_ATTEMPTS if status in _BUSY else 1
            words = f"it answers {status} ({getattr(root, 'message', '') or describe(root)})"
            return cls(words, attempts, status, asked_pause=_seconds(headers.get("Retry-After")))
        if any(isinstance(each, TimeoutError) or "Timeout" in type(each).__name__ for each in chain):
            return cls("", _SILENT_ATTEMPTS)
        if isinstance(root, PermissionError) or "Redirect" in type(root).__name__:
            return cls(describe(root) or type(root).__name__, 1)
        return cls(describe(root), _BROKEN_ATTEMPTS)

    def explain(self, url: str, attempts: int) -> SourceUnreachableError:
        """As an error that names the server and how long it was waited for."""
        parts = urlsplit(url)
        server = f"{parts.scheme}://{parts.netloc}"
        tried = f", {attempts} times" if attempts > 1 else ""
        if self.asked_pause > _LONGEST_REQUEST:
            tried += f", and asks to be left alone for {self.asked_pause:,.0f} s"
        silence = f"it did not answer within {find_timeout():g} s ({TIMEOUT_VARIABLE})"
        found = SourceUnreachableError(f"{server} cannot be reached: {self.reason or silence}{tried}")
        found.status = self.status
        return found


def _causes(error: BaseException) -> Iterator[BaseException]:
    while True:
        yield error
        if error.__cause__ is None:
            return
        error = error.__cause__


def _status_of(error: BaseException) -> int:
    """The status of HTTP, wherever a protocol's exceptions have it."""
    response = getattr(error, "response", None)
    candidates = [
        getattr(error, "status", None),
        getattr(response, "status_code", None),
        response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None,
    ]
    # of a loop of redirects it is that of the last, which is no failure
    return next((int(status) for status in candidates if isinstance(status, int) and status >= 400), 0)


def _seconds(value: str | None) -> float:
    """A Retry-After: a number of seconds, or a date."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0

"""Answers that were given before, on disk: asking again costs time, or money."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from ..errors import BackendError
from .protocols import Answer, Clip, Question

#: How long a process waits for another that writes.
_PATIENCE_SECONDS = 60.0


class AnswerCache:
    """A file of answers, by what was asked: the samples, the question, the model and its settings.

    Args:
        file: of SQLite; several processes may use it at once.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> cache = AnswerCache(Path(tempfile.mkdtemp()) / "answers.sqlite")
        >>> key = key_of(Clip(np.zeros(10, np.float32), 16000), Question("?", ("a",), ("",)), {"model": "m"})
        >>> cache.find(key), cache.keep(key, Answer("a", {"a": 1.0})), cache.find(key)
        (None, None, Answer(choice='a', probabilities={'a': 1.0}, problem=''))
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def find(self, key: str) -> Answer | None:
        """The answer that was kept, if there is one."""
        with self._opened() as database:
            row = database.execute("select answer from answers where key = ?", (key,)).fetchone()
        if row is None:
            return None
        choice, probabilities = json.loads(row[0])
        return Answer(choice, probabilities)

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer that makes sense."""
        text = json.dumps([answer.choice, dict(answer.probabilities)])
        with self._opened() as database, database:
            database.execute("insert or replace into answers values (?, ?)", (key, text))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.file, timeout=_PATIENCE_SECONDS)
            with contextlib.closing(database):
                database.execute("create table if not exists answers (key text primary key, answer text)")
                yield database
        except (sqlite3.Error, OSError) as error:
            raise BackendError(
                f"answers cannot be kept in {self.file}: {error}. Remove it, or choose another."
            ) from None


def key_of(clip: Clip, question: Question, settings: dict[str, Any]) -> str:
    """What tells a question about a clip from all others."""
    asked = json.dumps([clip.sampling_rate, question.text, question.choices, settings], sort_keys=True)
    return xxhash.xxh3_128_hexdigest(clip.samples.tobytes() + asked.encode())

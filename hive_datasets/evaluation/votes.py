"""Votes of listeners, as the page of a comparison saves them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import EvaluationError, describe
from .comparison import Comparison, find_p_value

_CHOICES = ("a", "b", "equal")


@dataclass(frozen=True)
class Votes:
    """What listeners preferred.

    Attributes:
        a: votes for the first run.
        b: votes for the second.
        equal: for neither.
        listeners: files of votes.
        p_value: of the sign test: how likely so uneven a count is if they are equally good.
    """

    a: int
    b: int
    equal: int
    listeners: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def count_votes(files: Sequence[str | os.PathLike[str]], comparison: Comparison) -> Votes:
    """Count the votes of files, each a listener's.

    Args:
        files: as the page saves them.
        comparison: of the runs that they are about.

    Raises:
        EvaluationError: a file cannot be read, is none, or is about other runs.
    """
    counts: Counter[str] = Counter()
    wanted = (comparison.a.summary["separator"], comparison.b.summary["separator"], comparison.a.summary["data_hash"])
    for file in files:
        try:
            found = json.loads(Path(file).read_text(encoding="utf-8"))
            about = (found["a"], found["b"], found["data_hash"])
            choices = [str(vote["vote"]) for vote in found["votes"]]
        except OSError as error:
            raise EvaluationError(f"{file} cannot be read: {describe(error)}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{file} has no votes as the page of a comparison saves them: {error!r}") from None
        if about != wanted or not set(choices) <= set(_CHOICES):
            raise EvaluationError(f"{file} has votes on {about[0]} and {about[1]}, not on {wanted[0]} and {wanted[1]}")
        counts.update(choices)
    return Votes(counts["a"], counts["b"], counts["equal"], len(files), find_p_value(counts["b"], counts["a"]))

"""What an evaluation comes to: numbers, counts of what they stand on, and what they were reckoned with."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from .aggregation import Scores, number_or_none

#: What a summary breaks numbers down by.
GROUPS = ("split", "num_sources", "snr", "corpus", "level 1", "level 2", "label")
#: Packages whose versions may matter to a score.
_PACKAGES = ("hive-datasets", "datasets", "numpy", "pyarrow", "scipy", "soxr", "soundfile", "torch", "torchmetrics")
#: Errors that are told, the most frequent first.
_ERRORS_TOLD = 10


def summarize(table: pa.Table, columns: Sequence[str], about: Mapping[str, Any]) -> dict[str, Any]:
    """What a table of targets comes to, for JSON.

    The mean of each column stands under its name; ``metrics`` has the same with intervals, medians and counts, ``by``
    that of each group. `asked` is how many targets there are, `scored` how many were given an estimate, `failed` how
    many were not; `silent`, in how many of those that were, silence is right, so that ratios have no meaning.

    Args:
        table: as of `Evaluation`.
        columns: of scores.
        about: what else there is to say.
    """
    scores = Scores(table)
    failed = len(table) - table.column("error").null_count
    scored = table.filter(pc.is_null(table.column("error")))
    aggregates = {name: scores.aggregate(name) for name in columns}
    seconds = scored.column("seconds").to_numpy()
    return {
        **about,
        "asked": len(table),
        "scored": len(scored),
        "failed": failed,
        "silent": int(pc.sum(pc.is_null(scored.column("snr_db"))).as_py() or 0) if len(scored) else 0,
        "mixtures": scores.num_mixtures,
        "errors": dict(Counter(filter(None, table.column("error").to_pylist())).most_common(_ERRORS_TOLD)),
        **{name: number_or_none(each.mean.value) for name, each in aggregates.items()},
        "seconds_per_target": number_or_none(float(np.mean(seconds))) if len(seconds) else None,
        "metrics": {name: each.to_dict() for name, each in aggregates.items()},
        "by": {
            kind: {
                name: {group: each.to_dict() for group, each in scores.aggregate_by(kind, name).items()}
                for name in columns
            }
            for kind in GROUPS
        },
        "scored_hash": hash_targets(scored),
        "versions": find_versions(),
    }


def hash_targets(table: pa.Table) -> str:
    """What tells a set of targets from others, in any order.

    Example:
        >>> rows = [{"split": "test", "mix_id": name, "label": "Dog", "start_second": 0.0} for name in "ab"]
        >>> hash_targets(pa.Table.from_pylist(rows)) == hash_targets(pa.Table.from_pylist(rows[::-1]))
        True
    """
    keys = zip(*(table.column(name).to_pylist() for name in ("split", "mix_id", "label", "start_second")), strict=True)
    hashed = xxhash.xxh3_64()
    for key in sorted(map(repr, keys)):
        hashed.update(key.encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()


def find_versions() -> dict[str, str]:
    """Of what is installed of what may matter."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

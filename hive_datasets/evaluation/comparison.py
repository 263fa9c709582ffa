"""Two evaluations of the same targets: which is better, by how much, and is that more than chance?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import EvaluationError
from .aggregation import Aggregate, Interval, Scores, number_or_none
from .metrics import LESS_IS_BETTER, METRICS
from .results import Evaluation
from .summary import GROUPS

#: Mixtures that differ by less, in dB, are equal: that is rounding, not separation.
_EQUAL_DB = 1e-3
#: Below that, a sign test says that it is more than chance.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Difference:
    """Two runs by one metric, of the targets that both have scored.

    Attributes:
        metric: the column.
        a: the mean of the first run.
        b: that of the second.
        difference: the mean of b - a over targets, with an interval that draws mixtures.
        better: mixtures on whose targets b is better, on average.
        worse: mixtures on whose targets a is.
        equal: mixtures on which they are the same; of what is in dB, to 0.001 dB.
        p_value: of the sign test over mixtures: how likely so uneven a count is if both are equally good.
        targets: how many both have scored.
    """

    metric: str
    a: float
    b: float
    difference: Interval
    better: int
    worse: int
    equal: int
    p_value: float
    targets: int

    @property
    def verdict(self) -> str:
        """Whether b is "better" or "worse", if neither interval nor sign test leaves that to chance, or "undecided"."""
        low, high = sorted((self.difference.low, self.difference.high))
        if self.p_value >= SIGNIFICANCE or not (low > 0 or high < 0):
            return "undecided"
        is_more = low > 0
        if (self.better > self.worse) != (is_more != (self.metric in LESS_IS_BETTER)):
            return "undecided"  # the mean says one thing, most mixtures the other
        return "better" if self.better > self.worse else "worse"


@dataclass(frozen=True)
class Comparison:
    """Two evaluations, target by target.

    Attributes:
        a: the first run.
        b: the second.
        differences: by column.
        table: the targets that both have scored, with b - a in the column of each metric.
        only_a: targets that only the first run has scored.
        only_b: targets that only the second has.
        differing: what they were asked differently: "data" if not the same of the same mixtures, and options, such as
            "sampling_rate".
    """

    a: Evaluation
    b: Evaluation
    differences: Mapping[str, Difference]
    table: pa.Table
    only_a: int
    only_b: int
    differing: tuple[str, ...]

    @property
    def is_same_data(self) -> bool:
        """Whether both were asked the same of the same mixtures, at the same rate."""
        return not self.differing

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        scores = Scores(self.table)
        return {
            "a": {"separator": self.a.summary["separator"], "folder": str(self.a.folder)},
            "b": {"separator": self.b.summary["separator"], "folder": str(self.b.folder)},
            "is_same_data": self.is_same_data,
            "differing": list(self.differing),
            "compared": len(self.table),
            "only_a": self.only_a,
            "only_b": self.only_b,
            "differences": {
                name: {
                    **{key: _plain(value) for key, value in asdict(each).items()},
                    "verdict": each.verdict,
                }
                for name, each in self.differences.items()
            },
            "by": {
                kind: {
                    name: {group: found.to_dict() for group, found in scores.aggregate_by(kind, name).items()}
                    for name in self.differences
                }
                for kind in GROUPS
            },
        }

    def by(self, kind: str, metric: str) -> dict[str, Aggregate]:
        """The mean of b - a in each group; see `Scores.aggregate_by`."""
        return Scores(self.table).aggregate_by(kind, metric)


def compare_evaluations(a: Evaluation | str | os.PathLike[str], b: Evaluation | str | os.PathLike[str]) -> Comparison:
    """Compare two evaluations on the targets that both have scored.

    Args:
        a: an evaluation, or the folder of one.
        b: the other.

    Raises:
        EvaluationError: one is not there, or they have no target or no metric in common.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> demo, folder = hive_datasets.demo_folder() / "metadata", tempfile.mkdtemp()
        >>> options = {"dataset_paths": demo.parent / "sources", "sampling_rate": 16000, "metrics": ["sdr"]}
        >>> subset = hive_datasets.Subset(demo, limit=4)
        >>> runs = [
        ...     hive_datasets.evaluate_separator(name, subset, f"{folder}/{name}", **options)
        ...     for name in ("mixture", "silence")
        ... ]
        >>> found = compare_evaluations(*runs).differences["sdr"]
        >>> found.verdict, found.better, found.worse, round(found.p_value, 3)
        ('undecided', 3, 0, 0.25)
    """
    a, b = (each if isinstance(each, Evaluation) else Evaluation.load(each) for each in (a, b))
    columns = [name for name in a.summary["metrics"] if name in b.summary["metrics"]]
    if not columns:
        raise EvaluationError(f"{a.folder} and {b.folder} have no metric in common")
    rows_a, rows_b = _scored_rows(a), _scored_rows(b)
    common = [key for key in rows_a if key in rows_b]
    if not common:
        raise EvaluationError(f"{a.folder} and {b.folder} have no target in common that both have scored")
    of_a = a.table.take([rows_a[key] for key in common])
    of_b = b.table.take([rows_b[key] for key in common])
    table, differences = of_a.select(_KEPT), {}
    for name in columns:
        values_a, values_b = Scores(of_a).values(name), Scores(of_b).values(name)
        table = table.append_column(name, pa.array(values_b - values_a, from_pandas=True))
        differences[name] = _compare(name, values_a, values_b, table)
    return Comparison(
        a,
        b,
        differences,
        table,
        only_a=len(rows_a) - len(common),
        only_b=len(rows_b) - len(common),
        differing=_find_differing(a.summary, b.summary),
    )


def find_p_value(better: int, worse: int) -> float:
    """How likely it is that of so many coins at least so many fall on one side: the two-sided sign test, exactly.

    Example:
        >>> round(find_p_value(9, 1), 4), find_p_value(5, 5), find_p_value(0, 0)
        (0.0215, 1.0, 1.0)
    """
    count, least = better + worse, min(better, worse)
    if 2 * least == count:
        return 1.0
    k = np.arange(1, least + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(count - k + 1) - np.log(k))]) - count * np.log(2)
    return float(min(1.0, 2 * np.exp(logs).sum()))


#: What the table of a comparison has beside differences.
_KEPT = ["mix_id", "split", "label", "query", "source_ids", "corpus", "num_sources", "start_second", "snr_db"]


def _compare(
    name: str, values_a: npt.NDArray[np.float64], values_b: npt.NDArray[np.float64], table: pa.Table
) -> Difference:
    both = ~np.isnan(values_a) & ~np.isnan(values_b)
    by_mixture = _means_by_mixture(table, values_b - values_a, both)
    gains = -by_mixture if name in LESS_IS_BETTER else by_mixture
    equal = _EQUAL_DB if name.removesuffix("_improvement") in METRICS else 0.0
    better, worse = int((gains > equal).sum()), int((gains < -equal).sum())
    return Difference(
        metric=name,
        a=float(values_a[both].mean()) if both.any() else float("nan"),
        b=float(values_b[both].mean()) if both.any() else float("nan"),
        difference=Scores(table).aggregate(name).mean,
        better=better,
        worse=worse,
        equal=len(gains) - better - worse,
        p_value=find_p_value(better, worse),
        targets=int(both.sum()),
    )


def _find_differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    options = [name for name in {**a["options"], **b["options"]} if a["options"].get(name) != b["options"].get(name)]
    return (*(["data"] if a["data_hash"] != b["data_hash"] else []), *options)


def _means_by_mixture(
    table: pa.Table, values: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    sums: dict[Any, list[float]] = {}
    keys = zip(table.column("split").to_pylist(), table.column("mix_id").to_pylist(), strict=True)
    for key, value, is_chosen in zip(keys, values.tolist(), chosen.tolist(), strict=True):
        if is_chosen:
            sums.setdefault(key, []).append(value)
    return np.array([float(np.mean(each)) for each in sums.values()])


def _scored_rows(evaluation: Evaluation) -> dict[tuple[Any, ...], int]:
    names = ["split", "mix_id", "label", "start_second", "error"]
    keys = zip(*(evaluation.table.column(name).to_pylist() for name in names), strict=True)
    return {key[:-1]: row for row, key in enumerate(keys) if key[-1] is None}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return number_or_none(value) if isinstance(value, float) else value

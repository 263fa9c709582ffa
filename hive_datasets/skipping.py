"""Going on past mixtures whose sources cannot be read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from datasets import IterableDataset
from datasets.iterable_dataset import _BaseExamplesIterable

from .errors import UnreadableSourceWarning
from .features import Mixture


def skip_unreadable(dataset: IterableDataset) -> IterableDataset:
    """Drop the mixtures of a stream whose sources cannot be read, instead of ending it.

    Warns once a file, and at the end of the stream with the number of mixtures dropped (each worker process
    speaks for itself). Resuming by `state_dict` stays exact.

    This decodes. Apply it last, after ``shuffle`` and ``shard``, which then move recipes, not audio, and after
    ``decode(num_threads=)``.

    Args:
        dataset: a stream with a column of type ``Mixture(on_error="skip")``.

    Raises:
        TypeError: it is not a stream. (A `Dataset` has a row for every index; there the mixture is None.)
        ValueError: it has no such column, or decoding is off.

    Example:
        >>> from hive_datasets import Mixture, load_dataset, skip_unreadable
        >>> ds = load_dataset("hive", "demo", split="train", streaming=True)
        >>> ds = ds.cast_column("mixture", Mixture(on_error="skip")).shuffle(seed=0, buffer_size=100)
        >>> len(list(skip_unreadable(ds)))
        24
    """
    if not isinstance(dataset, IterableDataset):
        raise TypeError(
            f"skip_unreadable takes a stream, not {type(dataset).__name__}; see Dataset.to_iterable_dataset"
        )
    mixtures = {name: feature for name, feature in (dataset.features or {}).items() if isinstance(feature, Mixture)}
    if not mixtures:
        raise ValueError(f"the stream has no Mixture column, but {dataset.features}")
    for name, feature in mixtures.items():
        if not feature.decode or feature.on_error != "skip":
            raise ValueError(f'column {name!r} must be cast to Mixture(on_error="skip") first; it is {feature}')
    tally = _Tally()
    kept = dataset.filter(tally, input_columns=list(mixtures))
    kept._ex_iterable = _ReportAtEnd(kept._ex_iterable, tally)
    return kept


class _Tally:
    """Says which rows to keep, and counts."""

    def __init__(self) -> None:
        self.seen = self.skipped = 0

    def __call__(self, *mixtures: Any) -> bool:
        readable = all(mixture is not None for mixture in mixtures)
        self.seen += 1
        self.skipped += not readable
        return readable


class _ReportAtEnd(_BaseExamplesIterable):  # type: ignore[misc]
    """The examples of another iterable, and a warning with the tally after the last."""

    def __init__(self, ex_iterable: Any, tally: _Tally) -> None:
        super().__init__()
        self.ex_iterable = ex_iterable
        self.tally = tally

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        self.tally.seen = self.tally.skipped = 0
        yield from self.ex_iterable
        if self.tally.skipped:
            message = f"skipped {self.tally.skipped} of {self.tally.seen} mixtures whose sources cannot be read"
            warnings.warn(message, UnreadableSourceWarning, stacklevel=2)

    @property
    def is_typed(self) -> bool:
        return bool(self.ex_iterable.is_typed)

    @property
    def features(self) -> Any:
        return self.ex_iterable.features

    @property
    def num_shards(self) -> int:
        return int(self.ex_iterable.num_shards)

    def _init_state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.ex_iterable._init_state_dict()
        self._state_dict = state
        return state

    def shuffle_data_sources(self, *args: Any, **kwargs: Any) -> _ReportAtEnd:
        return _ReportAtEnd(self.ex_iterable.shuffle_data_sources(*args, **kwargs), self.tally)

    def shard_data_sources(self, *args: Any, **kwargs: Any) -> _ReportAtEnd:
        return _ReportAtEnd(self.ex_iterable.shard_data_sources(*args, **kwargs), self.tally)

    def reshard_data_sources(self, *args: Any, **kwargs: Any) -> _ReportAtEnd:
        return _ReportAtEnd(self.ex_iterable.reshard_data_sources(*args, **kwargs), self.tally)

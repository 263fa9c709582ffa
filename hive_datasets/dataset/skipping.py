"""Going on past mixtures whose sources cannot be read."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

from datasets import Features, IterableDataset
from datasets.iterable_dataset import (
    FormattedExamplesIterable,
    RebatchedArrowExamplesIterable,
    _BaseExamplesIterable,
)

from ..errors import UnreadableSourceWarning
from .features import Mixture


def skip_unreadable(dataset: IterableDataset) -> IterableDataset:
    """Drop the mixtures of a stream whose sources cannot be read, instead of ending it.

    Warns once a file, and at the end of the stream with the number of mixtures dropped (each worker process
    speaks for itself). Resuming by `state_dict` stays exact.

    This decodes. Apply it last, after ``shuffle`` and ``shard``, which then move recipes, not audio, and after
    ``decode(num_threads=)``.

    Args:
        dataset: a stream with a `Mixture` column. If it decodes before, in threads, in `map` or in `filter`, the column
            must have been cast to ``Mixture(on_error="skip")`` before that.

    Raises:
        TypeError: it is not a stream. (A `Dataset` has a row for every index; there the mixture is None.)
        ValueError: it has no such column, decoding is off, or its threads raise errors.

    Example:
        >>> from hive_datasets import load_dataset, skip_unreadable
        >>> ds = load_dataset("hive", "demo", split="train", streaming=True).shuffle(seed=0, buffer_size=100)
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
        if not feature.decode:
            raise ValueError(f"decoding of column {name!r} is off: there is nothing that could be unreadable")
        if feature.on_error != "skip":
            if dataset._ex_iterable.is_typed:
                message = f'cast column {name!r} to Mixture(on_error="skip") before decode(num_threads=), map or filter'
                raise ValueError(message)
            skipping = copy.copy(feature)  # with its roots
            skipping.on_error = "skip"
            dataset = dataset.cast_column(name, skipping)
    return IterableDataset(
        _ReadableExamples(_decoded_examples(dataset), dataset.features, list(mixtures)),
        info=dataset.info.copy(),
        split=dataset.split,
        formatting=dataset._formatting,
        distributed=dataset._distributed,
        token_per_repo_id=dataset._token_per_repo_id,
    )


def _decoded_examples(dataset: IterableDataset) -> _BaseExamplesIterable:
    """The examples of a stream, decoded one by one so that none is read ahead of its turn (and of `state_dict`)."""
    examples = dataset._ex_iterable
    if examples.is_typed:  # decoded in threads, or mapped
        return examples
    if examples.iter_arrow:
        examples = RebatchedArrowExamplesIterable(examples, batch_size=1)
    return FormattedExamplesIterable(
        examples,
        formatting=dataset._formatting,
        features=dataset.features,
        token_per_repo_id=dataset._token_per_repo_id,
    )


class _ReadableExamples(_BaseExamplesIterable):  # type: ignore[misc]
    """The examples of another iterable whose mixtures are not None; then a warning with the number of the others."""

    def __init__(self, ex_iterable: _BaseExamplesIterable, features: Features, columns: list[str]) -> None:
        super().__init__()
        self.ex_iterable = ex_iterable
        self._features = features
        self.columns = columns

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        seen = skipped = 0
        for key, example in self.ex_iterable:
            seen += 1
            if any(example[column] is None for column in self.columns):
                skipped += 1
            else:
                yield key, example
        if skipped:
            message = f"skipped {skipped} of {seen} mixtures whose sources cannot be read"
            warnings.warn(message, UnreadableSourceWarning, stacklevel=2)

    @property
    def is_typed(self) -> bool:
        return True

    @property
    def features(self) -> Features:
        return self._features

    @property
    def num_shards(self) -> int:
        return int(self.ex_iterable.num_shards)

    def _init_state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.ex_iterable._init_state_dict()
        self._state_dict = state
        return state

    def shuffle_data_sources(self, *args: Any, **kwargs: Any) -> _ReadableExamples:
        return self._around(self.ex_iterable.shuffle_data_sources(*args, **kwargs))

    def shard_data_sources(self, *args: Any, **kwargs: Any) -> _ReadableExamples:
        return self._around(self.ex_iterable.shard_data_sources(*args, **kwargs))

    def reshard_data_sources(self, *args: Any, **kwargs: Any) -> _ReadableExamples:
        return self._around(self.ex_iterable.reshard_data_sources(*args, **kwargs))

    def _around(self, ex_iterable: _BaseExamplesIterable) -> _ReadableExamples:
        return _ReadableExamples(ex_iterable, self._features, self.columns)

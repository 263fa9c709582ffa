"""Rendering batches of recipes, for `map` and for loops of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal, TypedDict, cast

import numpy as np
import numpy.typing as npt

from ..errors import SourceError, SourceRootError
from ..given import LastGiven
from ..mixing import Mixer, RenderedMixture, Stems
from ..mixing.planning import Excerpt
from ..prepared.store import PreparedExcerpt
from ..recipe import Recipe, parse_recipe
from .device import DeviceMixer, WeightedSignal, can_resample


class RenderedBatch(TypedDict):
    """Mixtures as arrays: of numpy on the CPU, of PyTorch on another device, where they stay.

    Keys:
        mix: float32 of shape (B, T), the mixtures; zeros after the end of shorter ones.
        sources: float32 of shape (B, N, T), their sources in the recipes' order; zeros where there are fewer than N.
        num_sources: int64 of shape (B,), how many there are.
        num_samples: int64 of shape (B,), how long each mixture is.
        positions: int64 of shape (B,), which of the given recipes these are: all of them, but for ``on_error="skip"``.
        sampling_rate: rate in Hz.
    """

    mix: Any
    sources: Any
    num_sources: npt.NDArray[np.int64]
    num_samples: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    sampling_rate: int


#: What `map` adds to a row.
_COLUMNS: tuple[Literal["mix", "sources", "sampling_rate"], ...] = ("mix", "sources", "sampling_rate")


class RenderMixtures:
    """Renders batches of recipes: reads in threads, resamples together what is of one rate, mixes into one array.

    For ``map(batched=True)``, on a stream whose decoding is off, it adds the columns ``mix``, ``sources`` and
    ``sampling_rate``, one array a row. Called with a list of recipes, or of rows of such a stream, it returns a
    `RenderedBatch`.

    Args:
        sampling_rate: rate in Hz to render at; None for the recipes', which must then be one.
        device: "cpu", where soxr resamples, or a CUDA device, to which the sources are brought as they are read:
            resampling there is one convolution for each pair of rates, by filters measured of soxr HQ.
        num_threads: threads that read; on the CPU they resample and mix, too. With prepared sources on the CPU, one
            is best.
        dataset_paths, prepared: as for `Mixer`; by default those of the latest ``load_dataset("hive", ...)``.
        stems: as for `Mixer`.
        reuse: whether the arrays of a batch may be overwritten by the next, which saves asking the system for new ones.
        on_error: "raise", or "skip" to leave out the mixtures that cannot be read.
        column: where the recipes are, in `map`.

    Raises:
        ValueError: an option is out of range; or, when called, recipes have different rates.
        ImportError, RuntimeError: the device needs PyTorch, which is not installed or finds no such device.
        SourceRootError, SourceError: audio cannot be read, when called.

    Example:
        >>> import hive_datasets
        >>> demo = hive_datasets.demo_folder()
        >>> render = RenderMixtures(sampling_rate=16000, num_threads=2, dataset_paths=demo / "sources")
        >>> recipes = list(hive_datasets.read_recipes(demo / "metadata" / "train"))[:8]
        >>> batch = render(recipes)
        >>> batch["mix"].shape, batch["sources"].shape, batch["num_sources"].tolist()
        ((8, 64000), (8, 5, 64000), [2, 3, 4, 5, 2, 3, 4, 5])
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="train", streaming=True).decode(False)
        >>> row = next(iter(ds.map(render, batched=True, batch_size=8, remove_columns="mixture")))
        >>> row["labels"], row["sources"].shape
        (['Engine', 'Clock'], (2, 64000))
    """

    def __init__(
        self,
        sampling_rate: int | None = None,
        *,
        device: str = "cpu",
        num_threads: int = 1,
        dataset_paths: Any = None,
        stems: Stems = "scaled",
        prepared: Any = None,
        reuse: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        column: str = "mixture",
    ) -> None:
        if isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, not {num_threads!r}")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
        dataset_paths = LastGiven.roots if dataset_paths is None else dataset_paths
        self.mixer = Mixer(dataset_paths, sampling_rate, stems, LastGiven.prepared if prepared is None else prepared)
        self.device, self.num_threads, self.on_error, self.column = device, num_threads, on_error, column
        self.reuse = reuse
        self._device_mixer = None if device == "cpu" else DeviceMixer(device)
        self._threads: ThreadPoolExecutor | None = None
        self._memory: dict[str, npt.NDArray[np.float32]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_threads": None, "_device_mixer": None, "_memory": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._device_mixer = None if self.device == "cpu" else DeviceMixer(self.device)

    def __call__(self, batch: Mapping[str, Any] | Sequence[Recipe | dict[str, Any]]) -> Any:
        """Render a list of recipes or of rows of a dataset, or the column of recipes of a batch of `map`."""
        if not isinstance(batch, Mapping):
            return self.render(list(map(self._to_recipe, batch)))
        if self.column not in batch:
            raise ValueError(f"there is no column {self.column!r}, but {', '.join(batch)}")
        if isinstance(batch[self.column], Mapping):
            raise ValueError("this is one row: give a list of rows, or map with batched=True")
        recipes = list(map(self._from_stored, batch[self.column]))
        positions, rendered = self._render_each(recipes) if self._device_mixer is None else self._cut(recipes)
        kept = {name: [values[position] for position in positions] for name, values in batch.items()}
        return {
            **(kept if len(positions) < len(recipes) else {}),
            **{name: [mixture[name] for mixture in rendered] for name in _COLUMNS},
        }

    def _render_each(self, recipes: Sequence[Recipe]) -> tuple[list[int], list[RenderedMixture]]:
        """Each mixture in arrays of its own, which no other row keeps in memory; and which recipes they are of."""
        outcomes = list(self._map(self.mixer, recipes))
        positions = [position for position, outcome in enumerate(outcomes) if self._was_read(outcome)]
        return positions, [outcomes[position] for position in positions]

    def _cut(self, recipes: Sequence[Recipe]) -> tuple[list[int], list[RenderedMixture]]:
        """Each mixture as its part of a batch; and which recipes they are of."""
        batch = self.render(recipes)
        shapes = zip(batch["num_sources"].tolist(), batch["num_samples"].tolist(), strict=True)
        rendered: list[RenderedMixture] = [
            {"mix": mix[:length], "sources": sources[:n, :length], "sampling_rate": batch["sampling_rate"]}
            for mix, sources, (n, length) in zip(batch["mix"], batch["sources"], shapes, strict=True)
        ]
        return batch["positions"].tolist(), rendered

    def _to_recipe(self, row: Recipe | Mapping[str, Any]) -> Recipe:
        if isinstance(row, Recipe):
            return row
        return self._from_stored(row[self.column]) if self.column in row else parse_recipe(row)

    def _from_stored(self, stored: Any) -> Recipe:
        if "mix" in stored:
            raise ValueError(
                f"column {self.column!r} is decoded already: turn that off, of a stream with decode(False), "
                f"of a Dataset with cast_column({self.column!r}, Mixture(decode=False))"
            )
        return Recipe.from_stored(stored)

    def render(self, recipes: Sequence[Recipe]) -> RenderedBatch:
        """Render recipes."""
        rates = {self.mixer.sampling_rate or recipe.sample_rate for recipe in recipes}
        if len(rates) > 1:
            raise ValueError(f"recipes of different rates, {sorted(rates)} Hz: say at which to render, sampling_rate=")
        rate = rates.pop() if rates else self.mixer.sampling_rate or 0
        num_samples = np.array([recipe.num_samples(rate) for recipe in recipes], dtype=np.int64)
        num_sources = np.array([recipe.num_sources for recipe in recipes], dtype=np.int64)
        shape = (len(recipes), num_sources.max(initial=0), num_samples.max(initial=0))
        render = self._render_here if self._device_mixer is None else self._render_there
        mix, sources, is_read = render(recipes, rate, shape)
        positions = np.flatnonzero(is_read)
        if len(positions) < len(recipes):
            mix, sources = mix[positions], sources[positions]
        return {
            "mix": mix,
            "sources": sources,
            "num_sources": num_sources[positions],
            "num_samples": num_samples[positions],
            "positions": positions,
            "sampling_rate": rate,
        }

    def _render_here(
        self, recipes: Sequence[Recipe], rate: int, shape: tuple[int, ...]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[bool]]:
        """In threads, each mixture by one of them, straight into its place."""
        mixes, sources = self._allocate("mix", (shape[0], shape[2])), self._allocate("sources", shape)

        def render(row: int) -> None:
            recipe = recipes[row]
            length = recipe.num_samples(rate)
            self.mixer.render(recipe, rate, mixes[row, :length], sources[row, : recipe.num_sources, :length])
            mixes[row, length:] = 0.0
            sources[row, : recipe.num_sources, length:] = 0.0
            sources[row, recipe.num_sources :] = 0.0

        # all are waited for before any error is raised: their memory may be another batch's soon
        outcomes = list(self._map(render, range(len(recipes))))
        return mixes, sources, [self._was_read(outcome) for outcome in outcomes]

    def _render_there(
        self, recipes: Sequence[Recipe], rate: int, shape: tuple[int, ...]
    ) -> tuple[Any, Any, list[bool]]:
        """Read in threads, the rest on the device."""
        import torch

        def read(row: int) -> list[WeightedSignal]:
            recipe = recipes[row]
            excerpts = self.mixer.find_excerpts(recipe, rate, recipe.num_samples(rate))
            return [self._read(recipe, rate, row, column, excerpt) for column, excerpt in enumerate(excerpts)]

        mixer = cast(DeviceMixer, self._device_mixer)
        outcomes = list(self._map(read, range(len(recipes))))
        is_read = [self._was_read(outcome) for outcome in outcomes]
        signals = [signal for outcome in outcomes if isinstance(outcome, list) for signal in outcome]
        sources = torch.zeros(shape, device=mixer.device)
        mixer.add(signals, sources, rate)
        mix = sources.sum(dim=1)
        if self.mixer.stems == "unscaled":
            factors = [recipe.global_normalization_factor for recipe in recipes]
            mix *= torch.tensor(factors, dtype=torch.float32, device=mixer.device)[:, None]
        return mix, sources, is_read

    def _read(
        self, recipe: Recipe, rate: int, row: int, column: int, prepared: PreparedExcerpt | None
    ) -> WeightedSignal:
        source, length = recipe.sources[column], recipe.num_samples(rate)
        gain = self.mixer.gain_of(source, recipe)
        if prepared is not None:
            stem = np.empty(length, np.float32)
            if self.mixer.read_prepared(prepared, 1.0, stem):
                return WeightedSignal(stem, rate, Excerpt(0, length, 0, length, length), gain, row, column)
        reading = self.mixer.read(recipe.mix_id, source, rate, length)
        own, excerpt = reading.header.sampling_rate, reading.excerpt
        if can_resample(own, rate):
            return WeightedSignal(reading.signal, own, excerpt, gain, row, column)
        return WeightedSignal(reading.resample(rate), rate, replace(excerpt, skip=0), gain, row, column)

    def _allocate(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """An array, of the memory of an earlier one of that name if that may be and it is large enough."""
        if not self.reuse:
            return np.empty(shape, np.float32)
        size = math.prod(shape)
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.empty(size, np.float32)
        return self._memory[name][:size].reshape(shape)

    def _map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """What a function returns for each item, or the error that kept it from that."""

        def call(item: Any) -> Any:
            try:
                return function(item)
            except Exception as error:
                return error

        if self.num_threads == 1:
            return map(call, items)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.num_threads)
        return self._threads.map(call, items)

    def _was_read(self, outcome: Any) -> bool:
        if not isinstance(outcome, Exception):
            return True
        is_of_source = isinstance(outcome, SourceError) or (isinstance(outcome, SourceRootError) and outcome.configured)
        if self.on_error == "raise" or not is_of_source:
            raise outcome
        return False

"""Rendering batches of recipes, for `map` and for loops of one's own."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
from datasets import Features, Value
from datasets import Sequence as SequenceFeature

from ..errors import SourceError, SourceRootError
from ..mixing import Alignment, Mixer, RenderedMixture, Stems
from ..mixing.planning import Excerpt
from ..prepared.store import PreparedExcerpt
from ..recipe import Recipe, parse_recipe
from ..recipe.parsing import check_recipe
from ..utils.callers import refuse_in_filter
from .device import DeviceMixer, WeightedSignal, can_resample, find_device
from .memory import RecycledMemory
from .rendered import BatchPlan, RenderedBatch, RenderedTargets

if TYPE_CHECKING:
    import torch


#: What `map` adds to a row.
_COLUMNS: tuple[Literal["mix", "sources", "sampling_rate"], ...] = ("mix", "sources", "sampling_rate")


class RenderMixtures:
    """Renders batches of recipes: reads in threads, resamples together what is of one rate, mixes into one array.

    For ``map(batched=True)``, on a stream whose decoding is off, it adds the columns ``mix``, ``sources`` and
    ``sampling_rate``, one array a row; `features` declares them. Called with a list of recipes, or of rows of such a
    stream, it returns a `RenderedBatch`.

    Args:
        sampling_rate: rate in Hz to render at; None for the recipes', which must then be one.
        device: where batches are wanted, as `torch.device` takes it ("cpu", "cuda:1", 0, a `torch.device`): they are
            then PyTorch's tensors. On the CPU soxr resamples. To a CUDA device the sources are brought as they are
            read: resampling there is one convolution for each pair of rates, by filters measured of soxr HQ. None for
            numpy's arrays.
        num_threads: threads that read; on the CPU they resample and mix, too. With prepared sources on the CPU, one
            is best.
        dataset_paths, prepared: as for `Mixer`; by default those of the dataset that each row is of.
        stems, alignment: as for `Mixer`.
        reuse: whether the arrays of a batch may be overwritten by the next, which saves asking the system for new ones;
            on the CPU.
        on_error: "raise", or "skip" to leave out the mixtures that cannot be read. A server that does not answer is an
            error in either case.
        column: where the recipes are, in rows and in `map`.
        columns: what else of the rows a batch is to have.

    Raises:
        ValueError: an option is out of range; or, when called, recipes have different rates.
        ImportError, RuntimeError: the device needs PyTorch, which is not installed or finds no such device.
        SourceRootError, SourceError, SourceUnreachableError: audio cannot be read, when called.

    Example:
        >>> import hive_datasets
        >>> demo = hive_datasets.demo_folder()
        >>> render = RenderMixtures(sampling_rate=16000, num_threads=2, dataset_paths=demo / "sources")
        >>> recipes = list(hive_datasets.read_recipes(demo / "metadata" / "train"))[:8]
        >>> batch = render(recipes)
        >>> batch["mix"].shape, batch["sources"].shape, batch["num_sources"].tolist()
        ((8, 64000), (8, 5, 64000), [2, 3, 4, 5, 2, 3, 4, 5])
        >>> batch["mix_id"][0], batch["labels"][0]
        ('sample_00000000', ['Engine', 'Clock'])
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="train", streaming=True).decode(False)
        >>> options = {"batched": True, "batch_size": 8, "remove_columns": "mixture"}
        >>> rendered = ds.map(render, features=render.features(ds.features), **options)
        >>> row = next(iter(rendered))
        >>> row["labels"], row["sources"].shape
        (['Engine', 'Clock'], (2, 64000))
    """

    def __init__(
        self,
        sampling_rate: int | None = None,
        *,
        device: str | int | torch.device | None = None,
        num_threads: int = 1,
        dataset_paths: Any = None,
        stems: Stems = "scaled",
        prepared: Any = None,
        alignment: Alignment = "authors",
        reuse: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        column: str = "mixture",
        columns: Collection[str] = (),
    ) -> None:
        if isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, not {num_threads!r}")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
        taken = sorted(set(columns) & set(RenderedBatch.__annotations__))
        if isinstance(columns, str) or taken:
            raise ValueError(f"columns must be names that a batch has not by itself, not {columns!r}")
        self.mixer = Mixer(dataset_paths, sampling_rate, stems, prepared, alignment)
        self.num_threads, self.on_error, self.reuse = num_threads, on_error, reuse
        self.column, self.columns = column, tuple(columns)
        self.device = None if device is None else find_device(device)
        is_here = self.device is None or self.device.type == "cpu"
        if reuse and not is_here:
            raise ValueError(f"reuse is for arrays on the CPU: on {self.device}, PyTorch keeps memory by itself")
        self._device_mixer = None if is_here else DeviceMixer(cast("torch.device", self.device))
        #: Mixtures that were left out since this was last cleared, by the path of what could not be read.
        self.skipped: Counter[str] = Counter()
        self._threads: ThreadPoolExecutor | None = None
        #: Of batches that nobody holds any more.
        self.memory = RecycledMemory()
        self._own: dict[str, npt.NDArray[np.float32]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_threads": None, "_device_mixer": self._device_mixer is not None, "_own": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._device_mixer = DeviceMixer(state["device"]) if state["_device_mixer"] else None

    def features(self, features: Features, remove_columns: str | Collection[str] | None = None) -> Features:
        """What rows have after ``map(self, batched=True, remove_columns=remove_columns)``, for its ``features=``.

        Args:
            features: what rows have before.
            remove_columns: what `map` removes; by default the recipes.
        """
        removed = {self.column} if remove_columns is None else remove_columns
        removed = {removed} if isinstance(removed, str) else set(removed)
        samples = SequenceFeature(Value("float32"))
        added = {"mix": samples, "sources": SequenceFeature(samples), "sampling_rate": Value("int64")}
        return Features({**{name: kind for name, kind in features.items() if name not in removed}, **added})

    def __call__(self, batch: Mapping[str, Any] | Sequence[Recipe | dict[str, Any]]) -> Any:
        """Render a list of recipes or of rows of a dataset, or the column of recipes of a batch of `map`."""
        refuse_in_filter(type(self).__name__)
        if not isinstance(batch, Mapping):
            rows = list(batch)
            return self.render(list(map(self._to_recipe, rows)), rows)
        if self.column not in batch:
            raise ValueError(f"there is no column {self.column!r}, but {', '.join(batch)}")
        if isinstance(batch[self.column], Mapping):
            raise ValueError("this is one row: give a list of rows, or map with batched=True")
        if self._device_mixer is not None:
            raise ValueError(
                f"map stores arrays, and cannot keep them on {self.device}: leave device= out, or call this with rows"
            )
        recipes = list(map(self._from_stored, batch[self.column]))
        positions, rendered = self._render_each(recipes)
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
        # not as numpy, torch or Ray hand it over
        is_plain = type(stored["sources"]) is list and type(stored["target_duration"]) is float
        return Recipe.from_stored(stored) if is_plain else parse_recipe(stored)

    def render(self, recipes: Sequence[Recipe], rows: Sequence[Any] = ()) -> RenderedBatch:
        """Render recipes; `rows` are what the columns that were asked for are taken from."""
        if self.columns and not all(isinstance(row, Mapping) and row.keys() >= set(self.columns) for row in rows):
            raise ValueError(f"columns {', '.join(self.columns)}: give rows of a dataset that have them")
        plan = self._plan(recipes)
        render = self._render_here if self._device_mixer is None else self._render_there
        mix, sources, is_read = render(plan)
        batch: Any = plan.describe(is_read)
        batch["mix"], batch["sources"] = (_keep_read(array, is_read) for array in (mix, sources))
        for name in self.columns:
            batch[name] = [rows[position][name] for position in batch["positions"].tolist()]
        return cast(RenderedBatch, batch if self.device is None else self._as_tensors(batch))

    def render_targets(self, recipes: Sequence[Recipe], targets: Sequence[Collection[int]]) -> RenderedTargets:
        """Render recipes, and of their sources only the sum of some: faster, since the others need no memory.

        Args:
            recipes: of mixtures.
            targets: of each, the numbers of those sources; none for silence.

        Raises:
            as when called.

        Example:
            >>> import hive_datasets
            >>> demo = hive_datasets.demo_folder()
            >>> recipes = list(hive_datasets.read_recipes(demo / "metadata" / "train"))[:2]
            >>> batch = RenderMixtures(dataset_paths=demo / "sources").render_targets(recipes, [[1], []])
            >>> batch["mix"].shape, batch["target"].shape, [bool(target.any()) for target in batch["target"]]
            ((2, 176400), (2, 176400), [True, False])
        """
        plan = self._plan(recipes)
        render = self._render_targets_here if self._device_mixer is None else self._render_targets_there
        mix, target, is_read = render(plan, targets)
        batch: Any = plan.describe(is_read)
        batch["mix"], batch["target"] = (_keep_read(array, is_read) for array in (mix, target))
        return cast(RenderedTargets, batch if self.device is None else self._as_tensors(batch))

    def _plan(self, recipes: Sequence[Recipe]) -> BatchPlan:
        for recipe in recipes:
            check_recipe(recipe)
        rates = {self.mixer.sampling_rate or recipe.sample_rate for recipe in recipes}
        if len(rates) > 1:
            raise ValueError(f"recipes of different rates, {sorted(rates)} Hz: say at which to render, sampling_rate=")
        rate = rates.pop() if rates else self.mixer.sampling_rate or 0
        num_samples = np.array([recipe.num_samples(rate) for recipe in recipes], dtype=np.int64)
        num_sources = np.array([recipe.num_sources for recipe in recipes], dtype=np.int64)
        return BatchPlan(recipes, rate, num_samples, num_sources)

    def _as_tensors(self, batch: RenderedBatch) -> RenderedBatch:
        import torch

        tensors = {
            name: torch.from_numpy(value).to(self.device) if isinstance(value, np.ndarray) else value
            for name, value in batch.items()
        }
        return cast(RenderedBatch, tensors)

    def _render_here(self, plan: BatchPlan) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[bool]]:
        """In threads, each mixture by one of them, straight into its place."""
        shape = plan.shape
        mixes, sources = self._allocate("mix", (shape[0], shape[2])), self._allocate("sources", shape)

        def render(row: int) -> None:
            recipe, length = plan.recipes[row], plan.num_samples[row]
            self.mixer.render(recipe, plan.rate, mixes[row, :length], sources[row, : recipe.num_sources, :length])
            mixes[row, length:] = 0.0
            sources[row, : recipe.num_sources, length:] = 0.0
            sources[row, recipe.num_sources :] = 0.0

        return mixes, sources, self._render_rows(render, plan)

    def _render_targets_here(
        self, plan: BatchPlan, targets: Sequence[Collection[int]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[bool]]:
        """As `_render_here`, but each thread writes all sources of its mixture over those of the one before."""
        rows, columns, longest = plan.shape
        mixes, sums = (self._allocate(name, (rows, longest)) for name in ("mix", "target"))
        own = threading.local()

        def render(row: int) -> None:
            if not hasattr(own, "sources"):
                own.sources = np.empty((columns, longest), np.float32)
            recipe, length = plan.recipes[row], plan.num_samples[row]
            sources, target = own.sources[: recipe.num_sources, :length], sums[row, :length]
            self.mixer.render(recipe, plan.rate, mixes[row, :length], sources)
            first, *others = [sources[number] for number in targets[row]] or [np.float32(0.0)]
            target[:] = first
            for other in others:
                target += other
            mixes[row, length:] = 0.0
            sums[row, length:] = 0.0

        return mixes, sums, self._render_rows(render, plan)

    def _render_rows(self, render: Callable[[int], None], plan: BatchPlan) -> list[bool]:
        # all are waited for before any error is raised: their memory may be another batch's soon
        outcomes = list(self._map(render, range(len(plan.recipes))))
        return [self._was_read(outcome) for outcome in outcomes]

    def _render_targets_there(
        self, plan: BatchPlan, targets: Sequence[Collection[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, list[bool]]:
        mix, sources, is_read = self._render_there(plan)
        chosen = np.zeros(plan.shape[:2], np.float32)
        for row, numbers in zip(chosen, targets, strict=True):
            row[list(numbers)] = 1.0
        import torch

        weights = torch.from_numpy(chosen).to(sources.device)
        return mix, (sources * weights[:, :, None]).sum(dim=1), is_read

    def _render_there(self, plan: BatchPlan) -> tuple[Any, Any, list[bool]]:
        """Read in threads, the rest on the device."""
        import torch

        recipes, rate, shape = plan.recipes, plan.rate, plan.shape

        mixer = cast(DeviceMixer, self._device_mixer)
        sources = torch.zeros(shape, device=mixer.device)
        is_read = [False] * len(recipes)
        own_rates = [self.mixer.reading_rate(recipe, rate) for recipe in recipes]
        for own_rate in sorted(set(own_rates)):  # nearly always one
            rows = [row for row, other in enumerate(own_rates) if other == own_rate]
            lengths = [recipes[row].num_samples(own_rate) for row in rows]
            own = sources if own_rate == rate else torch.zeros((len(rows), shape[1], max(lengths)), device=mixer.device)
            places = rows if own_rate == rate else range(len(rows))

            def read(item: tuple[int, int], own_rate: int = own_rate) -> list[WeightedSignal]:
                row, place = item
                recipe = recipes[row]
                excerpts = self.mixer.find_excerpts(recipe, own_rate, recipe.num_samples(own_rate))
                return [self._read(recipe, own_rate, place, column, excerpt) for column, excerpt in enumerate(excerpts)]

            outcomes = list(self._map(read, list(zip(rows, places, strict=True))))
            for row, outcome in zip(rows, outcomes, strict=True):
                is_read[row] = self._was_read(outcome)
            signals = [signal for outcome in outcomes if isinstance(outcome, list) for signal in outcome]
            mixer.add(signals, own, own_rate)
            if own_rate != rate:
                new_lengths = [recipes[row].num_samples(rate) for row in rows]
                sources[rows] = mixer.resample(own, own_rate, rate, lengths, new_lengths, shape[2])
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
            if self.mixer.read_prepared(recipe, prepared, 1.0, stem):
                return WeightedSignal(stem, rate, Excerpt(0, length, 0, length, length), gain, row, column)
        reading = self.mixer.read(recipe, source, rate, length)
        own, excerpt = reading.header.sampling_rate, reading.excerpt
        if can_resample(own, rate):
            return WeightedSignal(reading.signal, own, excerpt, gain, row, column)
        return WeightedSignal(reading.resample(rate), rate, replace(excerpt, skip=0), gain, row, column)

    def _allocate(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """An array, of the memory of an earlier one of that name if that may be and it is large enough."""
        if not self.reuse:
            return self.memory.take(name, shape)
        size = math.prod(shape)
        if name not in self._own or self._own[name].size < size:
            self._own[name] = np.empty(size, np.float32)
        return self._own[name][:size].reshape(shape)

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
        self.skipped[cast(SourceError, outcome).path or str(outcome)] += 1
        return False


def _keep_read(array: Any, is_read: Sequence[bool]) -> Any:
    """The rows that were read: the array itself if all were."""
    return array if all(is_read) else array[np.flatnonzero(is_read)]

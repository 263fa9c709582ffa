"""Batches of an epoch after another, in an elastic order: what a training loop iterates over."""

from __future__ import annotations

import contextlib
import itertools
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt
from datasets import Dataset

from ..errors import UnreadableSourceWarning
from ..recipe import Recipe
from .batches import ExampleBatch, RenderExamples
from .examples import Draw, ExampleTable
from .sampler import ElasticSampler, Tail
from .streams import SideStream
from .table import RecipeTable
from .targets import Example

#: Files that a report names; it counts the others.
_FILES_NAMED = 20


class TrainingLoader:
    """Batches to train on, an epoch an iteration, exact and elastic: the whole way from a table to a step's needs.

    Worker processes read rows and make examples of them, which takes little; audio is rendered in this process, in the
    threads of `render`, while the model is at the batch before. Rows come in the order of an `ElasticSampler`, those of
    this rank. The state is counted in batches that were handed out, not in what workers have asked for, so that it is
    exact at any step: what is resumed gives the same batches, on any number of workers, and on any number of ranks the
    same global batches, if ``batch_size`` times the ranks stays the same.

    PyTorch is needed with worker processes only. Accelerate and Lightning take it as it is: neither touches what is no
    `DataLoader`, and Lightning keeps its state in checkpoints.

    Args:
        dataset: a loaded dataset of mixtures, a `RecipeTable`, or a list of recipes.
        batch_size: recipes in a batch of this rank.
        render: makes batches of them; by default ``RenderExamples()``.
        seed, tail, weights, balanced: of the order, as for `ElasticSampler`. With `balanced`, the label that is taken
            from the queue becomes the target.
        rank, world_size: which of how many processes this is; by default what `torch.distributed` says, when an
            iteration begins, and 0 of 1 if that is not in use.
        num_workers: processes that make examples; 0 for none.
        prefetch: batches that are rendered ahead, by a thread.
        drop_last: whether an epoch's last batch is left out if it is not whole.

    Raises:
        TypeError: `dataset` is a stream, or something else.
        ValueError: an option is out of range; or a state is of another table or another order.
        ImportError: there are workers, and PyTorch is not installed.
        SourceRootError, SourceError, SourceUnreachableError: audio cannot be read.

    Example:
        >>> import hive_datasets
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="train")
        >>> render = RenderExamples(16000, dataset_paths=hive_datasets.demo_folder() / "sources")
        >>> loader = TrainingLoader(ds, batch_size=4, render=render, seed=1)
        >>> len(loader), [batch["mix_id"][0] for batch in loader][:2]
        (6, ['sample_00000011', 'sample_00000000'])
        >>> batches = iter(loader)
        >>> first = next(batches)
        >>> loader.epoch, loader.state_dict()["consumed"]
        (1, 28)
    """

    def __init__(
        self,
        dataset: Dataset | RecipeTable | Sequence[Recipe],
        batch_size: int,
        render: RenderExamples | None = None,
        *,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        num_workers: int = 0,
        prefetch: int = 1,
        drop_last: bool = True,
        tail: Tail = "drop",
        weights: npt.ArrayLike | None = None,
        balanced: bool = False,
    ) -> None:
        numbers = {"batch_size": batch_size, "num_workers": num_workers, "prefetch": prefetch}
        for name, value in numbers.items():
            least = 1 if name == "batch_size" else 0
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number, at least {least}, not {value!r}")
        if (rank is None) != (world_size is None):
            raise ValueError("rank and world_size: give both, or neither")
        self.batch_size, self.num_workers, self.prefetch, self.drop_last = batch_size, num_workers, prefetch, drop_last
        self.render = RenderExamples() if render is None else render
        #: The order, and how far it was trained on.
        self.sampler = ElasticSampler(
            dataset, seed, rank or 0, world_size or 1, tail=tail, weights=weights, balanced=balanced
        )
        #: What could not be read in the epoch that ended last: mixtures by the path of their file.
        self.skipped: Counter[str] = Counter()
        self._finds_ranks = rank is None
        self._examples = ExampleTable(self.sampler.table, self.render.select)
        self._draws = _DrawBatches(self.sampler, batch_size, drop_last)
        self._workers: Any = None

    @property
    def epoch(self) -> int:
        """Which epoch the next batch is of."""
        return self.sampler.epoch

    def __len__(self) -> int:
        """How many batches this rank has in a whole epoch."""
        self._find_ranks()
        return len(self._draws)

    def state_dict(self) -> dict[str, Any]:
        """Where it is, as `ElasticSampler.state_dict` says it; the same on all ranks."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the batch after those that had been handed out when the state was taken.

        Raises:
            ValueError: it is of another table, or of another order.
        """
        self.sampler.load_state_dict(state)

    def __iter__(self) -> Iterator[ExampleBatch]:
        self._find_ranks()
        sampler, num_rows = self.sampler, len(self.sampler.table)
        if not len(self._draws):
            raise ValueError(
                f"there is no batch in an epoch: {num_rows:,} rows for {sampler.world_size} ranks are fewer than "
                f"batch_size={self.batch_size} each; take a smaller one, or drop_last=False"
            )
        begun, per_batch = sampler.consumed, self.batch_size * sampler.world_size
        epoch = begun // num_rows
        self.render.skipped.clear()
        # begun here, not when the thread first asks: worker processes are started by the main thread
        examples = self._start_workers() if self.num_workers else map(self._examples.__getitems__, self._draws)
        with contextlib.closing(render_ahead(self.render, examples, self.prefetch, self.render.device)) as batches:
            for number, batch in enumerate(batches, start=1):
                sampler.consumed = min(begun + number * per_batch, (epoch + 1) * num_rows)
                if len(batch["mix_id"]):
                    yield batch
        sampler.consumed = (epoch + 1) * num_rows
        self._report(epoch)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_workers": None}

    def _find_ranks(self) -> None:
        distributed = getattr(sys.modules.get("torch"), "distributed", None)  # in use only where it was imported
        if self._finds_ranks and distributed and distributed.is_available() and distributed.is_initialized():
            self.sampler.rank, self.sampler.world_size = distributed.get_rank(), distributed.get_world_size()

    def _start_workers(self) -> Iterator[list[Example]]:
        if self._workers is None:
            try:
                from torch import Generator as RandomGenerator
                from torch.utils.data import DataLoader
            except ImportError:
                message = f'num_workers={self.num_workers} needs PyTorch: pip install "hive-datasets[torch]"'
                raise ImportError(message) from None
            self._workers = DataLoader(
                self._examples,  # type: ignore[arg-type]
                batch_sampler=self._draws,
                num_workers=self.num_workers,
                collate_fn=list,
                persistent_workers=True,
                generator=RandomGenerator(),  # or it would draw a number from the user's
            )
        return iter(self._workers)

    def _report(self, epoch: int) -> None:
        """Say what could not be read, once an epoch."""
        self.skipped = Counter(self.render.skipped)
        if not self.skipped:
            return
        files = [f"{path} ({count})" for path, count in self.skipped.most_common(_FILES_NAMED)]
        if len(self.skipped) > _FILES_NAMED:
            files.append(f"and {len(self.skipped) - _FILES_NAMED:,} others")
        done = "left out" if self.render.on_error == "skip" else "replaced by others of their batches"
        rank = f" of rank {self.sampler.rank}" if self.sampler.world_size > 1 else ""
        warnings.warn(
            f"epoch {epoch}: {self.skipped.total()} mixtures{rank} could not be read and were {done}. By file: "
            f"{', '.join(files)}",
            UnreadableSourceWarning,
            stacklevel=3,
        )


class _DrawBatches:
    """What is left of an epoch, in batches: for `DataLoader`, a batch sampler."""

    def __init__(self, sampler: ElasticSampler, batch_size: int, drop_last: bool) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __len__(self) -> int:
        """How many batches there are in a whole epoch."""
        rows = len(self.sampler)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        return self._batch(self.sampler.draws())

    def _batch(self, draws: Iterator[Draw]) -> Iterator[list[Draw]]:
        least = self.batch_size if self.drop_last else 1
        while len(batch := list(itertools.islice(draws, self.batch_size))) >= least:
            yield batch


def render_ahead(
    render: Callable[[list[Example]], ExampleBatch], examples: Iterator[list[Example]], depth: int, device: Any = None
) -> Generator[ExampleBatch, None, None]:
    """Render batches, some of them ahead of their turn, in a thread.

    Of an error, those before it are handed out first. When it is closed, the thread has ended.

    Args:
        render: called in the thread, for one batch at a time.
        examples: of each batch; asked for in the thread.
        depth: how many are rendered ahead; 0 for none, and no thread.
        device: of PyTorch, on which batches are.
    """
    if not depth:
        yield from map(render, examples)
        return

    def make() -> tuple[ExampleBatch, Any] | None:
        found = next(examples, None)
        return None if found is None else stream.run(render, found)

    stream = SideStream(device)
    with ThreadPoolExecutor(1, "hive-datasets-render") as thread:
        waiting = deque(thread.submit(make) for _ in range(depth))
        try:
            while (made := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(make))
                yield stream.hand_over(*made)
        finally:
            for each in waiting:
                each.cancel()

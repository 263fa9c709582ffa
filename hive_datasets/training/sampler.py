"""An order to train in, as a sampler of PyTorch that goes on anywhere, on any number of processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from ..recipe import Recipe
from .order import BalancedOrder, Order, ShuffledOrder, WeightedOrder
from .table import RecipeTable

try:
    from torch.utils.data import Sampler
except ImportError:  # it is of use without PyTorch, too
    Sampler = object  # type: ignore[assignment, misc]

#: What becomes of the last rows of an epoch, if they are too few for all ranks.
Tail = Literal["drop", "pad"]
#: Places whose rows are reckoned at once: fewer cost more each, more delay the first.
_BLOCK = 1024


class ElasticSampler(Sampler):  # type: ignore[type-arg]
    """Numbers of rows in an order that depends on the seed and the epoch alone, resumed on any number of ranks.

    Every row comes once an epoch. All ranks together go through one order, taking turns: of what is left, rank r of w
    takes the places r, r + w, r + 2 w, ... So at a constant global batch (ranks times the batch of each) global batches
    are the same whatever the number of ranks, and what is not yet handed out is handed out after a resume, whatever the
    number was before.

    An iteration goes to the end of the epoch; the next is of the next epoch. One that ends before goes on where it was.
    There is no `set_epoch` to call: epochs are counted in `consumed`.

    Args:
        dataset: a loaded dataset of mixtures, a `RecipeTable`, or a list of recipes.
        seed: a whole number, not negative.
        rank, world_size: which of how many processes this is.
        tail: of the last rows of an epoch, fewer than there are ranks, "drop" leaves them out of it, "pad" adds as many
            from the epoch's start, so that in either case all ranks have equally many.
        weights: of shape (rows,), if rows are to be drawn with these probabilities, with replacement.
        balanced: whether every label comes as often as every other, by a queue of all of them; see `BalancedOrder`.
            In either of these two an epoch is as many places as there are rows.

    Raises:
        TypeError: `dataset` is a stream, or something else.
        ValueError: an option is out of range; or a state is of another table or another order.

    Example:
        >>> import hive_datasets
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="train")
        >>> sampler = hive_datasets.ElasticSampler(ds, seed=1)
        >>> rows = iter(sampler)
        >>> [next(rows) for _ in range(6)]
        [11, 5, 21, 13, 0, 10]
        >>> state = sampler.state_dict()
        >>> state["consumed"], sampler.epoch
        (6, 0)
        >>> ranks = [hive_datasets.ElasticSampler(ds, seed=1, rank=rank, world_size=3) for rank in range(3)]
        >>> for rank in ranks:
        ...     rank.load_state_dict(state)
        >>> rest = [list(rank) for rank in ranks]
        >>> [len(each) for each in rest], sorted(sum(rest, [])) == sorted(rows)
        ([6, 6, 6], True)
    """

    def __init__(
        self,
        dataset: Dataset | RecipeTable | Sequence[Recipe],
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        *,
        tail: Tail = "drop",
        weights: npt.ArrayLike | None = None,
        balanced: bool = False,
    ) -> None:
        for name, value, least in (("seed", seed, 0), ("rank", rank, 0), ("world_size", world_size, 1)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"{name} must be a whole number, at least {least}, not {value!r}")
        if rank >= world_size:
            raise ValueError(f"rank must be below world_size, {world_size}, not {rank}: ranks are counted from 0")
        if tail not in get_args(Tail):
            raise ValueError(f"tail must be one of {', '.join(map(repr, get_args(Tail)))}, not {tail!r}")
        if weights is not None and balanced:
            raise ValueError("weights and balanced exclude each other: each says how often rows come")
        self.table = dataset if isinstance(dataset, RecipeTable) else RecipeTable(dataset)
        self.seed, self.rank, self.world_size, self.tail = int(seed), int(rank), int(world_size), tail
        self.order = _make_order(self.table, weights, balanced)
        #: Rows handed out by all ranks, in all epochs.
        self.consumed = 0

    @property
    def epoch(self) -> int:
        """Which epoch the next row is of."""
        return self.consumed // len(self.table)

    def __len__(self) -> int:
        """How many rows this rank has in a whole epoch."""
        return self.count_rounds(0)

    def __iter__(self) -> Iterator[int]:
        begun, num_rows = self.consumed, len(self.table)
        for turn, (_, row, _) in enumerate(self.draws(), start=1):
            self.consumed = min(begun + turn * self.world_size, begun - begun % num_rows + num_rows)
            yield row
        self.consumed = begun - begun % num_rows + num_rows

    def draws(self) -> Iterator[tuple[int, int, str | None]]:
        """What is left of the epoch for this rank: epoch, row, and the label that it was drawn for, if `balanced`.

        As of now: what is asked for is not counted as handed out.
        """
        return self._draw(*divmod(self.consumed, len(self.table)))

    def _draw(self, epoch: int, first: int) -> Iterator[tuple[int, int, str | None]]:
        rounds = self.count_rounds(first)
        for start in range(0, rounds, _BLOCK):
            turns = np.arange(start, min(start + _BLOCK, rounds))
            places = (first + self.rank + turns * self.world_size) % len(self.table)
            rows = self.order.rows(self.seed, epoch, places).tolist()
            labels = self.order.labels(self.seed, epoch, places)
            yield from zip(itertools.repeat(epoch), rows, labels, strict=False)

    def count_rounds(self, first: int) -> int:
        """How often all ranks take a row each, from a place to the end of an epoch."""
        rest = len(self.table) - first
        return rest // self.world_size if self.tail == "drop" else -(-rest // self.world_size)

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Where it is: the same on all ranks.

        Args:
            consumed: how many rows all ranks have trained on. Give it if `DataLoader` has workers, which ask for rows
                before they are trained on: ``epoch * len(ds) + steps * global_batch``, of the steps in that epoch.

        Returns:
            numbers and text: ``consumed``, ``seed``, ``num_rows``, ``fingerprint`` (of the table) and ``order``.
        """
        return {
            "consumed": self.consumed if consumed is None else int(consumed),
            "seed": self.seed,
            "num_rows": len(self.table),
            "fingerprint": self.table.fingerprint,
            "order": self.order.kind,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken, of whichever rank; its seed is taken over.

        Raises:
            ValueError: it is of another table, or of another order.
        """
        missing = [name for name in ("consumed", "seed", "num_rows", "fingerprint", "order") if name not in state]
        if missing:
            raise ValueError(f"this is no state of ElasticSampler: it lacks {', '.join(missing)}")
        if state["num_rows"] != len(self.table) or state["fingerprint"] != self.table.fingerprint:
            raise ValueError(
                f"the state is of another table, of {state['num_rows']:,} rows ({state['fingerprint']}); this one has "
                f"{len(self.table):,} ({self.table.fingerprint}). The same rows must be there in the same order: check "
                "metadata, split, filters and available_only."
            )
        if state["order"] != self.order.kind:
            raise ValueError(f"the state is of another order: {state['order']}; this one is {self.order.kind}")
        if not isinstance(state["consumed"], int) or state["consumed"] < 0:
            raise ValueError(f"consumed must be a number of rows, not {state['consumed']!r}")
        self.consumed, self.seed = state["consumed"], state["seed"]


def _make_order(table: RecipeTable, weights: npt.ArrayLike | None, balanced: bool) -> Order:
    if balanced:
        return BalancedOrder(table.label_batches())
    if weights is None:
        return ShuffledOrder(len(table))
    order = WeightedOrder(weights)
    if order.num_rows != len(table):
        raise ValueError(f"there are {order.num_rows:,} weights for {len(table):,} rows")
    return order

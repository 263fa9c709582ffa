"""A decoded row's mixture, which is rendered when its samples are first asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from ..mixing import Mixer
from ..recipe import Recipe

_SAMPLES = ("mix", "sources")
#: In this order.
KEYS = (*_SAMPLES, "sampling_rate", "num_samples", "labels", "recipe")


if TYPE_CHECKING:
    _LazyDict = dict[str, Any]
else:

    class _LazyDict(MutableMapping, dict):
        """A dict whose methods all go through the few that a subclass defines."""

        __slots__ = ()


class DecodedMixture(_LazyDict):
    """A mixture as a dict, whose samples are rendered when they are first asked for, once.

    Asking for any other key, for the keys themselves, or printing it renders nothing. Copying and pickling it do: a
    plain dict of everything is what a worker process hands on, so that it is the worker that renders.

    A `dict`, since the formats of `datasets` and the collating of PyTorch go into those.

    Keys:
        mix: float32 of shape (T,), the mixture.
        sources: float32 of shape (N, T), its sources in the recipe's order.
        sampling_rate: int, rate in Hz of both.
        num_samples: int, T.
        labels: list of N strings.
        recipe: JSON text, which `parse_recipe` reads.

    Args:
        stored: the recipe as `Mixture` stores it.
        mixer: renders it.

    Raises:
        SourceError, SourceRootError, SourceUnreachableError: a source cannot be read, when samples are asked for.

    Example:
        >>> import hive_datasets
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="train")
        >>> mixture = ds[0]["mixture"]
        >>> mixture
        DecodedMixture(sampling_rate=44100, num_samples=176400, labels=['Engine', 'Clock'], rendered=False)
        >>> mixture["mix"].shape, mixture["sources"].shape
        ((176400,), (2, 176400))
    """

    __slots__ = ("_mixer", "_pending", "_recipe", "_stored")
    __hash__ = None

    def __init__(self, stored: dict[str, Any], mixer: Mixer) -> None:
        self._stored, self._mixer = stored, mixer
        self._recipe = Recipe.from_stored(stored)
        #: Keys whose values are still to be made; the others are in the dict itself.
        self._pending = set(KEYS)

    def render(self) -> None:
        """Render the samples now, unless they are there."""
        if not self._pending.isdisjoint(_SAMPLES):
            self._put(self._mixer(self._recipe))

    def __getitem__(self, key: str) -> Any:
        if key in self._pending:
            self._make(key)
        return dict.__getitem__(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        dict.__setitem__(self, key, value)
        self._pending.discard(key)

    def __delitem__(self, key: str) -> None:
        if key in self._pending:
            self._pending.discard(key)
        else:
            dict.__delitem__(self, key)

    def __iter__(self) -> Iterator[str]:
        """In the same order, whatever was asked for first."""
        yield from [key for key in KEYS if key in self]
        yield from [key for key in dict.__iter__(self) if key not in KEYS]

    def __len__(self) -> int:
        return dict.__len__(self) + len(self._pending)

    def __contains__(self, key: object) -> bool:
        return key in self._pending or dict.__contains__(self, key)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def copy(self) -> dict[str, Any]:
        """Everything, as a plain dict."""
        return dict(self)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __repr__(self) -> str:
        known = ", ".join(f"{key}={self[key]!r}" for key in ("sampling_rate", "num_samples", "labels") if key in self)
        return f"{type(self).__name__}({known}, rendered={self._pending.isdisjoint(_SAMPLES)})"

    def _make(self, key: str) -> None:
        if key in _SAMPLES:
            self.render()
        elif key == "recipe":
            self._put({key: json.dumps(self._stored, default=_to_python)})
        elif key == "labels":
            self._put({key: [source.label for source in self._recipe.sources]})
        else:
            rate = self._mixer.sampling_rate or self._recipe.sample_rate
            self._put({"sampling_rate": rate, "num_samples": self._recipe.num_samples(rate)})

    def _put(self, values: Mapping[str, Any]) -> None:
        """Put in what is still to be made, and nothing over what was set."""
        for key, value in values.items():
            if key in self._pending:
                self[key] = value  # before it is no longer pending: another thread may be asking


def is_decoded(value: Any) -> bool:
    """Whether a value is a decoded mixture, or what was made of one."""
    return isinstance(value, Mapping) and "mix" in value and "sources" in value and "recipe" in value


def _to_python(value: Any) -> Any:
    """For JSON: what the numpy and torch formats leave in a recipe."""
    return value.tolist()

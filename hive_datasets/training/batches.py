"""From examples to what a step of training takes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast, get_args

import numpy as np
import numpy.typing as npt

from ..errors import SourceError
from ..mixing import Alignment
from ..recipe import Recipe
from ..rendering import RenderMixtures
from ..rendering.device import find_device
from .labels import LabelEncoder
from .targets import Example, SelectTarget

if TYPE_CHECKING:
    import torch

#: What is made of audio beside the mixture.
_SIGNALS = ("target", "interference", "sources")
#: What becomes of examples whose audio cannot be read.
OnError = Literal["raise", "skip", "replace"]


class ExampleBatch(TypedDict, total=False):
    """What a step of training takes: arrays of numpy, or tensors of PyTorch on the device that was asked for.

    Keys:
        mixture: float32 of shape (B, T), zeros after the end of shorter ones.
        target: float32 of shape (B, T), what is asked for; zeros where silence is right.
        interference: float32 of shape (B, T), the rest: ``target + interference`` is ``mixture``.
        sources: float32 of shape (B, N, T), all sources in the recipes' order; zeros where there are fewer than N.
        mask: bool of shape (B, N), where there are sources.
        num_samples: int64 of shape (B,), how long each mixture is.
        query: list of B strings, what is asked for as text.
        label: list of B strings, the label of that.
        labels: list of B lists of strings, those of the sources, in order.
        query_class: int64 of shape (B,), the number of `label`.
        query_classes: float32 of shape (B, C), its multi-hot vector.
        mixture_classes: float32 of shape (B, C), that of all labels of the mixture.
        embedding: float32 of shape (B, D), that of `label`.
        mix_id: list of B strings.
        options: list of B dicts, what `SelectTarget` did.
        sampling_rate: int, rate in Hz.
    """

    mixture: Any
    target: Any
    interference: Any
    sources: Any
    mask: Any
    num_samples: Any
    query: list[str]
    label: list[str]
    labels: list[list[str]]
    query_class: Any
    query_classes: Any
    mixture_classes: Any
    embedding: Any
    mix_id: list[str]
    options: list[dict[str, Any]]
    sampling_rate: int


class RenderExamples:
    """Renders batches of examples: one call from recipes to what a step of training takes.

    Mixtures are those of `RenderMixtures`; a recipe that several examples share is rendered once.

    Args:
        sampling_rate, device, num_threads, dataset_paths, prepared, alignment: as for `RenderMixtures`.
        select: makes examples of recipes; by default ``SelectTarget()``.
        signals: what is made of audio beside the mixture: "target", "interference", "sources". What is not asked for
            costs nothing.
        encoder: if labels are wanted as numbers.
        embeddings: a vector of every label that is asked for, all of one length, such as ``numpy.load("clap.npz")``.
        on_error: of examples whose audio cannot be read: "raise", "skip" to leave them out, or "replace" to repeat
            others of the batch in their place, which keeps it whole, as ranks that train in step need it; if there are
            none, that is an error. A server that does not answer is one in any case.
        pin_memory: whether tensors lie in pinned memory, from which ``.to("cuda", non_blocking=True)`` does not wait.

    Raises:
        ValueError: an option is out of range; or, when called, recipes have different rates.
        ImportError, RuntimeError: the device needs PyTorch, which is not installed or finds no such device.
        KeyError: there is no embedding of a label, when called.
        UnknownLabelError: a label is no class of the encoder, when called.
        SourceRootError, SourceError, SourceUnreachableError: audio cannot be read, when called.

    Example:
        >>> import hive_datasets
        >>> demo = hive_datasets.demo_folder()
        >>> recipes = list(hive_datasets.read_recipes(demo / "metadata" / "train"))[:8]
        >>> render = RenderExamples(16000, select=SelectTarget(silent=0.2), dataset_paths=demo / "sources")
        >>> batch = render(recipes, epoch=3)
        >>> batch["mixture"].shape, batch["target"].shape
        ((8, 64000), (8, 64000))
        >>> batch["query"][:3], batch["options"][:3]
        (['Engine', 'Drip', 'Ding'], [{'silent': False}, {'silent': False}, {'silent': False}])
    """

    def __init__(
        self,
        sampling_rate: int | None = None,
        *,
        select: SelectTarget | None = None,
        signals: Collection[str] = ("target",),
        encoder: LabelEncoder | None = None,
        embeddings: Mapping[str, npt.ArrayLike] | None = None,
        device: str | int | torch.device | None = None,
        num_threads: int = 1,
        dataset_paths: Any = None,
        prepared: Any = None,
        alignment: Alignment = "authors",
        on_error: OnError = "raise",
        pin_memory: bool = False,
    ) -> None:
        unknown = set(signals) - set(_SIGNALS)
        if isinstance(signals, str) or unknown:
            raise ValueError(f"signals must be some of {', '.join(map(repr, _SIGNALS))}, not {signals!r}")
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error must be one of {', '.join(map(repr, get_args(OnError)))}, not {on_error!r}")
        self.select = SelectTarget() if select is None else select
        self.signals, self.on_error = tuple(signals), on_error
        self.encoder, self.embeddings = encoder, embeddings
        if pin_memory:
            device = _check_pinning(device)
        self.pin_memory = pin_memory
        self._render = RenderMixtures(
            sampling_rate,
            device=device,
            num_threads=num_threads,
            dataset_paths=dataset_paths,
            prepared=prepared,
            alignment=alignment,
            on_error="raise" if on_error == "raise" else "skip",
        )

    @property
    def device(self) -> torch.device | None:
        """Where batches are; None for numpy's arrays."""
        return self._render.device

    @property
    def skipped(self) -> Counter[str]:
        """Examples left out or replaced since this was last cleared, by the path of what could not be read."""
        return self._render.skipped

    def __call__(self, items: Sequence[Recipe | Example], epoch: int = 0) -> ExampleBatch:
        """Render recipes, of which `select` makes examples as of that epoch, or examples."""
        examples: list[Example] = []
        for item in items:
            examples += [item] if isinstance(item, Example) else self.select(item, epoch)
        recipes = list({id(example.recipe): example.recipe for example in examples}.values())
        needs_sources = "sources" in self.signals or len(recipes) < len(examples)
        rendered: Any = (
            self._render.render(recipes)
            if needs_sources
            else self._render.render_targets(recipes, [example.targets for example in examples])
        )
        rows = {id(recipes[position]): row for row, position in enumerate(rendered["positions"].tolist())}
        kept = self._keep(examples, rows)
        batch: Any = {
            "query": [example.query for example in kept],
            "label": [example.label for example in kept],
            "labels": [example.recipe.labels for example in kept],
            "mix_id": [example.recipe.mix_id for example in kept],
            "options": [example.options for example in kept],
            "sampling_rate": rendered["sampling_rate"],
            **self._arrange(rendered, kept, [rows[id(example.recipe)] for example in kept]),
        }
        encoded: dict[str, Any] = self._encode(batch)
        if self._render.device is not None:
            import torch

            encoded = {name: torch.from_numpy(value).to(self._render.device) for name, value in encoded.items()}
        batch |= encoded
        if self.pin_memory:
            batch = {name: value.pin_memory() if hasattr(value, "dtype") else value for name, value in batch.items()}
        return cast(ExampleBatch, batch)

    def _keep(self, examples: Sequence[Example], rows: Mapping[int, int]) -> list[Example]:
        """The examples whose recipes were read, or as many as there were."""
        read = [id(example.recipe) in rows for example in examples]
        if all(read) or self.on_error == "skip":
            return [example for example, is_read in zip(examples, read, strict=True) if is_read]
        if not any(read):
            self._render.mixer(examples[0].recipe)  # which raises the error that says why
            raise SourceError(f"mixture {examples[0].recipe.mix_id} could not be read, and now it can: go on from here")
        found = [example for example, is_read in zip(examples, read, strict=True) if is_read]
        others = itertools.cycle(found)
        return [example if is_read else next(others) for example, is_read in zip(examples, read, strict=True)]

    def _arrange(self, rendered: Mapping[str, Any], kept: Sequence[Example], rows: list[int]) -> dict[str, Any]:
        """The signals of each example, and what tells their shapes."""
        is_whole = rows == list(range(len(rendered["mix"])))
        found = {name: value if is_whole else value[rows] for name, value in rendered.items() if name in _ARRAYS}
        mixture, num_sources = found["mix"], found["num_sources"]
        signals = {"mixture": mixture, "num_samples": found["num_samples"]}
        if "sources" in found:
            target = self._empty_like(mixture, "target")
            for row, example in enumerate(kept):
                target[row] = found["sources"][row, example.targets[0]] if example.targets else 0.0
                for number in example.targets[1:]:
                    target[row] += found["sources"][row, number]
        else:
            target = found["target"]
        if "target" in self.signals:
            signals["target"] = target
        if "interference" in self.signals:
            signals["interference"] = self._empty_like(mixture, "interference")
            signals["interference"][:] = mixture
            signals["interference"] -= target
        if "sources" in self.signals:
            signals["sources"] = found["sources"]
            numbers = np.arange(found["sources"].shape[1])
            if self._render.device is not None:
                import torch

                numbers = torch.from_numpy(numbers).to(self._render.device)  # type: ignore[assignment]
            signals["mask"] = numbers < num_sources[:, None]
        return signals

    def _empty_like(self, array: Any, name: str) -> Any:
        """An array of the same kind and shape, on the CPU in memory of earlier ones that nobody holds."""
        is_numpy = isinstance(array, np.ndarray)
        if not is_numpy and array.is_cuda:
            return array.new_empty(array.shape)
        taken = self._render.memory.take(name, tuple(array.shape))
        if is_numpy:
            return taken
        import torch

        return torch.from_numpy(taken)

    def _encode(self, batch: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Labels as numbers and vectors."""
        encoded: dict[str, npt.NDArray[Any]] = {}
        if self.encoder is not None:
            count, encoder = len(batch["label"]), self.encoder
            encoded["query_class"] = np.array([encoder.index(label) for label in batch["label"]], dtype=np.int64)
            vectors = {"query_classes": [[label] for label in batch["label"]], "mixture_classes": batch["labels"]}
            for name, labels in vectors.items():
                encoded[name] = np.array(list(map(encoder.multi_hot, labels)), np.float32).reshape(count, len(encoder))
        if self.embeddings is not None:
            missing = [label for label in batch["label"] if label not in self.embeddings]
            if missing:
                raise KeyError(f"mixture {batch['mix_id'][0]} and others: embeddings has no vector of {missing[0]!r}")
            encoded["embedding"] = np.array([self.embeddings[label] for label in batch["label"]], dtype=np.float32)
        return encoded


#: What is rendered of each mixture.
_ARRAYS = ("mix", "target", "sources", "num_sources", "num_samples")


def _check_pinning(device: Any) -> Any:
    found = find_device("cpu" if device is None else device)
    if found.type != "cpu":
        raise ValueError(f"pin_memory is for batches on the CPU: on {found}, they are where they are wanted")
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("pin_memory=True needs a CUDA device, to which memory is pinned, and there is none")
    return found

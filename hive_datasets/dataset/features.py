"""`Mixture`: a feature type of `datasets` that is to a recipe what `Audio` is to a path.

Stored is the recipe, as an Arrow struct of a few hundred bytes; audio exists only when a row is handed out.
"""

from __future__ import annotations

import functools
import threading
import warnings
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, Literal, get_args

import pyarrow as pa
from datasets import Audio, Features, Sequence, Value
from datasets.features.features import register_feature

from ..errors import MixtureFeatureWarning, SourceError, SourceRootError, UnreadableSourceWarning
from ..mixing import Alignment, Mixer, Stems
from ..mixing.origins import find_origin, is_known, remember_origin
from ..recipe import RECIPE_SCHEMA, RECIPE_TYPE, Recipe, parse_recipe
from ..recipe.tables import struct_from_rows, struct_from_table, table_from_hub, to_stored
from .decoded import DecodedMixture, is_decoded

#: What happens to a row whose audio cannot be read.
OnError = Literal["raise", "skip"]
#: By which a stored recipe is known.
_FACTOR = "global_normalization_factor"
#: A recipe without its origin, as caches hold it.
_PLAIN_TYPE = pa.struct(list(RECIPE_SCHEMA))


@dataclass
class Mixture:
    """Feature of a column of mixtures, decoded on access.

    A decoded value is a dict of ``mix``, float32 of shape (T,), and ``sources``, float32 of shape (N, T), both rendered
    when one of them is first asked for; ``sampling_rate``, int, in Hz; ``num_samples``, int, T; ``labels``, N strings;
    and ``recipe``, the row's recipe as JSON text, by which a decoded value can be stored again (``json.loads`` or
    `parse_recipe` reads it). What is stored is always the recipe: audio that a function of `map` has changed belongs
    into another column.

    In threads other than the main one, and with ``on_error="skip"``, samples are rendered at once.

    Where the corpora are, or prepared sources, is looked up when a row is decoded. It is never stored, not in a file
    and not in the cache: a row holds a number that stands for what its ``load_dataset("hive", ...)`` was told, in the
    process that called it and those that it hands datasets to. See `hive_datasets.mixing.origins`.

    Args:
        sampling_rate: rate in Hz to render at; None for the recipe's (44100).
        stems: "scaled", so that ``sources.sum(0)`` is ``mix``, or "unscaled", as the authors render them.
        decode: False hands out the stored recipe, a dict, instead of audio.
        on_error: "raise", or "skip" to hand out None instead of a mixture that cannot be read, with one
            warning a file. A stream drops those rows with `skip_unreadable`. A server that does not answer is an
            error in either case.
        alignment: as for `Mixer`.
        dataset_paths: where the corpora are of all rows, as `load_dataset` takes it; by default where each row's
            dataset was told that they are, else ``HIVE_DATASET_PATHS``, else the config file.
        prepared: prepared sources of all rows, as for `Mixer`; by default those of each row's dataset.
        origin: the number that stands for those two, by which a feature that is written down finds them again.

    Raises:
        ValueError: an option is out of range.
        SourceRootError, SourceError, SourceUnreachableError: audio cannot be read, when samples are asked for.

    Example:
        >>> import hive_datasets
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="train", streaming=True)
        >>> ds = ds.cast_column("mixture", hive_datasets.Mixture(sampling_rate=16000))
        >>> next(iter(ds))["mixture"]["mix"].shape
        (64000,)
    """

    sampling_rate: int | None = None
    stems: Stems = "scaled"
    decode: bool = True
    on_error: OnError = "raise"
    alignment: Alignment = "authors"
    dataset_paths: InitVar[Any] = None
    prepared: InitVar[Any] = None
    origin: int | None = None
    # how `datasets` describes a feature
    dtype: ClassVar[str] = "dict"
    pa_type: ClassVar[Any] = RECIPE_TYPE
    _type: str = field(default="Mixture", init=False, repr=False)

    def __post_init__(self, dataset_paths: Any, prepared: Any) -> None:
        if self.on_error not in get_args(OnError):
            raise ValueError(
                f"on_error must be one of {', '.join(map(repr, get_args(OnError)))}, not {self.on_error!r}"
            )
        if dataset_paths is not None or prepared is not None:
            self.origin = remember_origin(dataset_paths, prepared)
        elif is_known(self.origin):  # a copy, or one that was written down by this process
            given = find_origin(self.origin)
            dataset_paths, prepared = given.roots, given.prepared
        # an attribute, not a field: `datasets` writes the fields of a feature into files and caches
        self._mixer = Mixer(dataset_paths, self.sampling_rate, self.stems, prepared, self.alignment)
        self._warned: dict[str, object] = {}

    def __call__(self) -> pa.DataType:
        """The Arrow type of what is stored."""
        return self.pa_type

    def encode_example(self, value: Any) -> dict[str, Any]:
        """What is stored of a recipe in any shape that `parse_recipe` reads; a decoded value is left as it is."""
        if is_decoded(value):
            return value if isinstance(value, dict) else dict(value)
        return to_stored(value if isinstance(value, Recipe) else parse_recipe(value), self.origin)

    def decode_example(
        self, value: dict[str, Any], token_per_repo_id: dict[str, str | bool | None] | None = None
    ) -> dict[str, Any] | None:
        """A stored recipe as a mixture that renders itself; a decoded value is handed on as it is."""
        if not self.decode:
            raise RuntimeError("Decoding is off for this feature. Use Mixture(decode=True).")
        if is_decoded(value):
            return value
        decoded = DecodedMixture(value, self._mixer)
        if self.on_error == "skip":  # which tells by rendering
            try:
                decoded.render()
            except (SourceError, SourceRootError) as error:
                if isinstance(error, SourceRootError) and not error.configured:
                    raise
                self._warn_once(error)
                return None
        elif threading.current_thread() is not threading.main_thread():  # which `decode(num_threads=)` began for that
            decoded.render()
        return decoded

    def cast_storage(self, storage: pa.Array) -> pa.StructArray:
        """Recipes in any stored shape, JSON text, or decoded values, as what this feature stores.

        Rows that do not say where they came from get the origin of this feature.
        """
        if storage.type == self.pa_type:
            return storage
        if pa.types.is_null(storage.type):
            return storage.cast(self.pa_type)
        if pa.types.is_string(storage.type) or pa.types.is_large_string(storage.type):
            return struct_from_rows(storage.to_pylist(), self.origin)
        if pa.types.is_struct(storage.type):
            names = [field.name for field in storage.type]
            if "recipe" in names:  # decoded values, which `map` writes back when a function has looked at them
                return struct_from_rows(storage.field("recipe").to_pylist(), self.origin)
            if storage.null_count == 0 and "origin" not in names and set(RECIPE_SCHEMA.names) <= set(names):
                table = pa.Table.from_struct_array(storage)
                is_checked = storage.type == _PLAIN_TYPE
                return struct_from_table(table if is_checked else table_from_hub(table), self.origin)
            return struct_from_rows(storage.to_pylist(), self.origin)
        raise TypeError(f"cannot make mixtures of {storage.type}: give recipes as structs or as JSON text")

    def embed_storage(self, storage: pa.StructArray, **options: Any) -> pa.StructArray:
        """As it is; `push_to_hub` asks for it, of what is to be read where this library may not be."""
        warnings.warn(
            'a Mixture column can be loaded only where hive_datasets is imported: plain `datasets` ends with "Feature '
            "type 'Mixture' not found\". To push or write what everybody can load, use recipes_as_structs(dataset), or "
            "mixtures_as_audio(dataset) for its sound.",
            MixtureFeatureWarning,
            stacklevel=2,
        )
        return storage

    def flatten(self) -> dict[str, Any]:
        """The stored fields as features of their own, if decoding is off."""
        if self.decode:
            raise ValueError("Cannot flatten a decoded Mixture feature. Use Mixture(decode=False).")
        return dict(Features.from_arrow_schema(pa.schema(list(self.pa_type))))

    def _warn_once(self, error: SourceError | SourceRootError) -> None:
        """One warning a file (or a corpus without a root), however many mixtures need it."""
        path = error.path or ""
        subject = path.split("/")[0] if isinstance(error, SourceRootError) else path
        token = object()
        if self._warned.setdefault(subject, token) is token:  # in one step: there may be threads
            warnings.warn(
                f"skipping every mixture that needs {subject!r}: {error}", UnreadableSourceWarning, stacklevel=2
            )


def mixture_features(mixture: Mixture | None) -> Features:
    """The columns of ``load_dataset("hive")``; without `Mixture`, those of its cache, with recipes as plain structs."""
    return Features(
        {
            "mix_id": Value("string"),
            "num_sources": Value("int32"),
            "labels": Sequence(Value("string")),
            "mixture": dict(Features.from_arrow_schema(RECIPE_SCHEMA)) if mixture is None else mixture,
        }
    )


def register_mixture() -> None:
    """Make `datasets` know the feature by its name, so that it survives files and caches.

    And let `Audio`, which takes any struct and then says that neither `path` nor `bytes` is there, say of mixtures what
    makes audio of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # register_feature warns that it is experimental
        register_feature(Mixture, "Mixture")
    original = Audio.cast_storage
    if getattr(original, "knows_mixtures", False):
        return

    @functools.wraps(original)
    def cast_storage(self: Audio, storage: Any) -> Any:
        if pa.types.is_struct(storage.type) and storage.type.get_field_index(_FACTOR) >= 0:
            raise TypeError(
                "a recipe is no file of audio: mixtures_as_audio(dataset) renders mixtures to Audio columns. "
                'For another rate: cast_column("mixture", Mixture(sampling_rate=16000))'
            )
        return original(self, storage)

    cast_storage.knows_mixtures = True  # type: ignore[attr-defined]
    Audio.cast_storage = cast_storage

"""From a row in any published shape to a checked `Recipe`.

This is the slow, obvious reading, one row at a time. Whole Arrow tables are checked in `tables` by vector
arithmetic, which comes back here to say what is wrong with the row that it found.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from ..errors import RecipeError
from .schema import (
    MAX_DURATION,
    MAX_GAIN,
    MAX_SAMPLE_RATE,
    MAX_SAMPLES,
    MAX_SECOND,
    MAX_SOURCES,
    MAX_TEXT_BYTES,
    SOURCE_FIELDS,
    Recipe,
    Source,
)

#: Those of Hive.
SPLITS = ("train", "validation", "test")
_SPLIT_ALIASES = {"val": "validation", "valid": "validation", "dev": "validation"}
#: Paths that could lead out of a corpus' folder; a pattern that `re` and Arrow both read.
UNSAFE_PATH = r"^/|//|/$|(^|/)\.\.?(/|$)"
_UNSAFE_PATH = re.compile(UNSAFE_PATH.replace("$", r"\Z"))  # `re` has "$" before a last line break, too
_SOURCE_FIELD_NAMES = [name for name, _ in SOURCE_FIELDS]


def find_slip(split: str) -> str | None:
    """The split of Hive that a name is a slip of, its letters in another order; None of any other name.

    Example:
        >>> find_slip("trian"), find_slip("train"), find_slip("dev")
        ('train', None, None)
    """
    return next((name for name in SPLITS if sorted(name) == sorted(split) and name != split), None)


def normalize_split(split: str) -> str:
    """The authors' folders say "val" where the Hub says "validation".

    Example:
        >>> normalize_split("val")
        'validation'
    """
    return _SPLIT_ALIASES.get(split, split)


def parse_recipe(row: Mapping[str, Any] | str, where: str | None = None) -> Recipe:
    """Check a row of Hive's metadata and make a `Recipe` of it.

    Three shapes are read: the Hub's (`sources` a dict of lists), the same with `sources` as a list of dicts,
    and the authors' JSON (`dataset_info`, `mixing_params`); each as a mapping or as JSON text, and lists also as
    arrays, as numpy and Ray hand them over. What holds a recipe stands for it: a row of ``load_dataset("hive")`` (its
    `mixture`), a mixture that was rendered, or the JSON beside one in a tar (their `recipe`). Fields
    that the schema does not know are ignored. Labels may be any text.

    Args:
        row: the row.
        where: the row's origin, for the error message.

    Raises:
        RecipeError: a field is missing or ill-typed, an interval is negative, empty or reversed, a number
            is not finite, or beyond what a row may ask for (the ``MAX_`` numbers of `hive_datasets.recipe.schema`),
            a path is absolute or contains "..", there are no sources, or `num_sources` disagrees with them.

    Example:
        >>> recipe = parse_recipe({
        ...     "mix_id": "sample_00000000", "num_sources": 1,
        ...     "dataset_info": {"split": "val", "sample_rate": 44100, "target_duration": 4.0},
        ...     "sources": [{
        ...         "source_id": "s1", "path": "ESC-50-master/audio/1-59513-A-0.wav", "label": "Bark",
        ...         "crop_start_second": 0.5, "crop_end_second": 4.5,
        ...         "chunk_start_second": 0.0, "chunk_end_second": 5.0,
        ...         "rms_gain": 2.0, "snr_db": 0.0, "applied_weight": 2.0,
        ...     }],
        ...     "mixing_params": {"global_normalization_factor": 0.9, "final_max_amplitude": 0.95},
        ... })
        >>> recipe.split, recipe.labels
        ('validation', ['Bark'])
    """
    if isinstance(row, str):
        row = _load_json(row, where)
    if not isinstance(row, Mapping):
        raise RecipeError(_message(f"a row must be an object, not {_kind(row)}", where), where=where)
    if "global_normalization_factor" not in row and "mixing_params" not in row:
        for name in ("recipe", "mixture"):  # of what was rendered, or of a row of a dataset
            if isinstance(row.get(name), (str, Mapping)):
                return parse_recipe(row[name], where)
    mix_id = row.get("mix_id")
    fields = _Fields(row, where, mix_id if isinstance(mix_id, str) else None)
    info = fields.nested("dataset_info")
    mixing = fields.nested("mixing_params")
    recipe = Recipe(
        mix_id=fields.text("mix_id"),
        split=normalize_split(info.split()),
        sample_rate=info.count("sample_rate"),
        target_duration=info.positive("target_duration"),
        sources=_parse_sources(fields),
        global_normalization_factor=mixing.positive("global_normalization_factor"),
        final_max_amplitude=mixing.positive("final_max_amplitude"),
        origin=fields.origin(),
    )
    _check_size(recipe, fields)
    if row.get("num_sources") is not None and fields.count("num_sources") != recipe.num_sources:
        raise fields.error("num_sources", f"is {row['num_sources']}, but there are {recipe.num_sources} sources")
    return recipe


def check_recipe(recipe: Recipe) -> None:
    """Make sure that a recipe that was not parsed here asks for nothing that a row may not; in a microsecond.

    Raises:
        RecipeError: it does.
    """
    samples = recipe.target_duration * recipe.sample_rate * (1 + len(recipe.sources))
    is_fine = 0.0 < samples <= MAX_SAMPLES and 0.0 < recipe.global_normalization_factor <= MAX_GAIN
    for source in recipe.sources:
        is_fine = (
            is_fine
            and 0.0 <= source.chunk_start_second < source.chunk_end_second <= MAX_SECOND
            and 0.0 <= source.crop_start_second < source.crop_end_second <= MAX_SECOND
            and -MAX_GAIN <= source.applied_weight <= MAX_GAIN
        )
    if not is_fine:  # which NaN makes of any comparison
        parse_recipe(recipe.to_dict())


def _load_json(text: str, where: str | None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # a ValueError, too, for a number of too many digits
        raise RecipeError(_message(f"not valid JSON: {error}", where), where=where) from None


def _check_size(recipe: Recipe, fields: _Fields) -> None:
    """Refuse what would take a machine down."""
    samples = recipe.num_samples(recipe.sample_rate) * (1 + recipe.num_sources)
    if samples > MAX_SAMPLES:
        raise fields.error(
            "target_duration",
            f"is {recipe.target_duration:g} s, which makes {samples:,} samples of {recipe.num_sources} sources and the "
            f"mixture at {recipe.sample_rate:,} Hz: more than {MAX_SAMPLES:,}",
        )


def _parse_sources(fields: _Fields) -> tuple[Source, ...]:
    sources = fields.required("sources")
    if isinstance(sources, Mapping):
        sources = _transpose(sources, fields)
    if isinstance(sources, (str, bytes)) or not isinstance(sources, Sequence):
        raise fields.error("sources", f"must be a list of objects or an object of lists, not {_kind(sources)}")
    if not sources:
        raise fields.error("sources", "is empty: a mixture needs at least one source")
    if len(sources) > MAX_SOURCES:
        raise fields.error("sources", f"has {len(sources):,} entries: a mixture may have {MAX_SOURCES}")
    return tuple(_parse_source(source, index, fields) for index, source in enumerate(sources))


def _transpose(columns: Mapping[str, Any], fields: _Fields) -> list[dict[str, Any]]:
    """From a dict of lists, as the Hub stores `sources`, to a list of dicts."""
    lengths = {}
    for name in _SOURCE_FIELD_NAMES:
        values = columns.get(name)
        if _is_coarse(values):
            raise fields.error(f"sources.{name}", _TOO_COARSE)
        values = _as_python(values)
        if values is None:
            raise fields.error(f"sources.{name}", "is missing")
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
            raise fields.error(f"sources.{name}", f"must be a list, not {_kind(values)}")
        lengths[name] = len(values)
    if len(set(lengths.values())) > 1:
        raise fields.error("sources", f"has lists of different lengths: {lengths}")
    if lengths["path"] > MAX_SOURCES:
        raise fields.error("sources", f"has {lengths['path']:,} entries: a mixture may have {MAX_SOURCES}")
    rows = zip(*(_as_python(columns[name]) for name in _SOURCE_FIELD_NAMES), strict=True)
    return [dict(zip(_SOURCE_FIELD_NAMES, values, strict=True)) for values in rows]


def _parse_source(source: Any, index: int, recipe: _Fields) -> Source:
    if not isinstance(source, Mapping):
        raise recipe.error(f"sources[{index}]", f"must be an object, not {_kind(source)}")
    source_id = source.get("source_id")
    label = source_id if isinstance(source_id, str) and source_id else f"#{index + 1}"
    fields = _Fields(source, recipe.where, recipe.mix_id, source_id=label)
    parsed = Source(
        source_id=fields.text("source_id"),
        path=fields.relative_path("path"),
        label=fields.text("label", empty=True),
        crop_start_second=fields.number("crop_start_second"),
        crop_end_second=fields.number("crop_end_second"),
        chunk_start_second=fields.number("chunk_start_second"),
        chunk_end_second=fields.number("chunk_end_second"),
        rms_gain=fields.number("rms_gain"),
        snr_db=fields.number("snr_db"),
        applied_weight=fields.gain("applied_weight"),
    )
    fields.interval("crop_start_second", "crop_end_second")
    fields.interval("chunk_start_second", "chunk_end_second")
    return parsed


class _Fields:
    """Typed access to a row's fields; every fault becomes a `RecipeError` that says where it is."""

    def __init__(
        self, row: Mapping[str, Any], where: str | None, mix_id: str | None, source_id: str | None = None
    ) -> None:
        self.row, self.where, self.mix_id, self.source_id = row, where, mix_id, source_id

    def error(self, field: str, problem: str) -> RecipeError:
        message = _message(f"{field} {problem}", self.where, self.mix_id, self.source_id)
        return RecipeError(
            message, where=self.where, mix_id=self.mix_id, source_id=self.source_id, field=field.split(".")[-1]
        )

    def nested(self, name: str) -> _Fields:
        """The fields below `name` as the authors' JSON has them, else those of the row itself, as the Hub has them."""
        inner = self.row.get(name)
        if inner is None:
            return self
        if not isinstance(inner, Mapping):
            raise self.error(name, f"must be an object, not {_kind(inner)}")
        return _Fields({**self.row, **inner}, self.where, self.mix_id)

    def required(self, name: str) -> Any:
        value = self.row.get(name)
        if value is None:
            raise self.error(name, "is missing")
        if _is_coarse(value):
            raise self.error(name, _TOO_COARSE)
        return _as_python(value)

    def text(self, name: str, empty: bool = False) -> str:
        value = self.required(name)
        if not isinstance(value, str):
            raise self.error(name, f"must be text, not {_kind(value)}")
        if not value and not empty:
            raise self.error(name, "is empty")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise self.error(name, f"is {value!r:.60}: half a surrogate pair is no text")
        if 4 * len(value) > MAX_TEXT_BYTES and len(value.encode()) > MAX_TEXT_BYTES:
            raise self.error(name, f"is {value!r:.60}..., of more than {MAX_TEXT_BYTES:,} bytes")
        return value

    def split(self) -> str:
        value = self.text("split")
        meant = find_slip(value)
        if meant:
            raise self.error("split", f"is {value!r}: did you mean {meant!r}?")
        return value

    def relative_path(self, name: str) -> str:
        value = self.text(name)
        if _UNSAFE_PATH.search(value):
            raise self.error(name, f"is {value!r}: it must be relative and not contain '..'")
        return value

    def number(self, name: str) -> float:
        value = self.required(name)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise self.error(name, f"must be a number, not {_kind(value)}")
        try:
            number = float(value)
        except OverflowError:  # of a whole number of hundreds of digits
            number = math.inf
        if not math.isfinite(number):
            raise self.error(name, f"is {number}: it must be finite")
        return number

    def positive(self, name: str) -> float:
        value = self.number(name)
        if value <= 0:
            raise self.error(name, f"is {value}: it must be above 0")
        if value > _LARGEST[name]:
            raise self.error(name, f"is {value}: it must be at most {_LARGEST[name]:,.0f}")
        return value

    def gain(self, name: str) -> float:
        value = self.number(name)
        if abs(value) > MAX_GAIN:
            raise self.error(name, f"is {value}: a gain must be at most {MAX_GAIN:g}")
        return value

    def origin(self) -> int | None:
        """Where a row of a dataset came from; of metadata, which may have any such field, None."""
        value = _as_python(self.row.get("origin"))
        return int(value) if isinstance(value, Integral) and 0 <= int(value) < 2**31 else None

    def count(self, name: str) -> int:
        value = self.required(name)
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise self.error(name, f"must be a whole number, not {_kind(value)}")
        largest = _LARGEST.get(name, 2**31 - 1)
        if not 0 < int(value) <= largest:
            shown = str(value) if abs(int(value)) < 10**20 else "huge"
            raise self.error(name, f"is {shown}: it must be above 0 and at most {largest:,}")
        return int(value)

    def interval(self, start: str, end: str) -> None:
        first, last = self.number(start), self.number(end)
        if first < 0:
            raise self.error(start, f"is {first}: it must not be negative")
        if last <= first:
            raise self.error(end, f"is {last}, not after {start}, {first}")
        if last > MAX_SECOND:
            raise self.error(end, f"is {last}: no file has more than {MAX_SECOND:,.0f} s")


_LARGEST = {
    "sample_rate": MAX_SAMPLE_RATE,
    "target_duration": MAX_DURATION,
    "global_normalization_factor": MAX_GAIN,
    "final_max_amplitude": MAX_GAIN,
}


_TOO_COARSE = (
    "has 32 bits, as PyTorch's format makes of it, in which seconds are off by samples: take the row of a dataset "
    "without a format, with_format(None)"
)


def _is_coarse(value: Any) -> bool:
    """Whether a number, or an array of such, has lost what decides samples."""
    return str(getattr(value, "dtype", "")).rpartition(".")[2] in ("float32", "float16", "bfloat16")


def _as_python(value: Any) -> Any:
    """A number, or a list, of what numpy, torch or Ray made of it."""
    return value.tolist() if hasattr(value, "tolist") else value


def _message(problem: str, where: str | None, mix_id: str | None = None, source_id: str | None = None) -> str:
    parts = [where, mix_id and f"mixture {mix_id}", source_id and f"source {source_id}"]
    place = ", ".join(part for part in parts if part)
    return f"{place}: {problem}" if place else problem


def _kind(value: Any) -> str:
    try:
        return f"{type(value).__name__} {value!r:.60}"
    except ValueError:  # a number of too many digits to be written out
        return type(value).__name__

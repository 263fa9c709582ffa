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
from .schema import SOURCE_FIELDS, Recipe, Source

_SPLIT_ALIASES = {"val": "validation", "valid": "validation", "dev": "validation"}
#: Paths that could lead out of a corpus' folder; a pattern that `re` and Arrow both read.
UNSAFE_PATH = r"^/|//|/$|(^|/)\.\.?(/|$)"
_UNSAFE_PATH = re.compile(UNSAFE_PATH.replace("$", r"\Z"))  # `re` has "$" before a last line break, too
_SOURCE_FIELD_NAMES = [name for name, _ in SOURCE_FIELDS]


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
    and the authors' JSON (`dataset_info`, `mixing_params`); each as a mapping or as JSON text. Fields
    that the schema does not know are ignored. Labels may be any text.

    Args:
        row: the row.
        where: the row's origin, for the error message.

    Raises:
        RecipeError: a field is missing or ill-typed, an interval is negative, empty or reversed, a number
            is not finite, a path is absolute or contains "..", there are no sources, or `num_sources`
            disagrees with them.

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
    mix_id = row.get("mix_id")
    fields = _Fields(row, where, mix_id if isinstance(mix_id, str) else None)
    info = fields.nested("dataset_info")
    mixing = fields.nested("mixing_params")
    recipe = Recipe(
        mix_id=fields.text("mix_id"),
        split=normalize_split(info.text("split")),
        sample_rate=info.count("sample_rate"),
        target_duration=info.positive("target_duration"),
        sources=_parse_sources(fields),
        global_normalization_factor=mixing.positive("global_normalization_factor"),
        final_max_amplitude=mixing.positive("final_max_amplitude"),
    )
    if row.get("num_sources") is not None and fields.count("num_sources") != recipe.num_sources:
        raise fields.error("num_sources", f"is {row['num_sources']}, but there are {recipe.num_sources} sources")
    return recipe


def _load_json(text: str, where: str | None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RecipeError(_message(f"not valid JSON: {error}", where), where=where) from None


def _parse_sources(fields: _Fields) -> tuple[Source, ...]:
    sources = fields.required("sources")
    if isinstance(sources, Mapping):
        sources = _transpose(sources, fields)
    if isinstance(sources, (str, bytes)) or not isinstance(sources, Sequence):
        raise fields.error("sources", f"must be a list of objects or an object of lists, not {_kind(sources)}")
    if not sources:
        raise fields.error("sources", "is empty: a mixture needs at least one source")
    return tuple(_parse_source(source, index, fields) for index, source in enumerate(sources))


def _transpose(columns: Mapping[str, Any], fields: _Fields) -> list[dict[str, Any]]:
    """From a dict of lists, as the Hub stores `sources`, to a list of dicts."""
    lengths = {}
    for name in _SOURCE_FIELD_NAMES:
        values = columns.get(name)
        if values is None:
            raise fields.error(f"sources.{name}", "is missing")
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
            raise fields.error(f"sources.{name}", f"must be a list, not {_kind(values)}")
        lengths[name] = len(values)
    if len(set(lengths.values())) > 1:
        raise fields.error("sources", f"has lists of different lengths: {lengths}")
    rows = zip(*(columns[name] for name in _SOURCE_FIELD_NAMES), strict=True)
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
        applied_weight=fields.number("applied_weight"),
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
        return value

    def text(self, name: str, empty: bool = False) -> str:
        value = self.required(name)
        if not isinstance(value, str):
            raise self.error(name, f"must be text, not {_kind(value)}")
        if not value and not empty:
            raise self.error(name, "is empty")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise self.error(name, f"is {value!r}: half a surrogate pair is no text")
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
        if not math.isfinite(value):
            raise self.error(name, f"is {value}: it must be finite")
        return float(value)

    def positive(self, name: str) -> float:
        value = self.number(name)
        if value <= 0:
            raise self.error(name, f"is {value}: it must be above 0")
        return value

    def count(self, name: str) -> int:
        value = self.required(name)
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise self.error(name, f"must be a whole number, not {_kind(value)}")
        if not 0 < int(value) < 2**31:
            raise self.error(name, f"is {value}: it must be above 0 and below 2**31")
        return int(value)

    def interval(self, start: str, end: str) -> None:
        first, last = self.number(start), self.number(end)
        if first < 0:
            raise self.error(start, f"is {first}: it must not be negative")
        if last <= first:
            raise self.error(end, f"is {last}, not after {start}, {first}")


def _message(problem: str, where: str | None, mix_id: str | None = None, source_id: str | None = None) -> str:
    parts = [where, mix_id and f"mixture {mix_id}", source_id and f"source {source_id}"]
    place = ", ".join(part for part in parts if part)
    return f"{place}: {problem}" if place else problem


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"

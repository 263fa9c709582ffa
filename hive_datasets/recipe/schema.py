"""The one schema: a mixture as a recipe, as dataclasses and as Arrow types.

Every reader of metadata ends here and every writer starts here. Seconds, gains and factors are float64, as
published: rounding them to float32 would move crops by samples.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

SOURCE_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("source_id", pa.string()),
    ("path", pa.string()),
    ("label", pa.string()),
    ("crop_start_second", pa.float64()),
    ("crop_end_second", pa.float64()),
    ("chunk_start_second", pa.float64()),
    ("chunk_end_second", pa.float64()),
    ("rms_gain", pa.float64()),
    ("snr_db", pa.float64()),
    ("applied_weight", pa.float64()),
)


def _recipe_fields(sources: pa.DataType) -> list[tuple[str, pa.DataType]]:
    return [
        ("mix_id", pa.string()),
        ("split", pa.string()),
        ("sample_rate", pa.int32()),
        ("target_duration", pa.float64()),
        ("num_sources", pa.int32()),
        ("sources", sources),
        ("global_normalization_factor", pa.float64()),
        ("final_max_amplitude", pa.float64()),
    ]


SOURCE_TYPE = pa.struct(list(SOURCE_FIELDS))
#: What this library works on: one row a mixture, `sources` a list of structs.
RECIPE_SCHEMA = pa.schema(_recipe_fields(pa.list_(SOURCE_TYPE)))
#: The same row as one Arrow value, and where it came from: what the `Mixture` feature stores.
RECIPE_TYPE = pa.struct([*RECIPE_SCHEMA, pa.field("origin", pa.int32())])
#: What the Hub publishes: `sources` a struct of lists.
HUB_SCHEMA = pa.schema(_recipe_fields(pa.struct([(name, pa.list_(type_)) for name, type_ in SOURCE_FIELDS])))

#: What a row may ask for, so that none of them takes a machine down: Hz; seconds of a mixture, and of a file; sources;
#: samples of the mixture and its sources together, at the recipe's rate (4 GB); linear gain; bytes of a text.
MAX_SAMPLE_RATE = 768_000
MAX_DURATION = 3600.0
MAX_SECOND = 1e6
MAX_SOURCES = 64
MAX_SAMPLES = 10**9
MAX_GAIN = 1e12
MAX_TEXT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a mixture: which seconds of which file, at which gain.

    Attributes:
        source_id: "s1", "s2", ... in the order of the mixture.
        path: metadata path, the corpus' folder name first.
        label: what is heard.
        crop_start_second, crop_end_second: the excerpt, in seconds from the start of the chunk.
        chunk_start_second, chunk_end_second: the chunk, in seconds from the start of the file.
        rms_gain: linear gain that brings the excerpt to an RMS of 0.1.
        snr_db: level against source s1 in dB; positive is louder.
        applied_weight: ``rms_gain * 10 ** (snr_db / 20)``, the linear gain that is applied.
    """

    source_id: str
    path: str
    label: str
    crop_start_second: float
    crop_end_second: float
    chunk_start_second: float
    chunk_end_second: float
    rms_gain: float
    snr_db: float
    applied_weight: float

    def crop_samples(self, sampling_rate: int, num_samples: int) -> tuple[int, int]:
        """The crop in samples of the resampled chunk, from and to; it may run past the chunk's end.

        Truncated, not rounded, as the authors do: it decides the sample.

        Args:
            sampling_rate: rate in Hz of the samples.
            num_samples: length of the mixture at that rate; the crop is no longer.

        Example:
            >>> Source("s1", "a/b.wav", "Bark", 1.0, 3.0, 10.0, 20.0, 1.0, 0.0, 1.0).crop_samples(16000, 32000)
            (16000, 48000)
        """
        start = int(self.crop_start_second * sampling_rate)
        return start, min(int(self.crop_end_second * sampling_rate), start + num_samples)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One mixture of Hive, as metadata.

    Make one with `parse_recipe`, which checks every field.

    Attributes:
        mix_id: unique in its split, such as "sample_00000014".
        split: "train", "validation" or "test".
        sample_rate: rate in Hz at which the authors rendered it.
        target_duration: length in seconds.
        sources: the sources, in order.
        global_normalization_factor: linear gain on the sum of the weighted sources.
        final_max_amplitude: peak of the mixture after that gain.
        origin: which of the places that this process was told of its dataset reads from; see
            `hive_datasets.mixing.origins`. None of metadata. It is no part of what recipes are compared by.
    """

    mix_id: str
    split: str
    sample_rate: int
    target_duration: float
    sources: tuple[Source, ...]
    global_normalization_factor: float
    final_max_amplitude: float
    origin: int | None = field(default=None, compare=False)

    @property
    def num_sources(self) -> int:
        """How many sources are mixed."""
        return len(self.sources)

    @property
    def labels(self) -> list[str]:
        """The labels of the sources, in order."""
        return [source.label for source in self.sources]

    def num_samples(self, sampling_rate: int) -> int:
        """Its length in samples at a rate in Hz; truncated, as the authors do."""
        return int(self.target_duration * sampling_rate)

    @classmethod
    def from_stored(cls, row: dict[str, Any]) -> Recipe:
        """Rebuild a recipe from what a row stores, without checking it again."""
        return cls(
            mix_id=row["mix_id"],
            split=row["split"],
            sample_rate=row["sample_rate"],
            target_duration=row["target_duration"],
            sources=tuple(Source(**source) for source in row["sources"]),
            global_normalization_factor=row["global_normalization_factor"],
            final_max_amplitude=row["final_max_amplitude"],
            origin=row.get("origin"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The recipe as a row of `RECIPE_SCHEMA`: `sources` is a list of dicts. Its origin stays out."""
        # dataclasses.asdict copies every value, and takes ten times as long
        sources = [{name: getattr(source, name) for name, _ in SOURCE_FIELDS} for source in self.sources]
        return {
            "mix_id": self.mix_id,
            "split": self.split,
            "sample_rate": self.sample_rate,
            "target_duration": self.target_duration,
            "num_sources": len(sources),
            "sources": sources,
            "global_normalization_factor": self.global_normalization_factor,
            "final_max_amplitude": self.final_max_amplitude,
        }

    def to_json(self) -> str:
        """The recipe as one line of JSON that `parse_recipe` reads back without loss."""
        return json.dumps(self.to_dict())

"""A run's counts, and examples of what was kept and what was dropped, as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ..errors import SourceError
from ..export.encoding import Encoding
from ..utils.files import written_aside
from ..utils.pictures import can_draw, draw_signal, loudest_of
from .clips import END, START, open_audio, read_clip
from .pipeline import DETAIL, DROPPED_BY, PROVENANCE, REASON
from .run import KEPT, REJECTS, Curation
from .steps import Record, labels_of

PAGE_NAME = "examples.html"
#: Examples of what was kept, and of each reason; more shards are not read when so many are found.
_EXAMPLES = 4
_MAX_SHARDS = 200
#: Of a clip, so much is to be heard.
_MAX_SECONDS = 10.0
_PLAYED_RATE = 32000


def write_examples(curation: Curation) -> Path:
    """Write the page into a run's folder; returns its path. Without matplotlib there are no pictures on it.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> from hive_datasets.curation import Chunk, CurationPipeline, run_pipeline
        >>> sounds = hive_datasets.demo_folder() / "sources"
        >>> write_examples(run_pipeline(CurationPipeline([Chunk()]), sounds, tempfile.mkdtemp())).name
        'examples.html'
    """
    page = resources.files("hive_datasets.curation").joinpath("page.html").read_text(encoding="utf-8")
    sections = [_section("Kept", curation.kept, _kept(curation.folder / KEPT))]
    rejects = list(_rejects(curation.folder / REJECTS))
    for step, count in curation.counts.items():
        for reason, number in sorted(count.dropped.items(), key=lambda pair: -pair[1]):
            name = step.rpartition(" (")[0] if step.endswith(")") else step
            found = (record for record in rejects if (record[DROPPED_BY], record[REASON]) == (name, reason))
            sections.append(_section(f"{step}: {reason}", number, found))
    rows = "".join(
        f"<tr><th>{escape(step)}</th><td>{escape(reason)}</td><td>{number}</td></tr>"
        for step, reason, number in table_of(curation)
    )
    summary = f"{curation.records:,} records read, {curation.kept:,} kept."
    with written_aside(curation.folder / PAGE_NAME) as aside:
        text = Template(page).substitute(summary=escape(summary), rows=rows, sections="\n".join(sections))
        aside.write_text(text, encoding="utf-8", errors="surrogateescape")
    return curation.folder / PAGE_NAME


def table_of(curation: Curation) -> list[tuple[str, str, str]]:
    """What became of the records, a row a step and reason: step, what, how many.

    Example:
        >>> from hive_datasets.curation.pipeline import StepCount
        >>> table_of(Curation(Path("out"), 3, 2, {"SingleLabel": StepCount(3, 2, {"several labels": 1})}, 1, 0))
        [('SingleLabel', 'taken', '3'), ('', 'dropped: several labels', '1'), ('', 'kept', '2')]
    """
    rows = []
    for step, count in curation.counts.items():
        rows.append((step, "taken", f"{count.taken:,}"))
        ordered = sorted(count.dropped.items(), key=lambda pair: (-pair[1], pair[0]))
        rows += [("", f"dropped: {reason}", f"{number:,}") for reason, number in ordered]
        rows.append(("", "kept", f"{count.kept:,}"))
    return rows


def _kept(folder: Path) -> Iterator[Record]:
    for shard in _shards(folder):
        for batch in shard.iter_batches(batch_size=_EXAMPLES):
            yield from batch.to_pylist()


def _rejects(folder: Path) -> Iterator[Record]:
    """A few of each reason, so that no more is held."""
    found: Counter[Any] = Counter()
    for shard in _shards(folder):
        columns = shard.read(columns=[DROPPED_BY, REASON]).columns
        places = []
        for place, key in enumerate(zip(*(column.to_pylist() for column in columns), strict=True)):
            found[key] += 1
            if found[key] <= _EXAMPLES:
                places.append(place)
        if places:
            yield from shard.read().take(places).to_pylist()


def _shards(folder: Path) -> Iterator[pq.ParquetFile]:
    return map(pq.ParquetFile, sorted(folder.glob("*.parquet"))[:_MAX_SHARDS])


def _section(title: str, number: int, records: Iterator[Record]) -> str:
    examples = "".join(_example(record) for record in itertools.islice(records, _EXAMPLES))
    return f"<section><h2>{escape(title)} <small>{number:,}</small></h2><div class='cards'>{examples}</div></section>"


def _example(record: Record) -> str:
    origin = record[PROVENANCE]
    seconds = ""
    if origin["start_second"] is not None and origin["end_second"] is not None:
        seconds = f", {origin['start_second']:.2f} to {origin['end_second']:.2f} s"
    scores = "".join(
        f"<br>{escape(name)} {value:.3g}"
        for name, value in record.items()
        if name.endswith("_score") and isinstance(value, float) and value == value
    )
    detail = f"<p class='detail'>{escape(record[DETAIL])}</p>" if record[DETAIL] else ""
    return (
        f"<article>{_sound(record)}<p><b>{escape(', '.join(labels_of(record)) or 'no label')}</b><br>"
        f"<span class='file'>{escape(origin['file'])}</span>{seconds}{scores}</p>{detail}</article>"
    )


def _sound(record: Mapping[str, Any]) -> str:
    """The picture and the player of a record; of one that cannot be read, a note."""
    try:
        with open_audio(record) as audio:
            first = audio.extent.start / audio.extent.sampling_rate
            last = first + min(_MAX_SECONDS, audio.extent.seconds)
        clip = read_clip({**record, START: first, END: last})
    except SourceError:
        return "<p class='silent'>cannot be read</p>"
    rate = min(clip.sampling_rate, _PLAYED_RATE)
    samples = clip.resampled(rate)
    data = base64.b64encode(Encoding("flac", "PCM_16").encode(np.clip(samples, -1, 1), rate)[0]).decode()
    player = f"<audio controls preload='metadata' src='data:audio/flac;base64,{data}'></audio>"
    if not can_draw():
        return player
    picture = base64.b64encode(draw_signal(samples, rate, loudest_of(samples, rate))).decode()
    return f"<img alt='waveform and spectrogram' src='data:image/png;base64,{picture}'>{player}"

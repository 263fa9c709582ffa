"""Examples to listen to: the best, the worst, those in the middle, and some that every run has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile
import xxhash

from ..export.encoding import Encoding
from ..utils.files import written_aside
from ..utils.pictures import can_draw, draw_signal, loudest_of
from ..utils.progress import Progress
from .batches import Batch
from .metrics import LESS_IS_BETTER
from .targets import Item, Targets

FOLDER_NAME, LIST_NAME = "examples", "examples.json"
#: What is heard of each.
SIGNALS = ("mixture", "target", "estimate", "residual")
#: Of longer ones, so much.
_MAX_SECONDS = 30
_ENCODING = Encoding("flac", "PCM_16")
#: What tells a target from others.
KEY = ("split", "mix_id", "label", "start_second")


def choose_examples(table: pa.Table, columns: Sequence[str], count: int) -> dict[int, str]:
    """The rows of a table to listen to, and why: a sixth of them each "best", "middling" and "worst".

    That is by the first of the columns that is an improvement, or else the first of all.

    The others are a "sample" by a hash of what they are, so that every run over the same targets has the same.

    Example:
        >>> common = {"split": "test", "label": "Dog", "start_second": 0.0}
        >>> rows = [{**common, "mix_id": str(number), "sdr": number} for number in range(9)]
        >>> choose_examples(pa.Table.from_pylist(rows), ["sdr"], 6)
        {0: 'sample', 8: 'sample', 6: 'sample', 7: 'best', 3: 'middling', 1: 'worst'}
    """
    column = next((name for name in columns if name.endswith("_improvement")), columns[0])
    values = np.array(table.column(column).to_pylist(), np.float64) * (-1.0 if column in LESS_IS_BETTER else 1.0)
    rows = np.flatnonzero(~np.isnan(values))
    share = count // 6
    keys = list(zip(*(table.column(name).to_pylist() for name in KEY), strict=True))
    by_hash = sorted(
        rows.tolist(), key=lambda row: xxhash.xxh3_64_intdigest(repr(keys[row]).encode("utf-8", "replace"))
    )
    chosen = dict.fromkeys(by_hash[: count - 3 * share], "sample")
    ordered = [row for row in rows[np.argsort(values[rows], kind="stable")].tolist() if row not in chosen]
    middle = max(0, (len(ordered) - share) // 2)
    for why, some in {
        "best": ordered[::-1][:share],
        "middling": ordered[middle : middle + share],
        "worst": ordered[:share],
    }.items():
        for row in some:
            chosen.setdefault(row, why)
    return chosen


def write_examples(
    folder: Path,
    table: pa.Table,
    chosen: Mapping[int, str],
    targets: Targets,
    ask: Callable[[Batch], Sequence[npt.NDArray[np.float32] | str]],
    progress: Progress,
) -> None:
    """Write the signals of rows, and their pictures, into a folder in an evaluation's: they are asked for once more.

    Args:
        folder: of the evaluation.
        table: its table.
        chosen: rows of it, and why.
        targets: what it was asked.
        ask: gives the estimates of a batch.
        progress: told how far it is.
    """
    facts = table.take(pa.array(sorted(chosen), pa.int64())).to_pylist()
    wanted = dict(zip(sorted(chosen), facts, strict=True))
    with written_aside(folder / FOLDER_NAME, replaces=True) as aside:
        aside.mkdir()
        listed: list[dict[str, Any]] = []
        with progress("writing examples", "targets", len(chosen)) as advance:
            first = 0
            for item in targets.items():
                rows = [row for row in range(first, first + len(item.targets)) if row in wanted]
                if rows:
                    batch = _read(targets, item, [row - first for row in rows])
                    for row, mixture, reference, estimate in zip(
                        rows, batch.mixtures, batch.references, ask(batch), strict=True
                    ):
                        if not isinstance(estimate, str):
                            signals = (mixture, reference, estimate, mixture - estimate)
                            about = _write(aside, f"{len(listed):03d}", signals, batch.sampling_rate)
                            listed.append({**wanted[row], "why": chosen[row], **about})
                    advance(len(rows))
                first += len(item.targets)
        (aside / LIST_NAME).write_text(json.dumps(listed, indent=1, ensure_ascii=False), encoding="utf-8")


def read_examples(folder: Path) -> list[dict[str, Any]]:
    """The examples of an evaluation; none if it has none."""
    file = folder / FOLDER_NAME / LIST_NAME
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return found


def copy_signals(
    example: Mapping[str, Any], source: Path, target: Path, names: Mapping[str, str], gain_db: float
) -> None:
    """Copy signals of an example from the folder of one run's examples to that of a page, under other names.

    Args:
        example: of `read_examples`.
        source: the folder of the evaluation.
        target: where to.
        names: of signals, and what their files are to be called.
        gain_db: at which they are to be heard, not above the example's own.
    """
    change = 10 ** ((gain_db - example["gain_db"]) / 20)
    for signal, name in names.items():
        file = source / FOLDER_NAME / f"{example['file']}.{signal}.flac"
        if change == 1.0:
            shutil.copyfile(file, target / f"{name}.flac")
        else:
            samples, rate = soundfile.read(file, dtype="float32")
            (target / f"{name}.flac").write_bytes(_ENCODING.encode(samples * np.float32(change), rate)[0])
        if example["has_pictures"]:
            shutil.copyfile(file.with_suffix(".png"), target / f"{name}.png")


def _read(targets: Targets, item: Item, numbers: Sequence[int]) -> Batch:
    rate, pairs = targets.read(item)
    chosen = [pairs[number] for number in numbers]
    return Batch(
        tuple(item.targets[number] for number in numbers),
        np.stack([mixture for mixture, _ in chosen]),
        np.stack([reference for _, reference in chosen]),
        rate,
    )


def _write(folder: Path, name: str, signals: Sequence[npt.NDArray[np.float32]], sampling_rate: int) -> dict[str, Any]:
    """All on one scale, softer if one of them is beyond full scale."""
    length = _MAX_SECONDS * sampling_rate
    peak = max(float(np.abs(signal).max(initial=0.0)) for signal in signals)
    gain = min(1.0, 0.999 / peak) if peak else 1.0
    heard = [np.asarray(signal[:length] * np.float32(gain), np.float32) for signal in signals]
    draws = can_draw()
    loudest = loudest_of(heard[0], sampling_rate) if draws else 0.0
    for signal, each in zip(SIGNALS, heard, strict=True):
        (folder / f"{name}.{signal}.flac").write_bytes(_ENCODING.encode(each, sampling_rate)[0])
        if draws:
            (folder / f"{name}.{signal}.png").write_bytes(draw_signal(each, sampling_rate, loudest))
    return {
        "file": name,
        "has_pictures": draws,
        "sampling_rate": sampling_rate,
        "seconds_heard": len(heard[0]) / sampling_rate,
        "gain_db": 20 * float(np.log10(gain)),
    }

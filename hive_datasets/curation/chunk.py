"""Cutting recordings into chunks, as the authors of Hive do, without copying audio."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from ..errors import EmptySourceError, SourceError
from ..utils.callers import refuse_in_filter
from .clips import END, REPLACED, START, OpenAudio, copy_audio, name_of, open_audio, sum_of_squares
from .steps import Batch, Reason, Record, Result, Step, batch_of, records_of

#: The mean square of each chunk.
ENERGY = "chunk_energy"


@dataclass(frozen=True)
class Chunk(Step):
    """Makes of each recording the chunks of it that are long and loud enough.

    Windows begin every `step_seconds`, up to the one that reaches the end, which may be shorter. A recording of at most
    `window_seconds` is one chunk. A chunk is a record like the recording's, with the columns ``chunk_start_second`` and
    ``chunk_end_second``, by which later steps read only that part, and ``chunk_energy``: the mean of the squares of
    its samples over all channels. Of a record that is a chunk already, the chunks are parts of it.

    Args:
        window_seconds: length of a window.
        step_seconds: from the start of one to the start of the next.
        min_tail_seconds: a last window that is shorter is dropped.
        min_energy: a window below this mean square, at full scale -1 to 1, is dropped; 5e-4 is -33 dB.
        min_whole_energy: the same for recordings that are one chunk; None for `min_energy`. The authors do not look
            (0), which keeps silence.
        copy: put the audio of the chunk into the record's ``audio``, as the bytes of a FLAC file (see `replace_audio`).

    Raises:
        ValueError: a parameter is out of range.

    Example:
        >>> import numpy as np
        >>> tone = {"array": 0.1 * np.sin(np.arange(16000 * 23) / 5), "sampling_rate": 16000}
        >>> batch = Chunk()({"audio": [tone], "labels": [["Tone"]]})
        >>> list(zip(batch["chunk_start_second"], batch["chunk_end_second"]))
        [(0.0, 10.0), (5.0, 15.0), (10.0, 20.0), (15.0, 23.0)]
        >>> batch["labels"], round(batch["chunk_energy"][0], 6)
        ([['Tone'], ['Tone'], ['Tone'], ['Tone']], 0.005)
    """

    window_seconds: float = 10.0
    step_seconds: float = 5.0
    min_tail_seconds: float = 5.0
    min_energy: float = 5e-4
    min_whole_energy: float | None = None
    copy: bool = False
    one_to_one: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0.01 <= self.step_seconds <= self.window_seconds < math.inf:
            raise ValueError(
                "step_seconds must be from 0.01 to window_seconds, or seconds would be left out: "
                f"{self.step_seconds}, {self.window_seconds}"
            )
        if not 0 <= self.min_tail_seconds <= self.window_seconds:
            raise ValueError(f"min_tail_seconds must be from 0 to window_seconds: {self.min_tail_seconds}")
        if not all(energy is None or energy >= 0 for energy in (self.min_energy, self.min_whole_energy)):
            raise ValueError(f"energies must be at least 0: {self.min_energy}, {self.min_whole_energy}")

    def columns(self) -> dict[str, pa.DataType]:
        """The chunk's seconds and its energy."""
        return {START: pa.float64(), END: pa.float64(), ENERGY: pa.float64()} | (REPLACED if self.copy else {})

    def process(self, records: Sequence[Record]) -> list[Result]:
        """The chunks of each record, one after the other, those that are dropped too."""
        return [result for record in records for result in self._chunks_of(record)]

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:
        """For ``map(..., batched=True)``: the chunks that are kept, with all columns."""
        refuse_in_filter(self.name)
        kept = [result.record for result in self.process(records_of(batch)) if result.reason is None]
        names = dict.fromkeys([*batch, *self.columns()])
        return {name: [] for name in names} | batch_of(kept)

    def _chunks_of(self, record: Record) -> Iterator[Result]:
        try:
            with open_audio(record) as audio:
                rate, first = audio.extent.sampling_rate, audio.extent.start
                found = list(self._windows(audio))
        except SourceError as error:
            what = "empty" if isinstance(error, EmptySourceError) else "unreadable"
            seconds = {name: record.get(name) for name in (START, END)}
            yield Result({**record, **seconds, ENERGY: None}, Reason(what, error.message))
            return
        for start, stop, energy, is_whole in found:
            times = {START: (first + start) / rate, END: (first + stop) / rate, ENERGY: energy}
            chunk = {**record, **times}
            reason = self._reason((stop - start) / rate, energy, is_whole)
            if energy is not None and not math.isfinite(energy):
                reason = Reason("unreadable", f"{name_of(record)}: it has samples that are not numbers")
            if self.copy and reason is None:
                try:
                    chunk |= copy_audio(chunk)
                except SourceError as error:
                    reason = Reason("unreadable", error.message)
            yield Result(chunk, reason)

    def _reason(self, seconds: float, energy: float | None, is_whole: bool) -> Reason | None:
        if energy is None:
            return Reason(f"tail under {self.min_tail_seconds:g} s", f"{seconds:.3f} s")
        least = self.min_whole_energy if is_whole and self.min_whole_energy is not None else self.min_energy
        if energy < least:
            return Reason(f"energy under {least:g}", f"{energy:.3g}")
        return None

    def _windows(self, audio: OpenAudio) -> Iterator[tuple[int, int, float | None, bool]]:
        """Frames, energy, and whether it is the whole of it; of a short tail, no energy.

        Decoded once, and squared once: a window's sum is that of the blocks between the starts and ends of windows.
        """
        rate = audio.extent.sampling_rate
        total = audio.extent.stop - audio.extent.start
        window, step = round(self.window_seconds * rate), max(1, round(self.step_seconds * rate))
        is_whole = total <= window
        windows = [(0, total)]
        if not is_whole:
            starts = range(0, total - window + step, step)  # the first that reaches the end is the last
            windows = [(start, min(start + window, total)) for start in starts]
        bounds = sorted({frame for pair in windows for frame in pair})
        sums, position = _sums_between(audio, bounds), {frame: number for number, frame in enumerate(bounds)}
        for start, stop in windows:
            if not is_whole and stop - start < min(window, round(self.min_tail_seconds * rate)):
                yield start, stop, None, False
                continue
            squares = math.fsum(sums[position[start] : position[stop]])
            yield start, stop, squares / ((stop - start) * audio.channels), is_whole


def _sums_between(audio: OpenAudio, bounds: Sequence[int]) -> list[float]:
    """The sum of squares from each bound to the next."""
    sums = [0.0] * (len(bounds) - 1)
    number, at = 0, 0
    for block in audio.blocks(min(audio.extent.sampling_rate, 2**16)):
        begin = 0
        while begin < len(block):
            end = min(len(block), begin + bounds[number + 1] - at)
            sums[number] += sum_of_squares(block[begin:end])
            at, begin = at + end - begin, end
            number += at == bounds[number + 1]
    return sums

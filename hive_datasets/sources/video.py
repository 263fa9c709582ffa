"""The audio of video files, and of what else libsndfile does not read, by PyAV (extra `video`).

The rule of start and length is that of ffmpeg: the first audio track, from the first sample that the container presents
to the last. What it marks as priming, or its edit list cuts off, is left out; gaps are not filled, nor is anything put
before it for the picture. Samples are 16-bit, as ``ffmpeg -i X.mp4 X.wav`` writes them.
"""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np
import soundfile

from ..errors import EmptySourceError, SourceFormatError, TruncatedSourceError, describe
from .ranges import RangeFile


def extract_audio(opened: str | RangeFile | IO[bytes], cut: tuple[float, float] | None = None) -> IO[bytes]:
    """The audio of a file as that of a WAV file in memory, at its own rate.

    Args:
        opened: a path, or an open file.
        cut: from which second to which; None for all of it.

    Raises:
        SourceFormatError: it has no audio, or PyAV is not installed.
        TruncatedSourceError: it is damaged.
        EmptySourceError: it has no samples, or none in the cut.
    """
    av = find_av()
    blocks = []
    try:
        with av.open(opened) as container:
            if not container.streams.audio:
                raise SourceFormatError("it has no audio track")
            stream = container.streams.audio[0]
            rate = stream.rate
            to_int16 = av.AudioResampler(format="s16", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                blocks += [each.to_ndarray() for each in to_int16.resample(frame)]
            blocks += [each.to_ndarray() for each in to_int16.resample(None)]
            channels = stream.channels
    except av.error.FFmpegError as error:
        _raise_error_of(opened)
        kind = TruncatedSourceError if blocks else SourceFormatError
        raise kind(f"PyAV cannot read it ({describe(error)})") from None
    _raise_error_of(opened)
    frames: Any = np.concatenate(blocks, axis=1).reshape(-1, channels) if blocks else np.empty((0, channels), np.int16)
    if cut is not None:
        frames = frames[int(cut[0] * rate) : int(cut[1] * rate)]
    if not len(frames):
        where = "" if cut is None else f" from second {cut[0]:g} to {cut[1]:g}"
        raise EmptySourceError(f"it has no audio{where}")
    made = io.BytesIO()
    soundfile.write(made, frames, rate, format="WAV", subtype="PCM_16")
    made.seek(0)
    return made


def find_av() -> Any:
    """The package that reads video.

    Raises:
        SourceFormatError: it is not installed.
    """
    try:
        import av
    except ImportError:
        hint = 'pip install "hive-datasets[video]"'
        raise SourceFormatError(f"the audio of video is read by PyAV, which is not installed: {hint}") from None
    return av


def _raise_error_of(opened: str | RangeFile | IO[bytes]) -> None:
    """What a server failed to give looks like an early end to PyAV."""
    if isinstance(opened, RangeFile) and opened.error is not None:
        raise opened.error from None

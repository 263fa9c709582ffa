"""FLAC by dr_flac, which takes 60 % of libFLAC's time, where the package `miniaudio` is installed.

dr_flac passes over frames whose checksum is wrong without a word, and so shifts what follows. Therefore the end of what
it reads is compared with what libsndfile reads there; wherever they differ, or could not be told apart, all is left to
libsndfile, which names the damage.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

#: Frames at the end that are compared.
CHECKED_FRAMES = 64


def read_flac(file: soundfile.SoundFile, start: int, stop: int) -> npt.NDArray[np.int16] | None:
    """Read frames of a 16-bit FLAC file.

    Args:
        file: the file, open, with its path as its name.
        start: the first frame to read.
        stop: the frame to stop before.

    Returns:
        int16 of shape (stop - start, channels); None where `miniaudio` is not installed
        (``pip install "hive-datasets[fast]"``) or libsndfile must be asked.

    Raises:
        soundfile.LibsndfileError: libsndfile cannot decode the last frames.
    """
    miniaudio = _find_miniaudio()
    if miniaudio is None or stop - start < CHECKED_FRAMES:
        return None
    frames = _decode(miniaudio, file, start, stop)
    if frames is None:
        return None
    file.seek(stop - CHECKED_FRAMES)
    end = file.read(CHECKED_FRAMES, dtype="int16", always_2d=True)
    constant = bool((end == end[:1]).all())  # as silence is, wherever it comes from
    agrees = np.array_equal(frames[-CHECKED_FRAMES:], end)
    return frames if agrees and not constant else None


def _decode(miniaudio: Any, file: soundfile.SoundFile, start: int, stop: int) -> npt.NDArray[np.int16] | None:
    """The frames by dr_flac; None if it does not get that many.

    By the functions that miniaudio's own `flac_stream_file` calls, which copies what they return twice more.
    """
    ffi, lib = miniaudio.ffi, miniaudio.lib
    decoder = lib.ma_dr_flac_open_file(os.fsencode(file.name), ffi.NULL)
    if not decoder:
        return None
    try:
        if decoder.channels != file.channels or not lib.ma_dr_flac_seek_to_pcm_frame(decoder, start):
            return None
        frames = np.empty((stop - start, file.channels), np.int16)
        pointer = ffi.cast("ma_dr_flac_int16 *", ffi.from_buffer(frames))
        read = lib.ma_dr_flac_read_pcm_frames_s16(decoder, stop - start, pointer)
        return frames if read == stop - start else None
    finally:
        lib.ma_dr_flac_close(decoder)


@functools.cache
def _find_miniaudio() -> Any | None:
    try:
        import miniaudio
    except ImportError:
        return None
    return miniaudio

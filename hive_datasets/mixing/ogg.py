"""Whether the pages of an Ogg file are whole.

libvorbis and libopus pass over a page whose checksum is wrong, and libsndfile, which decodes such files from the start,
then hands out what follows too early: other audio, without a word. Pages: RFC 3533, section 6.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO

#: Signature, version, flags, granule position, serial number, number of the page, checksum, number of segments.
_HEADER = struct.Struct("<4sBBqIIIB")
#: Granules count samples, of Opus at 48 kHz and with up to a second before the first: so many more are looked at.
_OPUS_RATE, _MARGIN = 48000, 48000
#: Among the flags of a page.
_LAST_PAGE = 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_damage(file: bytes | IO[bytes], frames: int, sampling_rate: int) -> str | None:
    """What is wrong with the pages that hold the first `frames` frames, and a second more; None if nothing is.

    Args:
        file: its path, or the file, whose position is kept.
        frames: how many are needed.
        sampling_rate: rate in Hz of the frames.

    Example:
        >>> import soundfile
        >>> written = io.BytesIO()
        >>> soundfile.write(written, [0.0] * 16000, 16000, format="OGG", subtype="VORBIS")
        >>> find_damage(written, 16000, 16000)
        >>> damaged = bytearray(written.getvalue())
        >>> damaged[-1] ^= 1
        >>> find_damage(io.BytesIO(damaged), 16000, 16000)
        'page 2, at byte ..., is damaged'
    """
    last = frames * max(1, _OPUS_RATE // sampling_rate) + _MARGIN
    expected: dict[int, int] = {}
    ended: set[int] = set()
    with _opened(file) as stream:
        at = 0
        while header := stream.read(_HEADER.size):
            is_over = bool(at) and ended == expected.keys()
            if len(header) < _HEADER.size:
                return None if is_over else f"the page at byte {at} is cut short"
            signature, version, flags, granule, serial, number, checksum, segments = _HEADER.unpack(header)
            if signature != b"OggS" or version != 0:  # after the last page it is no part of it
                return None if is_over else f"there is no page at byte {at}"
            lengths = stream.read(segments)
            body = stream.read(sum(lengths))
            page = header[:22] + bytes(4) + header[26:] + lengths + body
            if len(page) < _HEADER.size + segments + sum(lengths):
                return f"page {number}, at byte {at}, is cut short"
            if _crc(page) != checksum:
                return f"page {number}, at byte {at}, is damaged"
            if number != expected.get(serial, number):
                return f"page {expected[serial]} is missing at byte {at}"
            if granule >= last:
                break
            expected[serial] = number + 1
            if flags & _LAST_PAGE:
                ended.add(serial)
            at += len(page)
    return None


@contextlib.contextmanager
def _opened(file: bytes | IO[bytes]) -> Iterator[IO[bytes]]:
    if isinstance(file, bytes):
        with open(file, "rb") as stream:
            yield stream
        return
    position = file.tell()
    file.seek(0)
    buffered = io.BufferedReader(file) if isinstance(file, io.RawIOBase) else None
    try:
        yield buffered or file
    finally:
        if buffered is not None:
            buffered.detach()  # or it would close the file
        file.seek(position)


def _crc(data: bytes) -> int:
    """Ogg's CRC-32: the polynomial of zip's, bits the other way round, from 0 and not inverted."""
    reversed_crc = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reversed_crc.to_bytes(4, "little").translate(_REVERSED), "big")

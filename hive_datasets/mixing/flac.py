"""FLAC by dr_flac, which takes 60 % of libFLAC's time, where the package `miniaudio` has a wheel.

dr_flac passes over blocks whose checksum is wrong without a word, and so shifts what follows. Therefore it is handed
the bytes of those blocks that hold what is asked for, and no others: if it makes as many frames of them as they hold,
it passed over none. Whatever is not so, or is not found, is left to libsndfile, which names the damage.

The format is RFC 9639; its names are used here, but for "frame": a frame here is one sample of each channel, and what
the RFC calls so is a block.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .planning import Header

_MAGIC = b"fLaC"
#: The length of what follows it: one part of the header, of 4 and 34 bytes, which tells what a decoder must know.
_STREAM_INFO = 38
#: Bytes that are read at once, at least.
_WINDOW = 1 << 13
#: Looks for a block: first where it should be, of which two are enough as a rule, then halfway.
_MAX_GUESSES, _MAX_LOOKS = 6, 30
#: How many bytes code a number, as in UTF-8, by the first of them; 0 where none begins so.
_CODED_BYTES = b"\1" * 128 + b"\0" * 64 + b"\2" * 32 + b"\3" * 16 + b"\4" * 8 + b"\5" * 4 + b"\6\6\0\0"


class _Block(NamedTuple):
    number: int
    #: The byte of the file at which it begins.
    place: int


@dataclass(frozen=True, slots=True)
class FlacFile:
    """A 16-bit FLAC file whose blocks are all of one length but the last, as encoders make them.

    Attributes:
        file: it, open.
        header: what its header says.
        head: all that a decoder must know of the header, in bytes.
        block_frames: frames of a block.
        start, size: the first byte of the first block, and the byte after the last.
        window: so many bytes that what a block begins with is among them, wherever they are.
        lengths: the byte that says in each block but the last how long it is, and at which rate.
    """

    file: io.RawIOBase
    header: Header
    head: bytes
    block_frames: int
    start: int
    size: int
    window: int
    lengths: int

    def read(self, start: int, stop: int) -> npt.NDArray[np.int16] | None:
        """Decode frames.

        Args:
            start: the first of them.
            stop: the frame to stop before.

        Returns:
            int16 of shape (stop - start, channels); None if libsndfile must be asked.
        """
        if not 0 <= start < stop <= self.header.frames:
            return None
        blocks = -(-self.header.frames // self.block_frames)
        first, end = start // self.block_frames, -(-stop // self.block_frames)
        # the last block may begin otherwise than the others, and is read from the one before to the end
        first, end = max(0, min(first, blocks - 2)), end if end < blocks - 1 else blocks
        before, after = _Block(0, self.start), _Block(blocks, self.size)
        found, density = self._find(first, before, after, (self.size - self.start) / blocks)
        if found is None:
            return None
        following, _ = self._find(end, found, after, density)
        if following is None:
            return None
        held = min(end * self.block_frames, self.header.frames) - first * self.block_frames
        frames = self._decode(found.place, following.place, held)
        skipped = start - first * self.block_frames
        return None if frames is None else frames[skipped : skipped + stop - start]

    def _find(self, number: int, before: _Block, after: _Block, density: float) -> tuple[_Block | None, float]:
        """Find a block.

        Args:
            number: its number.
            before: a block that it is, or that comes before it.
            after: a block that it is, or that comes after it.
            density: how many bytes a block has, about.

        Returns:
            it, or None, and how many bytes blocks have thereabouts.
        """
        for look in range(_MAX_LOOKS):
            nearest = min(before, after, key=lambda block: abs(number - block.number))
            if nearest.number == number:
                return nearest, density
            guess = nearest.place + (number - nearest.number) * density
            if look >= _MAX_GUESSES:
                guess = (before.place + after.place) / 2
            place = max(before.place + 1, min(int(guess) - self.window // 2, after.place - self.window))
            self.file.seek(place)
            window = self.file.read(min(self.window, after.place - place))
            seen = []
            for found, offset in _find_blocks(window, self.lengths):
                if before.number < found < after.number:
                    seen.append(_Block(found, place + offset))
                    if found >= number:
                        break
            if not seen:
                break
            if seen[-1].number > seen[0].number:
                density = (seen[-1].place - seen[0].place) / (seen[-1].number - seen[0].number)
            before = max((block for block in seen if block.number <= number), default=before)
            after = min((block for block in seen if block.number >= number), default=after)
        return None, density

    def _decode(self, start: int, stop: int, held: int) -> npt.NDArray[np.int16] | None:
        """What the bytes from one block to another hold; None if they are not `held` frames."""
        if stop - start > 2 * 2 * self.header.channels * held + _WINDOW:
            return None  # nothing is stored in twice its bytes: they are no blocks, and might be gigabytes
        data = np.empty(len(self.head) + stop - start, np.uint8).data
        data[: len(self.head)] = self.head
        self.file.seek(start)
        if self.file.readinto(data[len(self.head) :]) != stop - start:
            return None
        miniaudio: Any = find_miniaudio()
        ffi, lib = miniaudio.ffi, miniaudio.lib
        decoder = lib.ma_dr_flac_open_memory(ffi.from_buffer(data), len(data), ffi.NULL)
        if not decoder:
            return None
        try:
            # one more is asked for, which must not be there
            frames = np.empty((held + 1, self.header.channels), np.int16)
            pointer = ffi.cast("ma_dr_flac_int16 *", ffi.from_buffer(frames))
            read = lib.ma_dr_flac_read_pcm_frames_s16(decoder, held + 1, pointer)
            return frames[:held] if read == held else None
        finally:
            lib.ma_dr_flac_close(decoder)


def parse_flac(file: io.RawIOBase) -> FlacFile | None:
    """A file, open at its start and unbuffered, as FLAC.

    Returns:
        None if it is left to libsndfile: `miniaudio` is not installed, it is no FLAC, not of 16 bits, or unusual.
    """
    if find_miniaudio() is None:
        return None
    begin = file.read(_WINDOW)
    info = begin[4 : 4 + _STREAM_INFO]
    if begin[:4] != _MAGIC or len(info) < _STREAM_INFO or info[0] & 0x7F or info[1:4] != b"\0\0\x22":
        return None
    shortest, longest = int.from_bytes(info[4:6], "big"), int.from_bytes(info[6:8], "big")
    largest = int.from_bytes(info[11:14], "big")
    facts = int.from_bytes(info[14:22], "big")
    rate, channels, bits, frames = facts >> 44, (facts >> 41 & 7) + 1, (facts >> 36 & 31) + 1, facts & (1 << 36) - 1
    if bits != 16 or shortest != longest or not shortest or not frames or not rate:
        return None
    start, is_last = len(_MAGIC), False
    while not is_last:  # parts of the header, each after its length
        part = _read_at(file, begin, start, 4)
        if len(part) < 4:
            return None
        is_last, start = bool(part[0] & 0x80), start + 4 + int.from_bytes(part[1:], "big")
    block = _read_at(file, begin, start, 4)
    if len(block) < 4 or block[:2] != b"\xff\xf8":
        return None
    head = _MAGIC + b"\x80" + info[1:]  # the part is the last now
    most = 2 * channels * longest + _WINDOW  # what a block takes whose samples are stored as they are
    window = max(_WINDOW, 2 * min(largest or most, most))
    size = file.seek(0, io.SEEK_END)
    return FlacFile(file, Header(rate, frames, channels), head, shortest, start, size, window, block[2])


def _read_at(file: io.RawIOBase, begin: bytes, place: int, length: int) -> bytes:
    """Some bytes of a file whose first bytes are at hand."""
    if place + length <= len(begin):
        return begin[place : place + length]
    file.seek(place)
    return file.read(length)


def _find_blocks(data: bytes, lengths: int) -> Iterator[tuple[int, int]]:
    """The numbers and places of blocks that begin in some bytes, but for the last of a file."""
    # lengths that are told by numbers stand behind the number of the block
    told = {6: 1, 7: 2}.get(lengths >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(lengths & 15, 0)
    for match in re.finditer(re.escape(bytes((0xFF, 0xF8, lengths))), data):
        place = match.start()
        if place + 4 < len(data):
            coded = data[place + 4 : place + 4 + _CODED_BYTES[data[place + 4]]]
            end = place + 4 + len(coded) + told
            # three bytes and a number occur in samples, too
            if coded and end < len(data) and _checksum(data[place:end]) == data[end]:
                yield _parse_number(coded), place


def _parse_number(coded: bytes) -> int:
    """A number that is coded as in UTF-8."""
    number = coded[0] if len(coded) == 1 else coded[0] & 0x7F >> len(coded)
    for byte in coded[1:]:
        number = number << 6 | byte & 0x3F
    return number


def _checksum(data: bytes) -> int:
    """CRC-8, with the polynomial x**8 + x**2 + x + 1."""
    table, checksum = _make_checksums(), 0
    for byte in data:
        checksum = table[checksum ^ byte]
    return checksum


@functools.cache
def _make_checksums() -> bytes:
    """The checksum of each byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte << 1 ^ (0x107 if byte & 0x80 else 0)
        table.append(byte)
    return bytes(table)


@functools.cache
def find_miniaudio() -> Any | None:
    """The package that has dr_flac; None where there is none."""
    try:
        import miniaudio
    except ImportError:
        return None
    return miniaudio

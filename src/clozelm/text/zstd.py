"""Notice that a .zst file was cut off, which its decompressor takes for the end of the data."""

from __future__ import annotations

from collections.abc import Generator
from typing import IO

_SKIPPED_FRAMES = range(0x184D2A50, 0x184D2A60)
_DICTIONARY_BYTES = (0, 1, 2, 4)
_SIZE_BYTES = (0, 2, 4, 8)
_ONE_BYTE_REPEATED = 1
_HEAD_BYTES = 4  # the longest header whose content matters


class WholeFrames:
    """Compressed bytes on their way to a decompressor; a file that ends inside a frame is an ``EOFError``.

    Headers alone are looked at, and nothing is kept. What is no zstd at all is left to the decompressor.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        """Read from ``raw``, which stands where a frame begins."""
        self._raw = raw
        self._is_between_frames = True
        self._parts = self._follow()
        self._missing = next(self._parts)
        self._head = b""

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; none after the last frame."""
        block = self._raw.read(size)
        if not block and not self._is_between_frames:
            raise EOFError("it ends inside a frame: the file was cut off")
        place = 0
        while place < len(block):
            part = block[place : place + self._missing]
            place += len(part)
            self._missing -= len(part)
            self._head += part[: _HEAD_BYTES - len(self._head)]
            self._is_between_frames = False
            while not self._missing:
                self._missing, self._head = self._parts.send(self._head), b""
        return block

    def _follow(self) -> Generator[int, bytes, None]:
        """Yield how many bytes the next part of a frame has and take its first ones (RFC 8878, section 3.1)."""
        while True:
            self._is_between_frames = True
            if int.from_bytes((yield 4), "little") in _SKIPPED_FRAMES:
                yield int.from_bytes((yield 4), "little")
                continue
            (flags,) = yield 1
            is_single_segment = flags >> 5 & 1
            yield (
                (1 - is_single_segment)
                + _DICTIONARY_BYTES[flags & 3]
                + (_SIZE_BYTES[flags >> 6] or is_single_segment)
            )
            is_last = False
            while not is_last:
                header = int.from_bytes((yield 3), "little")
                is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
                yield 1 if kind == _ONE_BYTE_REPEATED else size
            yield 4 * (flags >> 2 & 1)  # the checksum

"""Compressed streams, told by their first bytes: gzip, xz, lzma, bzip2, Zstandard. Bounded memory, whatever they hold.

Several members one behind the other are one stream (`logrotate` and `cat` make such files). A stream that is cut off
gives all that can be had, and then an error.
"""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

import zstandard

MAGIC_BYTES = 6
HEAD_BYTES = 512
"""What the first look at the content of a stream shows, if it has as many: a tar header."""
LZMA_MEMORY = 2**27
"""`xz -9` needs 65 MiB to unpack; a file that wants more than this is refused."""
ZSTD_WINDOW = 2**27
"""What `zstd --long` asks for; a frame that wants more memory is refused."""
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What reading such a stream raises when it is not what it should be."""

_SKIPPABLE = re.compile(
    rb"[\x50-\x5f]\x2a\x4d\x18"
)  # a frame that holds no content; pzstd begins with one (RFC 8878, 3.1.2)
_XZ_PIECE = 2**16  # bytes; what comes out is bounded by what is asked for
_ZSTD_PIECE = 2**9  # bytes; nothing bounds what comes out, but a block of 3 bytes gives 128 KiB at most: 22 MB


def decompressed(stream: io.BufferedReader) -> io.BufferedReader | None:
    """What is in a compressed stream; None for one that is not compressed. Reads nothing before it is asked to."""
    magic = stream.peek(MAGIC_BYTES)
    read: Callable[[int], bytes]  # gives what it has before it raises
    if magic[:2] == b"\x1f\x8b":
        read = gzip.GzipFile(fileobj=stream).read1
    elif magic[:6] == b"\xfd7zXZ\0" or magic[:3] == b"]\0\0":  # the latter by `lzma`: its levels, no signature
        read = _Members(stream, _Xz, _XZ_PIECE).read1
    elif magic[:3] == b"BZh":
        read = bz2.BZ2File(stream).read1
    elif magic[:4] == b"\x28\xb5\x2f\xfd" or _SKIPPABLE.match(magic):
        read = _Members(stream, _Zstd, _ZSTD_PIECE).read1
    else:
        return None
    return cast("io.BufferedReader", io.BufferedReader(_Unpacked(read), 2**16))


class _Unpacked(io.RawIOBase):
    """A stream of what `read` gives; its first piece is not shorter than `HEAD_BYTES`, but at its end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._started = False
        self._problem: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._problem is not None:
            raise self._problem
        size = 0
        try:
            while not size or (not self._started and size < HEAD_BYTES):
                piece = self._read(len(buffer) - size)
                if not piece:
                    break
                buffer[size : size + len(piece)] = piece
                size += len(piece)
        except DAMAGE as problem:
            if not size:
                raise
            self._problem = problem  # what came before it comes first
        self._started = True
        return size


class _Member(Protocol):
    """One compressed member."""

    def unpack(self, packed: bytes, most: int) -> bytes:
        """What these bytes give; about `most` of it, where that can be bounded."""
        ...

    @property
    def hungry(self) -> bool:
        """It needs more bytes to give any."""
        ...

    @property
    def ended(self) -> bytes | None:
        """What stands behind the member; None before its end."""
        ...


class _Xz:
    def __init__(self) -> None:
        self._decoder = lzma.LZMADecompressor(memlimit=LZMA_MEMORY)

    def unpack(self, packed: bytes, most: int) -> bytes:
        return self._decoder.decompress(packed, most)

    @property
    def hungry(self) -> bool:
        return self._decoder.needs_input

    @property
    def ended(self) -> bytes | None:
        # A stream is padded with zeros (the .xz file format, 2.2).
        return self._decoder.unused_data.lstrip(b"\0") if self._decoder.eof else None


class _Zstd:
    hungry = True

    def __init__(self) -> None:
        self._decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()

    def unpack(self, packed: bytes, most: int) -> bytes:  # noqa: ARG002 - the piece is small instead
        return self._decoder.decompress(packed)

    @property
    def ended(self) -> bytes | None:
        return self._decoder.unused_data if self._decoder.eof else None


class _Members:
    """The content of all members of a stream."""

    def __init__(self, packed: BinaryIO, member: type[_Member], piece: int) -> None:
        self._packed = packed
        self._begin = member
        self._piece = piece
        self._member = member()
        self._left = memoryview(b"")

    def read1(self, most: int) -> bytes:
        """Some of it, empty at the end of the last member. Raises EOFError when that has none, and others."""
        while not self._left:
            if not self._unpack(most):
                return b""
        piece, self._left = bytes(self._left[:most]), self._left[most:]
        return piece

    def _unpack(self, most: int) -> bool:
        behind = self._member.ended
        if behind is not None:
            packed = behind or self._packed.read(self._piece).lstrip(b"\0")
            if not packed:
                return False
            self._member = self._begin()
        else:
            packed = self._packed.read(self._piece) if self._member.hungry else b""
            if self._member.hungry and not packed:
                raise EOFError("it ends in the middle")
        self._left = memoryview(self._member.unpack(packed, most))
        return True

"""Undoes the compression of an answer that somebody in between compressed though nobody asked for it. Pure, bounded."""

import zlib

import zstandard

_ZLIB = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's `wbits` for what is understood (RFC 9110, 8.4.1)."""
_RAW_DEFLATE = -15  # what some servers call deflate


class UnknownCodingError(ValueError):
    """The answer is compressed in a way that is not understood, or is not what it says; the message names it."""


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """The body as it was before, at most `limit` bytes of it; a body that was cut short gives what is there."""
    name = coding.strip().lower()
    if name in ("", "identity") or not body:
        return body
    try:
        if name in _ZLIB:
            return _inflated(body, _ZLIB[name], limit)
        if name == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)[:limit]
    except (zlib.error, zstandard.ZstdError):
        pass
    raise UnknownCodingError(name)


def _inflated(body: bytes, bits: int, limit: int) -> bytes:
    try:
        return zlib.decompressobj(bits).decompress(body, limit)
    except zlib.error:
        if bits != _ZLIB["deflate"]:
            raise
        return zlib.decompressobj(_RAW_DEFLATE).decompress(body, limit)

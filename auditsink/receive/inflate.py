"""Bodies that come as gzip, unpacked within a bound. Pure."""

from isal import isal_zlib

_GZIP = 31  # window bits: a gzip header and trailer around deflate, RFC 1952
_MOST_MEMBERS = 1000  # each costs an inflate state of some 100 kB, which is made anew
_PIECE = 2**16  # bytes of later members given at once: what is left of them behind a member is copied each time


class InflateError(ValueError):
    """The body is no gzip, or not all of one."""


def inflate(packed: bytes, most: int) -> bytes | None:
    """What `packed` holds (several members are one after the other); None when that is more than `most` bytes.

    Stops one byte past `most`, however much the rest would make. Raises InflateError.
    """
    unpacked: list[bytes] = []
    room, members = most, 0
    view, at = memoryview(packed), 0
    while at < len(packed):
        if members == _MOST_MEMBERS:
            raise InflateError(f"the body's gzip has more than {_MOST_MEMBERS} members")
        members += 1
        state = isal_zlib.decompressobj(wbits=_GZIP)
        while not state.eof:
            if at == len(packed):
                raise InflateError("the body's gzip is cut short")
            piece = view[at : at + _PIECE] if members > 1 else view  # one member, the usual case, is not put together
            try:
                unpacked.append(state.decompress(piece, room + 1))
            except isal_zlib.error:  # type: ignore[misc]  # isal's stub makes it an instance of Exception
                raise InflateError("the body is no gzip, although its Content-Encoding says so") from None
            room -= len(unpacked[-1])
            if room < 0:
                return None
            at += len(piece) - len(state.unused_data)
    return unpacked[0] if len(unpacked) == 1 else b"".join(unpacked)

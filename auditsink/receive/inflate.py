"""Bodies that come as gzip, unpacked within a bound. Pure."""

from isal import isal_zlib

_GZIP = 31  # window bits: a gzip header and trailer around deflate, RFC 1952
_MOST_MEMBERS = 1000  # each costs an inflate state of some 100 kB, which is made anew


class InflateError(ValueError):
    """The body is no gzip, or not all of one."""


def inflate(packed: bytes, most: int) -> bytes | None:
    """What `packed` holds (several members are one after the other); None when that is more than `most` bytes.

    Stops one byte past `most`, however much the rest would make. Raises InflateError.
    """
    members: list[bytes] = []
    room = most
    while packed and len(members) < _MOST_MEMBERS:
        state = isal_zlib.decompressobj(wbits=_GZIP)
        try:
            members.append(state.decompress(packed, room + 1))
        except isal_zlib.error:  # type: ignore[misc]  # isal's stub makes it an instance of Exception
            raise InflateError("the body is no gzip, although its Content-Encoding says so") from None
        room -= len(members[-1])
        if room < 0:
            return None
        if not state.eof:
            raise InflateError("the body's gzip is cut short")
        packed = state.unused_data
    if packed:
        raise InflateError(f"the body's gzip has more than {_MOST_MEMBERS} members")
    return members[0] if len(members) == 1 else b"".join(members)

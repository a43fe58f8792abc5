"""Patterns in which `*` stands for any bytes, or none. Pure.

No regular expression: what is looked at was written by a client, and no client may choose how long that takes. A
pattern is a few searches, one after the other.
"""


class Pattern:
    """Fits the whole of a value; everything but `*` stands for itself."""

    __slots__ = ("_first", "_inner", "_last", "_literal", "_shortest")

    def __init__(self, text: str) -> None:
        pieces = text.encode().split(b"*")
        self._literal = pieces[0] if len(pieces) == 1 else None
        self._first, self._last = pieces[0], pieces[-1]
        self._inner = [piece for piece in pieces[1:-1] if piece]
        self._shortest = sum(map(len, pieces))

    def fits(self, value: bytes) -> bool:
        """Whether the value is one that the pattern stands for."""
        if self._literal is not None:
            return value == self._literal
        if len(value) < self._shortest or not (value.startswith(self._first) and value.endswith(self._last)):
            return False
        position, end = len(self._first), len(value) - len(self._last)
        # The earliest place of each piece leaves most room for those behind it.
        for piece in self._inner:
            position = value.find(piece, position, end)
            if position < 0:
                return False
            position += len(piece)
        return True

"""How many bytes all requests together may hold: `receive.max_in_flight`.

Counted are the bytes of a head that is not complete, of pipelined requests that wait, and of a body as it arrives, not
as it is announced: who only claims must not block others. While a batch waits for the disk it counts its body and the
copies of its events, each with `PER_EVENT` for the object. All is given back when the answer is known.
"""

PER_EVENT = 40
"""Bytes that a `bytes` object and its place in a list take beside its content."""


class MemoryLimit:
    """A counter with a limit.

    What a single request needs beyond its body is granted when nothing else is held, so that the largest body that
    `max_body` allows can pass however small the limit is.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, count: int, mine: int = -1) -> bool:
        """Hold `count` bytes more, or refuse. `mine` of those that are held already are the same request's."""
        if self.held + count > self.limit and self.held != mine:
            return False
        self.held += count
        return True

    def give(self, count: int) -> None:
        """Let go of bytes."""
        self.held -= count

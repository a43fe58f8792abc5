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


class Claims:
    """What the requests under way of each cluster have announced.

    While there are several clusters, one may claim half of the limit: who announces and then sends slowly, on however
    many connections, must leave room for the others.
    """

    def __init__(self, limit: int) -> None:
        self._most = limit // 2
        self._claimed: dict[str, int] = {}

    def take(self, cluster: str, count: int, *, alone: bool) -> bool:
        """A request with a body of `count` bytes begins; the first of a cluster always may."""
        mine = self._claimed.get(cluster, 0)
        if mine and mine + count > self._most and not alone:
            return False
        self._claimed[cluster] = mine + count
        return True

    def give(self, cluster: str, count: int) -> None:
        """It has its answer, or its client is gone."""
        left = self._claimed[cluster] - count
        if left:
            self._claimed[cluster] = left
        else:
            del self._claimed[cluster]

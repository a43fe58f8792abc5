"""How many files the process may have open, and what of that is left for connections.

Every connection is a file descriptor. Where connections may take all of them, nothing is left for the next segment of
the spool, and a batch is refused for a reason that has nothing to do with it.
"""

import resource
from typing import NamedTuple

ENDLESS = 2**20
"""What an unlimited number comes down to."""
OTHERS = 512
"""For everything that belongs to no ring and is no connection of the receive port: destinations, the admin port."""
OF_A_RING = 6
"""Its slots, its segment, and a cursor and at times a reader for a destination."""
FEWEST = 8
"""Connections that are taken in any case."""


class Limit(NamedTuple):
    """`found`: the soft limit before; `now`: after."""

    found: int
    now: int


def raise_limit() -> Limit:
    """The usual soft limit of 1,024 is for programs that use `select`: have as many as may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Limit(_finite(soft), _finite(hard))


def limit() -> int:
    """How many files this process may have open at this moment."""
    return _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def left_for_connections(rings: int, most: int) -> int:
    """What of `most` descriptors the receive port's connections may take beside so many rings. Pure."""
    return max(FEWEST, most - rings * OF_A_RING - min(OTHERS, most // 2))


def for_admin(wanted: int, most: int) -> int:
    """Connections that the admin port may take of `most` descriptors, at most `wanted`. Pure."""
    return min(wanted, max(FEWEST, most // 8))


def _finite(number: int) -> int:
    return ENDLESS if number in (resource.RLIM_INFINITY, -1) else number

"""What clients were promised, and what arrived: the two sides of every test here.

Batches are made from the corpus's events, of mixed sizes, and each event carries `client-batch-index` as its auditID.
So an event that arrives says which one it is, and what it must look like byte for byte can be made again; nothing has
to be remembered but counts.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import corpus

SIZES = (1, 1, 1, 1, 2, 3, 10, 30, 100, 400)
"""Events in a batch: blocking mode's one, and what batch mode gathers up to its default of 400."""
CLUSTERS = ("default", "prod-eu", "prod-us")
"""A ring each."""
LARGEST = 20_000
"""Bytes of a corpus event that is used here; larger ones have their own tests."""

_AUDIT_ID = re.compile(rb'"auditID":"((?:[^"\\]|\\.)*)"')
_MARK = re.compile(rb'"auditID":"crash-(\d+)-(\d+)-(\d+)"')


class Key(NamedTuple):
    """Which batch: the client that posts it, and its number there."""

    client: int
    number: int


@cache
def _templates() -> list[tuple[bytes, bytes]]:
    """Events of the corpus, cut where their auditID stands."""
    found = []
    for event in corpus.events("batch-default-mixed-http", "batch50-request-h2tls"):
        match = _AUDIT_ID.search(event)
        if match is not None and len(event) <= LARGEST:
            found.append((event[: match.start(1)], event[match.end(1) :]))
    return found


def cluster(key: Key) -> str:
    """To which cluster's path a client posts."""
    return CLUSTERS[key.client % len(CLUSTERS)]


@cache
def size(key: Key) -> int:
    """Events of a batch."""
    return random.Random(f"{key}").choice(SIZES)


def event(key: Key, index: int) -> bytes:
    """One event of a batch, always the same bytes."""
    templates = _templates()
    head, tail = templates[(key.client * 7919 + key.number * 31 + index) % len(templates)]
    return b"%bcrash-%d-%d-%d%b" % (head, *key, index, tail)


def body(key: Key) -> bytes:
    """What the client posts."""
    return corpus.event_list([event(key, index) for index in range(size(key))])


class Ledger:
    """Every batch that was answered 200, in a file that knows nothing of the sink; and what was posted at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.posted: set[Key] = set()
        self.requests = 0
        path.touch()

    def promised(self, key: Key) -> None:
        """The sink said 200."""
        with self.path.open("a") as file:
            file.write(f"{key.client} {key.number}\n")

    def batches(self) -> list[Key]:
        """What the file says, in the order of the answers."""
        return [Key(*map(int, line.split())) for line in self.path.read_text().splitlines()]

    def events(self, of_cluster: str | None = None) -> int:
        """How many events were answered 200."""
        return sum(size(key) for key in self.batches() if of_cluster in (None, cluster(key)))


@dataclass(slots=True)
class Arrivals:
    """What one destination got. `foreign`: bytes that nobody posted. `disorder`: first arrivals out of their turn."""

    counts: dict[Key, Counter[int]] = field(default_factory=dict)
    foreign: list[bytes] = field(default_factory=list)
    disorder: int = 0
    total: int = 0
    _latest: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, events: Iterable[bytes]) -> None:
        """Take note of events in the order in which they came."""
        for found in events:
            self.total += 1
            mark = _MARK.search(found)
            if mark is None:
                self.foreign.append(found)
                continue
            client, number, index = map(int, mark.groups())
            key = Key(client, number)
            if index >= size(key) or found != event(key, index):
                self.foreign.append(found)
                continue
            seen = self.counts.setdefault(key, Counter())
            seen[index] += 1
            if seen[index] == 1:
                self.disorder += (number, index) < self._latest.get(client, (-1, -1))
                self._latest[client] = max((number, index), self._latest.get(client, (-1, -1)))

    @property
    def distinct(self) -> int:
        """Events that arrived at least once."""
        return sum(map(len, self.counts.values()))

    @property
    def repeats(self) -> int:
        """Arrivals of what had arrived before."""
        return self.total - len(self.foreign) - self.distinct

    def missing(self, promised: Iterable[Key]) -> list[tuple[Key, int]]:
        """Events that were answered 200 and are not here."""
        return [
            (key, index) for key in promised for index in range(size(key)) if not self.counts.get(key, Counter())[index]
        ]

"""How far a destination is in a partition, as it is committed: an offset, and what goes beside it. Pure.

A broker keeps 4,096 bytes beside a committed offset, and that is configured on its side. So the clusters that have
moved longest ago are summed up in `rest` when they do not fit: the accounts of the partition stay exact, those of these
clusters are told together. What must never be wrong is what is said to be done: `upto` goes back where a cluster that
is behind it does not fit, which costs repeats.
"""

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from auditsink.spool.types import Tally

LIMIT = 4000
"""Characters of metadata; brokers allow 4,096 if nobody has changed offset.metadata.max.bytes."""
_VERSION = "1:"


class Reached(NamedTuple):
    """Where a cluster's first event lies that is not done: in the record at `offset`, after so many `events` of it."""

    offset: int
    events: int


@dataclass(frozen=True, slots=True)
class GroupPlace:
    """`offset`: of the first record with an event that is not done. `at_ms`: when that, or the last one, was produced.

    Of all clusters but those in `behind`, everything before `upto` is done. `tallies`: how their events ended; `rest`:
    of clusters that are not named.
    """

    offset: int
    upto: int
    at_ms: int = -1
    behind: Mapping[str, Reached] = field(default_factory=dict)
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    rest: Tally = field(default_factory=Tally)

    def done(self, cluster: str, offset: int) -> int | None:
        """How many of the events of the record at `offset` are done; None for all."""
        if offset < self.offset:
            return None
        reached = self.behind.get(cluster)
        if reached is None:
            return None if offset < self.upto else 0
        if offset == reached.offset:
            return reached.events
        return None if offset < reached.offset else 0


def encode(place: GroupPlace) -> str:
    """The metadata of a place, within `LIMIT`. Clusters that were named last are kept first."""
    named = list(place.tallies)
    behind = dict(place.behind)
    upto = place.upto
    while len(text := _text(place, upto, behind, named)) > LIMIT:
        idle = [cluster for cluster in named if cluster not in behind]
        if idle:
            gone = set(idle[: (len(idle) + 1) // 2])
            named = [cluster for cluster in named if cluster not in gone]
        else:
            # Whoever is furthest ahead is forgotten first: what it is ahead comes again.
            far = sorted(behind, key=lambda cluster: behind[cluster], reverse=True)
            for cluster in far[: (len(far) + 1) // 2]:
                upto = min(upto, behind.pop(cluster).offset)
                named.remove(cluster)
    return text


def _text(place: GroupPlace, upto: int, behind: Mapping[str, Reached], named: list[str]) -> str:
    rest = place.rest
    kept = set(named)
    for cluster, tally in place.tallies.items():
        if cluster not in kept:
            rest = rest.plus(tally)
    clusters = [[cluster, *place.tallies[cluster], *_ahead(place.offset, behind.get(cluster))] for cluster in named]
    packed = zlib.compress(msgspec.msgpack.encode([upto - place.offset, place.at_ms, list(rest), clusters]), 9)
    return _VERSION + base64.b85encode(packed).decode()


def _ahead(offset: int, reached: Reached | None) -> list[int]:
    return [] if reached is None else [reached.offset - offset, reached.events]


def decode(offset: int, text: str) -> GroupPlace | None:
    """The place that was committed; None where the metadata is not ours."""
    if not text.startswith(_VERSION):
        return None
    try:
        packed = zlib.decompress(base64.b85decode(text[len(_VERSION) :]))
        upto, at_ms, rest, clusters = msgspec.msgpack.decode(packed, type=_Packed)
        tallies = {str(name): Tally(*map(int, numbers[:4])) for name, *numbers in clusters}
        behind = {
            str(name): Reached(offset + int(numbers[4]), int(numbers[5]))
            for name, *numbers in clusters
            if len(numbers) > len(Tally())
        }
        return GroupPlace(offset, offset + upto, at_ms, behind, tallies, Tally(*rest))
    except (ValueError, TypeError, binascii.Error, zlib.error, msgspec.DecodeError):
        return None


def resumed(offset: int, text: str, start: int) -> GroupPlace:
    """Where a group goes on that has committed this; at `start` where it has committed nothing (an offset below 0)."""
    if offset < 0:
        return GroupPlace(start, start)
    return decode(offset, text) or GroupPlace(offset, offset)


_Packed = tuple[int, int, list[int], list[list[str | int]]]

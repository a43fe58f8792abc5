"""From the rings to a listener: what is shown, what is skipped, what it costs nobody."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from leaping import Leaping
from tailkit import Fixture, event, names, told

from auditsink.spool.record_cache import LIMIT_BYTES
from auditsink.tail.feed import LOOK_BYTES, LOOK_EVENTS, SHOWN, SILENT_LOOKS, Feed
from auditsink.tail.patterns import TailPatterns


@pytest.fixture
def kit() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.spool.stop()


class Scripted(Leaping):
    """A clock that does something at each look."""

    def __init__(self, *deeds: Callable[[], None]) -> None:
        super().__init__()
        self.deeds = list(deeds)

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.deeds:
            self.deeds.pop(0)()


def feed(kit: Fixture, *deeds: Callable[[], None], raw: bool = False, **patterns: list[str]) -> Feed:
    return Feed(lambda: kit.spool.rings, TailPatterns(patterns), Scripted(*deeds), raw=raw)


def looks(feed: Feed, count: int) -> AsyncIterator[bytes]:
    """So many looks at what comes."""
    left = iter(range(count))
    return feed.follow(lambda: 1, lambda: next(left, None) is None)


async def test_events_are_shown_as_they_come_and_once(kit: Fixture) -> None:
    kit.add("prod", [event(0)])
    listener = feed(
        kit, lambda: kit.add("prod", [event(1), event(2)]), lambda: None, lambda: kit.add("new", [event(3)])
    )
    assert await told(listener.last(0)) == []
    found = await told(looks(listener, 6))
    assert names(found) == ["p1", "p2", "p3"]
    assert [one["cluster"] for one in found if "name" in one] == ["prod", "prod", "new"]
    assert all("skipped" not in one and "raw" not in one for one in found)


async def test_it_begins_with_the_newest(kit: Fixture) -> None:
    for number in range(0, 40, 2):
        kit.add("prod", [event(number)])
        kit.add("test", [event(number + 1)])
    found = await told(feed(kit).last(5))
    assert names(found) == ["p35", "p36", "p37", "p38", "p39"]
    assert found[0]["looked_at"] >= 5


async def test_a_rare_event_is_found_far_back(kit: Fixture) -> None:
    kit.add("prod", [event(0, "eve"), event(1)])
    kit.add("prod", [event(number) for number in range(2, 900)])
    assert names(await told(feed(kit, user=["eve"]).last(3))) == ["p0"]


async def test_only_what_is_wanted_is_shown(kit: Fixture) -> None:
    deed = [lambda: kit.add("prod", [event(1, "eve"), event(2)]), lambda: kit.add("test", [event(3, "eve")])]
    listener = feed(kit, *deed, user=["eve"], cluster=["prod"])
    assert names(await told(looks(listener, 4))) == ["p1"]


async def test_raw_events_come_with_their_lines_while_they_are_small(kit: Fixture) -> None:
    small, large = event(1), event(2, pad=100_000)
    kit.add("prod", [small, large])
    first, second = (await told(feed(kit, raw=True).last(2)))[1:]
    assert first["raw"] == small.decode()
    assert (second["name"], second.get("raw"), second["bytes"]) == ("p2", None, len(large))


async def test_what_passes_faster_than_it_can_be_looked_at_is_skipped_and_counted(kit: Fixture) -> None:
    def flood() -> None:
        for start in range(0, 3 * LOOK_EVENTS, 500):
            kit.add("prod", [event(start + number) for number in range(500)])

    found = await told(looks(feed(kit, flood), 4))
    shown, skipped = names(found), sum(one.get("skipped", 0) for one in found)
    assert len(shown) + skipped == 3 * LOOK_EVENTS
    assert len(shown) == SHOWN
    assert shown[-1] == f"p{3 * LOOK_EVENTS - 1}"


async def test_every_ring_gets_its_turn_in_a_flood(kit: Fixture) -> None:
    clusters = [f"c{number}" for number in range(30)]

    def flood() -> None:
        for cluster in clusters:
            kit.add(cluster, [event(number, pad=700) for number in range(400)])

    found: list[dict[str, Any]] = await told(looks(feed(kit, *[flood] * 8), 8))
    assert {one["cluster"] for one in found if "name" in one} == set(clusters)


async def test_a_record_that_memory_does_not_keep_is_read_from_the_disk(kit: Fixture) -> None:
    large = event(1, pad=LIMIT_BYTES + 1)
    found = await told(looks(feed(kit, lambda: kit.add("prod", [large, event(2)])), 5))
    assert names(found) == ["p1", "p2"]


async def test_what_is_delivered_stays_in_memory_while_somebody_listens(kit: Fixture) -> None:
    kit.add("prod", [event(0)])
    cache = kit.spool.rings["prod"].record_cache
    found = []

    def look() -> None:
        found.append(cache.followers)

    listener = feed(kit, look, look)
    async for _ in looks(listener, 2):
        pass
    assert (found, cache.followers) == ([1, 1], 0)
    other = feed(kit, look, cluster=["dev"])
    async for _ in looks(other, 1):
        pass
    assert found == [1, 1, 0]


async def test_a_look_is_bounded_in_bytes_over_all_rings(kit: Fixture) -> None:
    def flood() -> None:
        for number in range(16):
            kit.add(f"c{number}", [event(number, pad=LOOK_BYTES // 2)])

    listener = feed(kit, flood)
    assert len(names(await told(looks(listener, 1)))) <= 3


async def test_silence_is_told(kit: Fixture) -> None:
    assert await told(looks(feed(kit), SILENT_LOOKS * 2)) == [{}, {}]

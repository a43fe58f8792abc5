"""Destinations of one form build each body once; nobody waits for another's destination, and little is kept."""

import asyncio
from dataclasses import replace

import pytest
from destinationkit import batch, event

from auditsink.common.secret import Secret
from auditsink.config import SplunkConfig
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered
from auditsink.destinations import build
from auditsink.destinations.bodies import BodyShare, SharedBodies
from auditsink.testing.clock import FakeClock, settle
from auditsink.testing.hec import HecServer

TOKEN = "11111111-2222-3333-4444-555555555555"
EVENTS = [event(number) for number in range(30)]


def stored(first: int = 0) -> Batch:
    return replace(batch(EVENTS, first=first), sequences=range(first, first + 30), origin=lambda _: "ring/segment")


class Builder:
    """Builds a body when it is let, and counts."""

    def __init__(self, body: bytes = b"body") -> None:
        self.built = 0
        self.go = asyncio.Event()
        self._body = body

    async def __call__(self) -> bytes:
        self.built += 1
        await self.go.wait()
        return self._body


async def joined(shared: SharedBodies, *forms: str) -> list[BodyShare]:
    """One for each form, all of which have asked for something."""
    builder = Builder()
    builder.go.set()
    several = [shared.share(form) for form in forms]
    for one in several:
        await one.of(batch(EVENTS[:1]), builder)
    return several


async def test_two_of_a_form_build_a_body_once_and_then_keep_nothing() -> None:
    shared, builder = SharedBodies(), Builder()
    one, other = await joined(shared, "form", "form")
    asked = [asyncio.create_task(share.of(stored(), builder)) for share in (one, other)]
    await settle()
    builder.go.set()
    assert await asyncio.gather(*asked) == [b"body", b"body"]
    assert (builder.built, shared.bytes) == (1, 0)


@pytest.mark.parametrize(
    "changed",
    [
        replace(stored(), cluster="another"),
        replace(stored(), labels={"stage": "prod"}),
        replace(stored(), received_ns=1),
        replace(stored(), origin=lambda _: "ring/another"),
        stored(1),
    ],
    ids=["cluster", "labels", "time", "segment", "sequence"],
)
async def test_another_batch_has_a_body_of_its_own(changed: Batch) -> None:
    shared, builder = SharedBodies(), Builder()
    builder.go.set()
    one, other = await joined(shared, "form", "form")
    await one.of(stored(), builder)
    await other.of(changed, builder)
    assert builder.built == 2


@pytest.mark.parametrize(
    "own",
    [
        replace(stored(), sequences=[*range(29), 30]),
        replace(stored(), origin=None),
        replace(stored(), origin=lambda _: None),
        stored().part(0, 2),
    ],
    ids=["events taken out", "a replay", "gone from the ring", "small"],
)
async def test_what_is_not_known_to_be_the_same_is_built_by_each(own: Batch) -> None:
    shared, builder = SharedBodies(), Builder()
    builder.go.set()
    for share in await joined(shared, "form", "form"):
        await share.of(own, builder)
    assert (builder.built, shared.bytes) == (2, 0)


async def test_two_forms_share_nothing_and_nothing_is_kept_for_one_alone() -> None:
    shared, builder = SharedBodies(), Builder()
    builder.go.set()
    one, other = await joined(shared, "form", "another")
    await one.of(stored(), builder)
    await other.of(stored(), builder)
    assert (builder.built, shared.bytes) == (2, 0)


async def test_one_that_never_comes_costs_no_more_than_the_limit() -> None:
    shared = SharedBodies(limit=1000)
    one, _dead = await joined(shared, "form", "form")
    builder = Builder(bytes(300))
    builder.go.set()
    for first in range(0, 300, 30):
        await one.of(stored(first), builder)
    assert shared.bytes == 900


async def test_one_that_is_stopped_while_it_builds_takes_nothing_from_the_others() -> None:
    shared, builder = SharedBodies(), Builder()
    one, other = await joined(shared, "form", "form")
    first = asyncio.create_task(one.of(stored(), builder))
    await settle()
    first.cancel()
    second = asyncio.create_task(other.of(stored(), builder))
    await settle()
    builder.go.set()
    assert await second == b"body"
    assert builder.built == 1


async def test_a_body_that_cannot_be_built_is_tried_again() -> None:
    async def fails() -> bytes:
        raise MemoryError

    shared, builder = SharedBodies(), Builder()
    builder.go.set()
    one, other = await joined(shared, "form", "form")
    with pytest.raises(MemoryError):
        await one.of(stored(), fails)
    assert await other.of(stored(), builder) == b"body"


async def test_who_has_left_is_waited_for_no_more() -> None:
    shared, builder = SharedBodies(), Builder()
    builder.go.set()
    one, other = await joined(shared, "form", "form")
    other.leave()
    await one.of(stored(), builder)
    assert shared.bytes == 0


def form(**settings: object) -> str | None:
    sections = {"name": "siem", "url": "http://127.0.0.1:1", "token": Secret("t"), **settings}
    return getattr(build(SplunkConfig(**sections), clock=FakeClock()), "form", None)  # type: ignore[arg-type]


async def test_a_form_is_all_of_the_section_that_bodies_depend_on() -> None:
    assert form() == form(name="other", url="http://127.0.0.1:2", token=Secret("u"), in_flight=4)
    others = [
        form(index="i"), form(fields={"a": "b"}), form(host="h"), form(source="s"), form(sourcetype="t"),
        form(compression="none"),
    ]  # fmt: skip
    assert len({form(), *others}) == 7


async def test_two_splunks_get_the_same_events_from_one_body() -> None:
    shared = SharedBodies()
    async with HecServer() as first, HecServer() as second:
        several = [
            build(SplunkConfig(name=name, url=server.url, token=Secret(TOKEN)), clock=FakeClock(), bodies=shared)
            for name, server in (("a", first), ("b", second))
        ]
        for number in range(2):
            attempts = [await one.prepare(stored(30 * number)) for one in several]
            assert [await attempt() for attempt in attempts] == [Delivered(), Delivered()]
        for one in several:
            await one.close()
    assert [bytes(one.event) for one in first.events] == [bytes(one.event) for one in second.events] == EVENTS * 2
    assert shared.bytes == 0
    assert not +shared.sharing

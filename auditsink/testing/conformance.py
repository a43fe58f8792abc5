"""What every destination must keep, ours and those of others: run yours through `DestinationConformance`.

    class TestMine(DestinationConformance):
        @pytest.fixture
        async def rig(self) -> AsyncIterator[Rig]:
            async with MyServer() as server:
                yield MyRig(server)

It needs pytest and pytest-asyncio in its mode `auto`. What the other side cannot be made to do is skipped, and said.
"""

import asyncio
import gc
import os
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Any, Protocol

import pytest

from auditsink.audit.eventlist import Mark
from auditsink.common.clock import SystemClock
from auditsink.common.redact import redact
from auditsink.config import DestinationSection
from auditsink.delivery.destination import Batch, Destination
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry, TooLarge
from auditsink.destinations import build

PATIENCE = 60.0
"""Seconds until something counts as hanging. It decides no test of one that works."""
SHORT = 0.3
"""Seconds: the `timeout` of a section whose other side says nothing."""
FORGOTTEN = 40
"""Batches that are prepared and never attempted."""
BATCH_BYTES = 100_000


class Behaviour(StrEnum):
    """What the other side does with all that comes, until it is told something else."""

    TAKES = "takes everything"
    BUSY = "says that it cannot right now"
    BREAKS = "breaks the connection without an answer"
    SILENT = "takes the request and never answers"
    UNAUTHORIZED = "does not know us"
    TOO_LARGE = "calls the request too large"
    BAD_EVENT = "refuses what holds an event that says BAD"


EXPECTED: dict[Behaviour, tuple[type, ...]] = {
    Behaviour.TAKES: (Delivered,),
    Behaviour.BUSY: (Retry,),
    Behaviour.BREAKS: (Retry,),
    Behaviour.SILENT: (Retry,),
    Behaviour.UNAUTHORIZED: (Misconfigured,),
    Behaviour.TOO_LARGE: (TooLarge,),
    Behaviour.BAD_EVENT: (Poison, Delivered),
}
"""What an attempt must come to. A destination that says which events it refused has delivered the others."""

BAD = b'{"level":"Metadata","auditID":"BAD"}'


class Rig(Protocol):
    """The other side of the destination under test."""

    behaviours: frozenset[Behaviour]
    """What it can be made to do."""
    forms: bool
    """Whether `taken` gives events as they were, byte for byte; False for a format that writes them anew."""

    def section(self, **changes: Any) -> DestinationSection:
        """Settings that lead to the other side, with changes (`timeout`, `in_flight`)."""
        ...

    async def behave(self, behaviour: Behaviour) -> None:
        """Do this from now on."""
        ...

    async def taken(self) -> Sequence[bytes]:
        """The events that the other side has, in order, repeats included."""
        ...


def events(count: int, first: int = 0) -> list[bytes]:
    """Small ones, each different."""
    times = '"stage":"ResponseComplete","stageTimestamp":"2026-11-22T21:13:38.661308Z"'
    line = f'{{"level":"Metadata","auditID":"id-%05d",{times}}}'
    return [(line % number).encode() for number in range(first, first + count)]


def batch(several: Sequence[bytes], first: int = 0, marks: Mark | None = None) -> Batch:
    """Those events of a cluster called `prod`."""
    sequences = range(first, first + len(several))
    return Batch("prod", "", several, sequences, 1_795_382_018_000_000_000, marks or Mark(0))


HOSTILE = {
    "invalid UTF-8": (b'{"auditID":"a","requestObject":{"name":"\xff\xfe\x80"}}', Mark.NOT_UTF8),
    "a lone surrogate": (rb'{"auditID":"a","requestObject":{"name":"\ud800"}}', Mark(0)),
    "deep nesting": (b'{"auditID":"a","requestObject":' + b"[" * 9_900 + b"]" * 9_900 + b"}", Mark(0)),
    "a long integer": (b'{"auditID":"a","requestObject":{"n":' + b"7" * 5_000 + b"}}", Mark(0)),
    "an exponent beyond all": (b'{"auditID":"a","requestObject":{"n":1e400}}', Mark(0)),
    "line breaks": (b'{\n  "auditID": "a",\r\n  "requestObject": [\n2]\n}', Mark(0)),
    "a field that stands twice": (b'{"auditID":"a","auditID":"b"}', Mark(0)),
    "a body that could not be split": (b'{"kind":"EventList","items":[{\xff', Mark.UNSPLIT | Mark.NOT_UTF8),
}
"""What a user of the apiserver's API can put into an event, by what is wrong with it."""


@asynccontextmanager
async def running(section: DestinationSection) -> AsyncIterator[Destination]:
    """The destination, closed at the end; closing must not hang."""
    made = build(section, clock=SystemClock())
    try:
        yield made
    finally:
        await asyncio.wait_for(made.close(), PATIENCE)


async def delivered(destination: Destination, of: Batch) -> Outcome:
    """One attempt."""
    attempt = await destination.prepare(of)
    return await asyncio.wait_for(attempt(), PATIENCE)


def needs(rig: Rig, behaviour: Behaviour) -> None:
    """Skip where the other side cannot be made to do this."""
    if behaviour not in rig.behaviours:
        pytest.skip(f"this other side is never one that {behaviour.value}")


class DestinationConformance:
    """See the module. Subclasses give the fixture `rig`."""

    async def test_it_says_who_it_is(self, rig: Rig) -> None:
        """Name, type and limits are there, and the section has words for it that show no secret."""
        section = rig.section()
        async with running(section) as destination:
            assert (destination.name, destination.type) == (section.name, section.kind)
            assert min(destination.limits.max_bytes, destination.limits.max_events, destination.limits.in_flight) >= 1
        words = section.describe()  # type: ignore[attr-defined] # each type's own
        assert words
        assert words == redact(words)

    async def test_events_arrive_whole_in_order_and_once(self, rig: Rig) -> None:
        """Several batches, one after the other."""
        await rig.behave(Behaviour.TAKES)
        async with running(rig.section()) as destination:
            for first in range(0, 30, 10):
                assert await delivered(destination, batch(events(10, first), first)) == Delivered()
        found = await rig.taken()
        assert len(found) == 30
        if rig.forms:
            assert list(found) == events(30)

    @pytest.mark.parametrize("behaviour", [one for one in Behaviour if one is not Behaviour.TAKES])
    async def test_whatever_the_other_side_does_is_a_value_and_what_was_prepared_can_be_tried_again(
        self, rig: Rig, behaviour: Behaviour
    ) -> None:
        """An attempt never raises, and one that did not deliver can be made again."""
        needs(rig, behaviour)
        await rig.behave(behaviour)
        changes = {"timeout": SHORT} if behaviour is Behaviour.SILENT else {}
        bad = behaviour is Behaviour.BAD_EVENT
        several = [*events(2), BAD, *events(2, 2)] if bad else events(4)
        async with running(rig.section(**changes)) as destination:
            attempt = await destination.prepare(batch(several))
            outcome = await asyncio.wait_for(attempt(), PATIENCE)
            assert isinstance(outcome, EXPECTED[behaviour]), outcome
            _check(outcome, len(several))
            if isinstance(outcome, Delivered):
                assert [rejection.index for rejection in outcome.refused] == [2]
                return
            if isinstance(outcome, Poison):
                assert outcome.index in (None, 2)
                return
            await rig.behave(Behaviour.TAKES)
            async with running(rig.section()) as patient:
                again = attempt if behaviour is not Behaviour.SILENT else await patient.prepare(batch(several))
                assert await asyncio.wait_for(again(), PATIENCE) == Delivered()

    @pytest.mark.parametrize("what", HOSTILE)
    async def test_nothing_inside_an_event_raises(self, rig: Rig, what: str) -> None:
        """It is made safe, or left to be refused."""
        await rig.behave(Behaviour.TAKES)
        event, marks = HOSTILE[what]
        async with running(rig.section()) as destination:
            outcome = await delivered(destination, batch([event], marks=marks))
            assert isinstance(outcome, Delivered | Poison | TooLarge), outcome
            _check(outcome, 1)

    async def test_an_attempt_can_be_cancelled(self, rig: Rig) -> None:
        """And the next one delivers."""
        needs(rig, Behaviour.SILENT)
        await rig.behave(Behaviour.SILENT)
        async with running(rig.section()) as destination:
            attempt = await destination.prepare(batch(events(3)))
            trying = asyncio.ensure_future(attempt())
            await asyncio.sleep(0.05)  # under way, most likely; either way it must end
            trying.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(trying, PATIENCE)
            assert trying.done()
            await rig.behave(Behaviour.TAKES)
            assert await delivered(destination, batch(events(3))) == Delivered()

    async def test_it_closes_while_an_attempt_waits_and_leaves_nothing_behind(self, rig: Rig) -> None:
        """No task and no file of its own stays; closing twice does no harm."""
        await rig.behave(Behaviour.TAKES)
        tasks, files = asyncio.all_tasks(), _open_files()
        destination = build(rig.section(), clock=SystemClock())
        await delivered(destination, batch(events(3)))
        if Behaviour.SILENT in rig.behaviours:
            await rig.behave(Behaviour.SILENT)
            attempt = await destination.prepare(batch(events(3)))
            trying = asyncio.ensure_future(attempt())
            await asyncio.sleep(0.05)
            trying.cancel()
            await asyncio.wait([trying], timeout=PATIENCE)
        await asyncio.wait_for(destination.close(), PATIENCE)
        await asyncio.wait_for(destination.close(), PATIENCE)
        await rig.behave(Behaviour.TAKES)
        for _ in range(20):  # transports close in a later turn of the loop
            await asyncio.sleep(0.01)
            if _open_files() <= files:
                break
        left = {one for one in asyncio.all_tasks() - tasks if not one.done() and _is_ours(one)}
        assert not left

    async def test_what_was_prepared_and_forgotten_costs_no_memory(self, rig: Rig) -> None:
        """The forwarder forgets batches at a stop, and when a ring drops them."""
        await rig.behave(Behaviour.TAKES)
        several = [b'{"auditID":"%d","requestObject":"%b"}' % (number, b"x" * 1_000) for number in range(100)]
        async with running(rig.section()) as destination:
            await destination.prepare(batch(several))
            gc.collect()
            tracemalloc.start()
            try:
                for _ in range(FORGOTTEN):
                    await destination.prepare(batch(several))
                gc.collect()
                kept, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert kept < FORGOTTEN * BATCH_BYTES / 4, "prepared batches stay in memory"

    async def test_it_can_be_asked_without_an_event(self, rig: Rig) -> None:
        """`check --connect` asks so."""
        await rig.behave(Behaviour.TAKES)
        async with running(rig.section()) as destination:
            assert isinstance(await asyncio.wait_for(destination.probe(), PATIENCE), Delivered)
        assert not await rig.taken()
        if Behaviour.UNAUTHORIZED in rig.behaviours:
            await rig.behave(Behaviour.UNAUTHORIZED)
            async with running(rig.section()) as destination:
                assert isinstance(await asyncio.wait_for(destination.probe(), PATIENCE), Misconfigured)


def _check(outcome: Outcome, count: int) -> None:
    """An outcome is one that the forwarder understands, and shows no secret."""
    for text in [getattr(outcome, "why", ""), *(one.why for one in getattr(outcome, "refused", ()))]:
        assert text == redact(text)
    for rejection in getattr(outcome, "refused", ()):
        assert 0 <= rejection.index < count


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers are wanted, not paths


def _is_ours(task: "asyncio.Task[Any]") -> bool:
    """Not one of the scripted server's, which serve what the test left open."""
    return "auditsink.testing" not in repr(task.get_coro()) and "aiohttp" not in repr(task)

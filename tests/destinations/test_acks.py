"""Waiting for indexer acknowledgements, on a clock that stands still."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry
from auditsink.destinations.splunk import Acknowledgements
from auditsink.testing.clock import FakeClock, settle


class Indexer:
    """Tells each id in `ready` once. Each number is asked for in the channel of its name."""

    def __init__(self) -> None:
        self.ready: set[int] = set()
        self.asked: list[int] = []
        self.trouble: Outcome | None = None

    async def __call__(self, channel: str, ack_id: int) -> bool | Outcome:
        assert channel == f"channel-{ack_id}"
        self.asked.append(ack_id)
        if self.trouble is not None:
            return self.trouble
        told = ack_id in self.ready
        self.ready.discard(ack_id)
        return told


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def indexer() -> Indexer:
    return Indexer()


@pytest.fixture
async def acks(indexer: Indexer, clock: FakeClock) -> AsyncIterator[Acknowledgements]:
    made = Acknowledgements(indexer, clock, (f"new-{number}" for number in itertools.count()).__next__)
    yield made
    await made.close()


async def waiting(acks: Acknowledgements, *ack_ids: int) -> list[asyncio.Task[Outcome]]:
    tasks = [asyncio.create_task(acks.of(f"channel-{ack_id}", ack_id)) for ack_id in ack_ids]
    await settle()
    return tasks


async def test_an_acknowledged_id_is_delivered(acks: Acknowledgements, indexer: Indexer, clock: FakeClock) -> None:
    (task,) = await waiting(acks, 0)
    indexer.ready.add(0)
    await clock.advance(1)

    assert await task == Delivered()
    assert len(acks) == 0


async def test_nothing_is_delivered_before_its_acknowledgement(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
) -> None:
    (task,) = await waiting(acks, 0)
    await clock.advance(200)

    assert not task.done()
    indexer.ready.add(0)
    await clock.advance(10)
    assert task.done()


async def test_a_round_asks_for_each_in_its_channel_and_each_is_told_once(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
) -> None:
    tasks = await waiting(acks, 2, 0, 1)
    indexer.ready |= {0, 2}
    await clock.advance(1)

    assert indexer.asked == [2, 0, 1]
    assert [task.done() for task in tasks] == [True, True, False]
    indexer.ready.add(1)
    await clock.advance(1)
    assert await tasks[2] == Delivered()


async def test_questions_come_sooner_at_first_and_then_every_ten_seconds(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
) -> None:
    await waiting(acks, 0)
    times = []
    for second in range(1, 47):
        before = len(indexer.asked)
        await clock.advance(1)
        times += [second] * (len(indexer.asked) - before)

    assert times == [1, 3, 7, 15, 25, 35, 45]


async def test_after_five_minutes_it_is_sent_again(acks: Acknowledgements, clock: FakeClock) -> None:
    (task,) = await waiting(acks, 0)
    await clock.advance(299)
    assert not task.done()
    await clock.advance(11)

    assert isinstance(await task, Retry)
    assert len(acks) == 0


async def test_after_a_broken_connection_it_is_sent_again_when_three_more_questions_gave_nothing(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
) -> None:
    """A receiver that was restarted has forgotten what it gave out; one that was not tells it in that time."""
    before, told = await waiting(acks, 0, 1)
    await clock.advance(100)
    acks.broke()
    (after,) = await waiting(acks, 2)
    await clock.advance(20)
    indexer.ready.add(1)
    await clock.advance(9)
    assert await told == Delivered()
    assert not before.done()
    await clock.advance(11)
    outcome = await before
    assert isinstance(outcome, Retry)
    assert "since a connection broke" in outcome.why
    assert not after.done(), "it was sent when the connection was there again"


async def test_a_second_break_does_not_prolong_the_wait(acks: Acknowledgements, clock: FakeClock) -> None:
    (task,) = await waiting(acks, 0)
    for _ in range(6):
        acks.broke()
        await clock.advance(10)
    assert isinstance(await task, Retry)


async def test_a_channel_carries_the_next_request_only_when_its_own_was_acknowledged(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
) -> None:
    assert (acks.channel(), acks.channel()) == ("new-0", "new-1")
    good, bad = await waiting(acks, 0, 1)
    indexer.ready.add(0)
    await clock.advance(320)
    assert (await good, type(await bad)) == (Delivered(), Retry)
    assert (acks.channel(), acks.channel()) == ("channel-0", "new-2")
    acks.give_back("new-2")
    assert acks.channel() == "new-2"


async def test_trouble_with_asking_is_waited_out(acks: Acknowledgements, indexer: Indexer, clock: FakeClock) -> None:
    (task,) = await waiting(acks, 0)
    indexer.trouble = Retry("connection refused")
    await clock.advance(100)
    assert not task.done()

    indexer.trouble = None
    indexer.ready.add(0)
    await clock.advance(10)
    assert await task == Delivered()


async def test_acknowledgement_that_is_switched_off_over_there_is_told_to_all(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
) -> None:
    tasks = await waiting(acks, 0, 1)
    indexer.trouble = Misconfigured("ACK is disabled")
    await clock.advance(1)

    assert await asyncio.gather(*tasks) == [indexer.trouble] * 2


async def test_nobody_is_asked_when_nobody_waits(acks: Acknowledgements, indexer: Indexer, clock: FakeClock) -> None:
    (task,) = await waiting(acks, 0)
    indexer.ready.add(0)
    await clock.advance(1)
    await task
    await clock.advance(1000)
    assert len(indexer.asked) == 1
    assert clock.sleepers == 0

    (later,) = await waiting(acks, 1)
    indexer.ready.add(1)
    await clock.advance(1)
    assert await later == Delivered()


async def test_an_attempt_that_is_cancelled_waits_no_more(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
) -> None:
    (task,) = await waiting(acks, 0)
    task.cancel()
    await settle()

    assert len(acks) == 0
    await clock.advance(100)
    assert indexer.asked == []


async def test_closing_lets_everybody_go(acks: Acknowledgements) -> None:
    (task,) = await waiting(acks, 0)
    await acks.close()

    assert isinstance(await task, Retry)

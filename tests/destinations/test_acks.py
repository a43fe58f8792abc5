"""Waiting for indexer acknowledgements, on a clock that stands still."""

import asyncio

import pytest

from auditsink.destinations.acks import Acknowledgements
from auditsink.forward.outcome import Delivered, Misconfigured, Outcome, Retry
from auditsink.testing.clock import FakeClock, settle


class Indexer:
    """Tells each id in `ready` once."""

    def __init__(self) -> None:
        self.ready = set()
        self.asked = []
        self.trouble = None

    async def __call__(self, ack_ids: list[int]) -> frozenset[int] | Outcome:
        self.asked.append(ack_ids)
        if self.trouble is not None:
            return self.trouble
        told = frozenset(self.ready & set(ack_ids))
        self.ready -= told
        return told


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def indexer():
    return Indexer()


@pytest.fixture
async def acks(indexer: Indexer, clock: FakeClock):
    made = Acknowledgements(indexer, clock)
    yield made
    await made.close()


async def waiting(acks: Acknowledgements, *ack_ids: int):
    tasks = [asyncio.create_task(acks.of(ack_id)) for ack_id in ack_ids]
    await settle()
    return tasks


async def test_an_acknowledged_id_is_delivered(acks: Acknowledgements, indexer: Indexer, clock: FakeClock):
    (task,) = await waiting(acks, 0)
    indexer.ready.add(0)
    await clock.advance(1)

    assert await task == Delivered()
    assert len(acks) == 0


async def test_nothing_is_delivered_before_its_acknowledgement(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
):
    (task,) = await waiting(acks, 0)
    await clock.advance(200)

    assert not task.done()
    indexer.ready.add(0)
    await clock.advance(10)
    assert task.done()


async def test_one_question_asks_for_all_and_each_is_told_once(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
):
    tasks = await waiting(acks, 2, 0, 1)
    indexer.ready |= {0, 2}
    await clock.advance(1)

    assert indexer.asked == [[0, 1, 2]]
    assert [task.done() for task in tasks] == [True, True, False]
    indexer.ready.add(1)
    await clock.advance(1)
    assert await tasks[2] == Delivered()


async def test_questions_come_sooner_at_first_and_then_every_ten_seconds(
    acks: Acknowledgements, indexer: Indexer, clock: FakeClock
):
    await waiting(acks, 0)
    times = []
    for second in range(1, 47):
        before = len(indexer.asked)
        await clock.advance(1)
        times += [second] * (len(indexer.asked) - before)

    assert times == [1, 3, 7, 15, 25, 35, 45]


async def test_after_five_minutes_it_is_sent_again(acks: Acknowledgements, clock: FakeClock):
    (task,) = await waiting(acks, 0)
    await clock.advance(299)
    assert not task.done()
    await clock.advance(11)

    assert isinstance(await task, Retry)
    assert len(acks) == 0


async def test_an_id_given_twice_is_credited_to_neither(acks: Acknowledgements, indexer: Indexer, clock: FakeClock):
    first, second = await waiting(acks, 7, 7)
    indexer.ready.add(7)
    await clock.advance(10)

    assert isinstance(await first, Retry)
    assert isinstance(await second, Misconfigured)
    assert "sticky sessions" in (await second).why


async def test_trouble_with_asking_is_waited_out(acks: Acknowledgements, indexer: Indexer, clock: FakeClock):
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
):
    tasks = await waiting(acks, 0, 1)
    indexer.trouble = Misconfigured("ACK is disabled")
    await clock.advance(1)

    assert await asyncio.gather(*tasks) == [indexer.trouble] * 2


async def test_nobody_is_asked_when_nobody_waits(acks: Acknowledgements, indexer: Indexer, clock: FakeClock):
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


async def test_an_attempt_that_is_cancelled_waits_no_more(acks: Acknowledgements, indexer: Indexer, clock: FakeClock):
    (task,) = await waiting(acks, 0)
    task.cancel()
    await settle()

    assert len(acks) == 0
    await clock.advance(100)
    assert indexer.asked == []


async def test_closing_lets_everybody_go(acks: Acknowledgements):
    (task,) = await waiting(acks, 0)
    await acks.close()

    assert isinstance(await task, Retry)

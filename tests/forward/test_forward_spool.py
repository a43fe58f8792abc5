"""Forwarding from the real spool: its threads, its files (on a disk in memory), its recovery."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forwardkit import LIMITS, Held, ScriptedDestination

from auditsink.audit import eventlist
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Outcome, Poison, Retry
from auditsink.forward.dead_letters import DeadLetters, place
from auditsink.forward.forwarder import Forwarder
from auditsink.forward.reporting import DestinationState
from auditsink.spool import Spool
from auditsink.spool.types import Receipt, SpoolRejection
from auditsink.testing.disk import FakeDisk

PATH = Path("/spool")


def body_of(cluster: str, first: int, count: int) -> bytes:
    items = ",".join(f'{{"level":"Metadata","auditID":"{cluster}-{first + at:05d}"}}' for at in range(count))
    return f'{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{items}]}}\n'.encode()


class Sink:
    """A spool and a forwarder in one life of the process."""

    def __init__(self, disk: FakeDisk, destination: ScriptedDestination, **settings: Any) -> None:
        settings = {"max_bytes": Size(2**22), "segment_bytes": Size(2**16), **settings}
        config = SpoolConfig(path=PATH, **settings)
        self.spool = Spool.open(config, disk=disk)
        self.spool.start(asyncio.get_running_loop().call_soon_threadsafe)
        dead_letters = DeadLetters(place(PATH, destination.name), 2**20, disk=disk)
        self.forwarder = Forwarder(destination, spool=self.spool, dead_letters=dead_letters)
        self.task = asyncio.create_task(self.forwarder.run())

    async def submit(self, cluster: str, body: bytes) -> Receipt | SpoolRejection:
        answer: asyncio.Future[Receipt | SpoolRejection] = asyncio.get_running_loop().create_future()
        self.spool.submit(self.spool.ring(cluster), body, eventlist.split(body), "CN=api", answer.set_result)
        return await asyncio.wait_for(answer, 30)

    async def settled(self) -> None:
        """Until all that was accepted has been dealt with: what is taken is settled a little later."""
        async with asyncio.timeout(30):
            while not self.forwarder.statistics().accounts or self.forwarder.state is not DestinationState.IDLE:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def stop(self) -> None:
        await self.forwarder.stop(20)
        await self.task
        await asyncio.to_thread(self.spool.stop)

    async def die(self, disk: FakeDisk) -> None:
        """The process is killed; its threads end with it, as far as a test can do that."""
        disk.kill()
        self.forwarder._abandoned = True
        self.task.cancel()
        await asyncio.gather(self.task, *self.forwarder._workers, return_exceptions=True)
        await asyncio.to_thread(self.spool.stop)


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_what_was_accepted_is_delivered_byte_for_byte_and_the_account_adds_up(in_flight: int) -> None:
    disk = FakeDisk()
    destination = ScriptedDestination(limits=replace(LIMITS, in_flight=in_flight))
    sink = Sink(disk, destination)
    bodies = {cluster: [body_of(cluster, at, 7) for at in range(0, 210, 7)] for cluster in ("a", "b")}
    for pair in zip(*bodies.values(), strict=True):
        await asyncio.gather(*(sink.submit(cluster, body) for cluster, body in zip(bodies, pair, strict=True)))
    await sink.stop()
    for cluster, posted in bodies.items():
        expected = [event for body in posted for event in eventlist.split(body).events]
        assert [event for name, _, event in destination.taken if name == cluster] == expected
        assert sink.forwarder.statistics().accounts[cluster].delivered == 210


async def test_after_kills_everything_arrives_and_the_repeats_are_few() -> None:
    disk, chance = FakeDisk(), random.Random(5)
    destination = ScriptedDestination()
    posted: list[bytes] = []
    lives = 6
    for _ in range(lives):
        sink = Sink(disk, destination)
        for _ in range(10):
            body = body_of("a", len(posted), chance.randrange(1, 30))
            posted += eventlist.split(body).events
            assert isinstance(await sink.submit("a", body), Receipt)
        await sink.die(disk)
    sink = Sink(disk, destination)
    await sink.settled()
    await sink.stop()
    taken = [event for _, _, event in destination.taken]
    assert list(dict.fromkeys(taken)) == posted, "all of them, in order"
    assert sum(Counter(taken).values()) - len(posted) <= lives * 2 * LIMITS.max_events
    account = sink.forwarder.statistics().accounts["a"]
    assert (account.accepted, account.delivered, account.pending) == (len(posted), len(posted), 0)


async def test_a_refused_event_is_a_dead_letter_with_the_place_it_had_in_the_ring() -> None:
    disk = FakeDisk()

    def answer(batch: Batch) -> Outcome:
        bad = [at for at, event in enumerate(batch.events) if b"a-00005" in event]
        return Poison(bad[0], "format") if bad else Delivered()

    destination = ScriptedDestination(answer)
    sink = Sink(disk, destination)
    await sink.submit("a", body_of("a", 0, 9))
    await sink.stop()
    kept = list(DeadLetters(place(PATH, "siem"), disk=disk))
    assert [(one.sequence, one.source, one.reason) for one in kept] == [(5, "CN=api", "format")]
    assert kept[0].content == b'{"level":"Metadata","auditID":"a-00005"}'
    assert destination.sequences("a") == [0, 1, 2, 3, 4, 6, 7, 8]


def noise(chance: random.Random, first: int, count: int) -> bytes:
    items = ",".join(f'{{"auditID":"{first + at}","x":"{chance.randbytes(400).hex()}"}}' for at in range(count))
    return f'{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{items}]}}\n'.encode()


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_dropped_while_batches_are_under_way_is_lost_and_nothing_else_is(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Batches are held, refused, taken apart and tried again while their segments go. The counter never falls."""
    chance, held, disk, posted = random.Random(seed), Held(), FakeDisk(), 0
    destination = ScriptedDestination(held, limits=replace(LIMITS, in_flight=chance.choice([1, 2, 4]), max_bytes=4000))
    sink = Sink(disk, destination, when_full="drop_oldest", max_bytes=Size(2**19))
    dropped = 0
    for _ in range(250):
        count = chance.randrange(1, 30)
        assert isinstance(await sink.submit("a", noise(chance, posted, count)), Receipt)
        posted += count
        await asyncio.sleep(0.001)
        if held.waiting and chance.random() < 0.3:
            outcomes: list[Outcome] = [Delivered(), Delivered(), Retry("busy", after=0), Poison(None, "bad")]
            await held.end(chance.choice(outcomes), chance.randrange(len(held.waiting)))
        account = sink.forwarder.statistics().accounts["a"]
        assert account.dropped >= dropped, "it fell"
        dropped = account.dropped
        assert account.accepted == posted
        assert posted == account.delivered + account.dead_lettered + account.dropped + account.pending
    assert dropped > 0
    destination.answer = lambda _: Delivered()
    while sink.forwarder.state is not DestinationState.IDLE:
        while held.waiting:
            await held.end()
        await asyncio.sleep(0.001)
    account = sink.forwarder.statistics().accounts["a"]
    (drop,) = [ring.drops["siem"] for ring in sink.spool.statistics().rings]
    await sink.stop()

    lost: set[int] = set()
    for record in map(vars, caplog.records):
        if "last_sequence" in record:
            named = set(range(record["first_sequence"], record["last_sequence"] + 1))
            assert len(named) == record["events"]
            assert not named & lost, "named twice"
            lost |= named
    taken = set(destination.sequences("a"))
    assert not lost & taken, "called lost, and arrived"
    refused = {letter.sequence for letter in DeadLetters(place(PATH, "siem"), disk=disk)}
    assert lost | taken | refused == set(range(posted)), "neither lost nor arrived"
    assert not lost & refused
    assert account.dead_lettered == len(refused)
    assert account.dropped == drop.events == len(lost) >= dropped
    assert (drop.first, drop.last) == (min(lost), max(lost))
    assert account.delivered == len(taken)


async def test_what_was_under_way_in_a_killed_sink_and_lost_its_segments_is_named_at_the_next_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance, disk, held = random.Random(1), FakeDisk(), Held()
    sink = Sink(disk, ScriptedDestination(held), when_full="drop_oldest", max_bytes=Size(2**18))
    for number in range(100):
        await sink.submit("a", noise(chance, 10 * number, 10))
    before = sink.forwarder.statistics().accounts["a"]
    assert before.dropped > 0
    await sink.die(disk)
    caplog.clear()

    destination = ScriptedDestination()
    sink = Sink(disk, destination, when_full="drop_oldest", max_bytes=Size(2**18))
    await sink.settled()
    (told,) = [vars(record) for record in caplog.records if "in an earlier run" in record.getMessage()]
    account = sink.forwarder.statistics().accounts["a"]
    assert (told["first_sequence"], told["events"]) == (0, account.dropped)
    assert account.dropped >= before.dropped
    assert destination.sequences("a") == list(range(told["last_sequence"] + 1, 1000))
    await sink.stop()

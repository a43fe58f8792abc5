"""Random rings, random servers (liars among them), crashes at any moment: what must hold holds at every moment."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from forwardkit import FakeCursor, FakeRing, Rig, ScriptedDestination, adds_up
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Batch, Limits
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    TooLarge,
)
from auditsink.forward.frontier import Slot
from auditsink.forward.subscription import Lease, Subscription
from auditsink.spool.types import Tally
from auditsink.testing.clock import FakeClock
from auditsink.testing.disk import FakeDisk

T = TypeVar("T")


class Server:
    """Refuses the events that are `bad` and takes the others; on a bad day it also lies, stalls, or breaks off."""

    def __init__(self, chance: random.Random, clock: FakeClock) -> None:
        self.chance = chance
        self.clock = clock
        self.bad_day = True
        self.taken: dict[str, list[int]] = {}
        self.condemned: dict[str, set[int]] = {}

    async def __call__(self, batch: Batch) -> Outcome:
        if self.chance.random() < 0.5:
            await self.clock.sleep(self.chance.choice([0.01, 1, 5]))
        outcome = self._answer(batch)
        self._remember(batch, outcome)
        return outcome

    def _answer(self, batch: Batch) -> Outcome:
        bad = [at for at, event in enumerate(batch.events) if b"bad" in event]
        mood = self.chance.random()
        if self.bad_day and mood < 0.2:
            return self._mood(batch)
        if self.bad_day and mood < 0.3 and (bad or len(batch.events) > 1):
            # It names whom it likes; alone, only the bad are refused.
            return Poison(self.chance.choice([None, -1, 0, len(batch.events) - 1, 99]), "lie")
        if not bad:
            return Delivered()
        if self.chance.random() < 0.3:
            return Delivered(tuple(EventRejection(at, "named") for at in bad))
        return Poison(self.chance.choice([None, bad[0]]), "bad")

    def _mood(self, batch: Batch) -> Outcome:
        match self.chance.randrange(10):
            case 0 | 1:
                return Misconfigured("who are you?")
            case 2:
                raise ConnectionResetError("cut off")
            case 3 | 4 if len(batch.events) > 1:
                return TooLarge("413")
        return Retry("later", self.chance.choice([None, 0, 3]))

    def _remember(self, batch: Batch, outcome: Outcome) -> None:
        refused: set[int] = set()
        if isinstance(outcome, Delivered):
            refused = {refusal.index for refusal in outcome.refused}
            self.taken.setdefault(batch.cluster, []).extend(
                sequence for at, sequence in enumerate(batch.sequences) if at not in refused
            )
        elif isinstance(outcome, Poison) and len(batch.events) == 1:
            refused = {0}
        self.condemned.setdefault(batch.cluster, set()).update(batch.sequences[at] for at in refused)


class World:
    """Everything that outlives a crash, and the process that does not."""

    def __init__(self, chance: random.Random, in_flight: int, clusters: int) -> None:
        self.chance = chance
        self.clock = FakeClock()
        self.disk = FakeDisk()
        self.server = Server(chance, self.clock)
        self.limits = Limits(chance.choice([40, 200]), chance.choice([3, 10]), chance.choice([0, 2.0]), in_flight)
        self.rings = [FakeRing(f"c{at}", remembered=chance.choice([0, 2, 1000])) for at in range(clusters)]
        self.lost: dict[str, set[int]] = {ring.cluster: set() for ring in self.rings}
        self.crashes = 0
        self.samples: list[tuple[str, int]] = []
        for ring in self.rings:
            self._watch(ring, ring.cursor("siem"))
        self.rig = self._new()

    def _new(self) -> Rig:
        destination = ScriptedDestination(self._attempt, self.limits)
        for ring in self.rings:
            ring._listeners.clear()
        rig = Rig(
            destination,
            *self.rings,
            clock=self.clock,
            disk=self.disk,
            random=self.chance.random,
            offload=self._offload,
        )
        attempts = rig.forwarder._deliverer._attempts
        single = attempts._single

        async def noted(subscription: Subscription, slot: Slot, sequence: int) -> Lease | None:
            self.samples.append((subscription.cluster, sequence))
            return await single(subscription, slot, sequence)

        attempts._single = noted  # type: ignore[method-assign]
        return rig

    async def _offload(self, function: Callable[..., T], /, *args: object) -> T:
        """A thread takes its time, and attempts end meanwhile."""
        found = function(*args)
        await self.clock.sleep(self.chance.choice([0, 0, 0.01, 2]))
        return found

    def _attempt(self, batch: Batch) -> Awaitable[Outcome]:
        return self.server(batch)

    def _watch(self, ring: FakeRing, cursor: FakeCursor) -> None:
        """See to it that the cursor never passes what is not settled."""
        advance = cursor.advance

        def watched(done: Tally) -> None:
            before = cursor.position
            advance(done)
            taken = set(self.server.taken.get(ring.cluster, ()))
            dead_lettered = {
                dead_letter.sequence for dead_letter in self.rig.dead_letters if dead_letter.cluster == ring.cluster
            }
            for sequence in range(before, cursor.position):
                assert sequence in taken or sequence in dead_lettered or sequence in self.lost[ring.cluster]
            assert adds_up(ring)

        cursor.advance = watched  # type: ignore[method-assign]

    async def step(self) -> None:
        ring = self.chance.choice(self.rings)
        action = self.chance.choice(["put", "put", "put", "time", "time", "lose", "crash"])
        if action == "put":
            self._put(ring)
        elif action == "time":
            await self.clock.advance(self.chance.choice([0, 0.5, 10, 100]))
        elif action == "lose" and ring.records:
            self._lose(ring)
        elif action == "crash":
            self.crashes += 1
            await self.rig.kill()
            self.rig = self._new()
            await self.rig.__aenter__()
        assert all(adds_up(one) for one in self.rings)

    def _put(self, ring: FakeRing) -> None:
        marks = self.chance.choice([Mark(0)] * 8 + [Mark.UNSPLIT, Mark.NOT_UTF8])
        count = 1 if marks is Mark.UNSPLIT else self.chance.choice([1, 1, 2, 5, 12])
        events = [
            (b"bad" if self.chance.random() < 0.1 else b"good") + b"." * self.chance.choice([0, 5, 60])
            for _ in range(count)
        ]
        ring.put(*events, source=self.chance.choice(["a", "a", "a", "b"]), marks=marks)

    def _lose(self, ring: FakeRing) -> None:
        at = self.chance.randrange(len(ring.records))
        first, last = ring.records[0], ring.records[at]
        stop = last.first_sequence + len(last.events)
        start = self.chance.choice([first.first_sequence, last.first_sequence])
        self.lost[ring.cluster] |= set(range(start, stop))
        ring.lose(start, stop)

    async def play(self, steps: int) -> None:
        await self.rig.__aenter__()
        for _ in range(steps):
            await self.step()
        self.server.bad_day = False
        for _ in range(30):
            if all(ring.cursor("siem").position == ring.durable for ring in self.rings):
                break
            await self.clock.advance(60)
        await self.rig.kill()


def check(world: World) -> None:
    for ring in world.rings:
        cursor, taken = ring.cursor("siem"), world.server.taken.get(ring.cluster, [])
        assert cursor.position == ring.durable == cursor.tally.total, "in the end all is settled"
        assert cursor.path == sorted(cursor.path)
        dead_lettered = {
            dead_letter.sequence for dead_letter in world.rig.dead_letters if dead_letter.cluster == ring.cluster
        }
        assert dead_lettered <= world.server.condemned.get(ring.cluster, set()), (
            "nobody is condemned but by a refusal alone"
        )
        for sequence in range(ring.durable):
            assert sequence in taken or sequence in dead_lettered or sequence in world.lost[ring.cluster]
        firsts = list(dict.fromkeys(taken))
        samples = [sequence for cluster, sequence in world.samples if cluster == ring.cluster]
        if world.limits.in_flight == 1:
            in_turn = [sequence for sequence in firsts if sequence not in samples]
            assert in_turn == sorted(in_turn), "in order, but for single events that were tried before their turn"
        window = (world.limits.in_flight + 1) * world.limits.max_events
        repeats = sum(Counter(taken).values()) - len(firsts)
        assert repeats <= world.crashes * window + len(samples), "a crash repeats no more than the window"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 3), st.integers(1, 60))
def test_every_event_is_delivered_or_a_dead_letter_or_counted_as_dropped(
    seed: int, in_flight: int, clusters: int, steps: int
) -> None:
    async def scenario() -> World:
        world = World(random.Random(seed), in_flight, clusters)
        await world.play(steps)
        return world

    check(asyncio.run(scenario()))

"""Hundreds of clusters share a destination, and none waits for another's backlog."""

from collections import Counter

import pytest
from forwardkit import FakeRing, Held, Rig, ScriptedDestination

from auditsink.common.fair_queue import REQUESTS
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Outcome, Poison


async def test_a_fresh_event_of_each_quiet_cluster_is_attempted_within_one_round() -> None:
    rings = [FakeRing(f"c{at:03d}") for at in range(200)]
    rings[0].fill(100_000, per_record=100)
    held = Held()
    async with Rig(ScriptedDestination(held), *rings) as rig:
        for _ in range(20):
            await held.end()
        for ring in rings[1:]:
            ring.put(b"fresh")
        before = len(rig.destination.attempts)
        while len({batch.cluster for batch in rig.destination.attempts}) < 200:
            await held.end()
        assert len(rig.destination.attempts) - before <= 202
        assert sum(batch.cluster == "c000" for batch in rig.destination.attempts[before:]) <= 3


async def test_clusters_with_backlogs_take_turns() -> None:
    rings = [FakeRing(f"c{at}") for at in range(3)]
    for ring in rings:
        ring.fill(100)
    async with Rig(ScriptedDestination(), *rings) as rig:
        clusters = [batch.cluster for batch in rig.destination.attempts]
        for at in range(1, 100):
            counts = Counter({ring.cluster: 0 for ring in rings} | Counter(clusters[:at]))
            assert max(counts.values()) - min(counts.values()) <= REQUESTS


async def test_a_cluster_whose_events_are_refused_one_by_one_does_not_hold_up_the_others() -> None:
    hostile, quiet = FakeRing("hostile"), FakeRing("quiet")

    def answer(batch: Batch) -> Outcome:
        return Poison(None, "bad") if batch.cluster == "hostile" else Delivered()

    hostile.fill(50)
    destination = ScriptedDestination(answer)
    async with Rig(destination, hostile, quiet) as rig:
        assert len(rig.dead_lettered()) == 50
        hostile.fill(50)
        quiet.fill(30)
        await rig.clock.advance()
        clusters = [batch.cluster for batch in destination.attempts]
        last = len(clusters) - 1 - clusters[::-1].index("quiet")
        assert clusters[last - 8 : last].count("quiet") >= 2
        assert len(clusters) - last > 50


async def test_idle_clusters_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    rings = [FakeRing(f"c{at}") for at in range(300)]
    async with Rig(ScriptedDestination(), *rings) as rig:
        for subscription in rig.forwarder._subscriptions._by_ring.values():
            monkeypatch.setattr(subscription, "due", None)  # whoever asks an idle subscription fails
            monkeypatch.setattr(subscription, "take", None)
        busy = FakeRing("busy")
        rig.spool.add(busy)
        busy.fill(100)
        await rig.clock.advance(10)
        assert rig.destination.sequences("busy") == list(range(100))

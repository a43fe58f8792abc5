"""A cluster that a destination does not take, among others that it does: the others go on, and nobody is silent."""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from forwardkit import LIMITS, Rig, ScriptedDestination, adds_up, always, ring_of

from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause
from auditsink.forward.reporting import DestinationState, HeldCluster
from auditsink.forward.retry import FIRST_PROBE, LONGEST_PROBE, ClusterPause

NO_TOPIC = Misconfigured("topic audit.c1 is missing", cluster_only=True)


def missing(*clusters: str) -> Callable[[Batch], Outcome]:
    """An answer that takes everything but the events of these clusters."""

    def answer(batch: Batch) -> Outcome:
        return NO_TOPIC if batch.cluster in clusters else Delivered()

    return answer


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_the_others_go_on_and_the_one_comes_after_it_is_set_right(in_flight: int) -> None:
    one, two = ring_of(95, "c1"), ring_of(95, "c2")
    destination = ScriptedDestination(missing("c1"), replace(LIMITS, in_flight=in_flight))
    async with Rig(destination, one, two) as rig:
        two.fill(5)
        await rig.clock.advance(1)
        assert destination.sequences("c2") == list(range(100))
        assert rig.forwarder.state is DestinationState.MISCONFIGURED
        assert rig.forwarder.statistics().held == {"c1": HeldCluster(NO_TOPIC.why, FIRST_PROBE - 1)}
        assert one.cursor("siem").position == 0
        destination.answer = always(Delivered())
        await rig.clock.advance(FIRST_PROBE)
        assert destination.sequences("c1") == list(range(95))
        assert (rig.forwarder.state, rig.forwarder.statistics().held) == (DestinationState.IDLE, {})
        assert adds_up(one)
        assert adds_up(two)


async def test_a_held_cluster_is_asked_about_seldom_and_told_each_time(caplog: pytest.LogCaptureFixture) -> None:
    ring = ring_of(10, "c1")
    async with Rig(ScriptedDestination(missing("c1")), ring) as rig:
        for _ in range(100):
            await rig.clock.advance(10)
            ring.fill(1)
        waits = [30, 60, 120, 240, 300, 300]
        assert len(rig.destination.attempts) == len([at for at in range(len(waits)) if sum(waits[: at + 1]) < 1000]) + 1
        told = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(told) == len(rig.destination.attempts)
        assert {(vars(record)["cluster"], vars(record)["error"]) for record in told} == {("c1", NO_TOPIC.why)}


async def test_a_hundred_made_up_clusters_delay_nobody() -> None:
    rings = [ring_of(1, f"made-up-{number}") for number in range(100)]
    prod = ring_of(1, "prod")
    destination = ScriptedDestination(missing(*(ring.cluster for ring in rings)))
    async with Rig(destination, *rings, prod) as rig:
        assert destination.sequences("prod") == [0]
        prod.fill(3)
        await rig.clock.advance(0.1)
        assert destination.sequences("prod") == [0, 1, 2, 3]
        assert len(rig.forwarder.statistics().held) == 100


async def test_a_stop_does_not_wait_for_a_held_cluster() -> None:
    async with Rig(ScriptedDestination(missing("c1")), ring_of(5, "c1")) as rig:
        before = rig.clock.monotonic()
        await rig.stop(8.0)
        assert rig.clock.monotonic() - before < 1.0


async def test_an_answer_about_one_cluster_ends_the_trouble_of_all() -> None:
    one, two = ring_of(1, "c1"), ring_of(1, "c2")
    destination = ScriptedDestination(always(Retry("connection refused")))
    async with Rig(destination, one, two) as rig:
        assert rig.forwarder.state is DestinationState.RETRYING
        destination.answer = missing("c1")
        await rig.clock.advance(1)
        assert destination.sequences("c2") == [0]
        assert rig.forwarder.statistics().next_attempt_seconds == 0


async def test_a_quota_of_one_cluster_holds_back_no_other_one_and_its_batches_become_smaller() -> None:
    """A tenant's 429 with a Retry-After: the wish is kept for its cluster, and the others never hear of it."""
    over = Retry("HTTP 429", after=30.0, cause=RetryCause.THROTTLED, cluster_only=True)
    one, two = ring_of(8, "c1"), ring_of(1, "c2")
    destination = ScriptedDestination(
        lambda batch: over if batch.cluster == "c1" and len(batch.events) > 2 else Delivered()
    )
    async with Rig(destination, one, two) as rig:
        await rig.clock.advance(1)
        assert destination.sequences("c2") == [0]
        asked = len(destination.attempts)
        for _ in range(20):
            two.fill(1)
            await rig.clock.advance(1)
        assert len(destination.sequences("c2")) == 21
        assert len(destination.attempts) == asked + 20, "nothing was asked for c1 before its time"
        await rig.clock.advance(600)
        assert set(destination.sequences("c1")) == set(range(8))
        assert rig.dead_lettered() == []


def test_a_pause_grows_and_is_ended() -> None:
    pause = ClusterPause()
    assert pause.again(0.0, "no topic")
    assert not pause.again(1.0, "no topic"), "an attempt that ran beside the first"
    assert pause.remaining(1.0) == FIRST_PROBE - 1
    now = FIRST_PROBE
    for _ in range(10):
        assert pause.again(now, "no topic")
        now = pause.until
    assert pause.again(now, "no topic")
    assert pause.remaining(now) == LONGEST_PROBE
    assert pause.end()
    assert not pause.end()
    assert pause.remaining(now) == 0
    assert pause.again(now, "again")
    assert pause.remaining(now) == FIRST_PROBE

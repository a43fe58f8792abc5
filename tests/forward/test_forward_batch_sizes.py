"""Batches become as small as the other side wants them, and larger again when it takes more."""

from collections.abc import Callable

import pytest
from forwardkit import LIMITS, FakeRing, Rig, ScriptedDestination, always
from hypothesis import given
from hypothesis import strategies as st

from auditsink.delivery.destination import Batch, Limits
from auditsink.delivery.outcome import Delivered, Outcome, TooLarge
from auditsink.forward.batching import BatchLimits
from auditsink.forward.reporting import DestinationState
from auditsink.forward.verdicts import LONE_REFUSALS

MOST = 800_000


def batch_limits(now: int = MOST) -> BatchLimits:
    """One that has come down to that."""
    one = BatchLimits(Limits(MOST, 1000, 1.0, 2))
    if now < MOST:
        one.too_large(2 * now)
    return one


@pytest.mark.parametrize(
    ("now", "refused", "then"),
    [
        (MOST, MOST, MOST // 2),
        (MOST, 600_001, 300_000),
        (400_000, MOST, 400_000),  # it was under way when another one was refused
        (400_000, 400_000, 200_000),
        (2, 2, 1),
        (1, 1, 1),
    ],
)
def test_a_refused_batch_halves_it(now: int, refused: int, then: int) -> None:
    one = batch_limits(now)
    one.too_large(refused)
    assert one.limits == Limits(then, 1000, 1.0, 2)


@pytest.mark.parametrize(
    ("now", "passed", "then"),
    [
        (MOST, MOST, MOST),
        (400_000, 400_000, 406_250),  # 1/32 of it, for two in flight
        (400_000, 200_001, 406_250),
        (400_000, 200_000, 400_000),  # half full: that says nothing
        (1, 1, 1563),  # 1/256 of what is configured
        (799_000, 799_000, MOST),
    ],
)
def test_a_full_batch_that_passes_raises_it_a_little(now: int, passed: int, then: int) -> None:
    one = batch_limits(now)
    one.passed(passed)
    assert one.limits.max_bytes == then


def test_what_was_taken_in_parts_twice_in_a_row_makes_batches_that_small_and_they_grow_slowly() -> None:
    one = batch_limits()
    one.divided(MOST, 200_000)
    assert one.limits.max_bytes == MOST, "it may have been an outage"
    one.divided(MOST, 190_000)
    assert one.limits.max_bytes == 190_000
    one.passed(190_000)
    assert one.limits.max_bytes == 190_000 + MOST // 4096 // 2


def test_a_batch_of_that_size_that_passes_at_once_takes_it_back() -> None:
    one = batch_limits()
    for _ in range(5):
        one.divided(MOST // 2, 1000)
        one.passed(1000)
        one.passed(MOST // 2)
    assert one.limits.max_bytes == MOST


@given(st.integers(MOST // 8, MOST), st.integers(1, 16))
def test_it_stays_near_the_real_limit_and_one_batch_in_sixteen_is_refused(limit: int, in_flight: int) -> None:
    one = BatchLimits(Limits(MOST, 1000, 1.0, in_flight))
    refused = 0
    for _ in range(150):
        for size in [one.limits.max_bytes] * in_flight:
            if size > limit:
                refused += 1
                one.too_large(size)
            else:
                one.passed(size)
        assert one.limits.max_bytes >= limit // 2
    on_the_way_down = 4 * in_flight
    assert refused <= on_the_way_down + 150 * in_flight // 16


def test_a_receiver_that_takes_everything_again_gets_what_is_configured_again() -> None:
    one = batch_limits(1)
    batches = 0
    while one.limits.max_bytes < MOST:
        one.passed(one.limits.max_bytes)
        batches += 1
    assert batches < 250


def limited(limit: int) -> Callable[[Batch], Outcome]:
    """Answers 413 to more than so many bytes."""

    def answer(batch: Batch) -> Outcome:
        return TooLarge("413") if sum(map(len, batch.events)) > limit else Delivered()

    return answer


async def test_what_one_cluster_taught_counts_for_all_and_few_requests_are_wasted() -> None:
    rings = [FakeRing(f"c{at}") for at in range(4)]
    for ring in rings:
        ring.fill(500)
    event = len(rings[0].records[0].events[0])
    limits = Limits(max_bytes=64 * event, max_events=1000, max_wait=0.0, in_flight=1)
    async with Rig(ScriptedDestination(limited(20 * event), limits), *rings) as rig:
        await rig.clock.advance(1)
        assert all(rig.destination.sequences(ring.cluster) == list(range(500)) for ring in rings)
        requests = rig.forwarder.statistics().requests
        assert requests["too_large"] * 10 < requests["delivered"]
        assert rig.dead_lettered() == []


async def test_a_proxy_that_calls_everything_too_large_is_a_misconfiguration() -> None:
    ring = FakeRing()
    ring.fill(1000)
    async with Rig(ScriptedDestination(always(TooLarge("413"))), ring) as rig:
        await rig.clock.advance(3600)
        assert len(rig.dead_lettered()) == LONE_REFUSALS
        assert rig.forwarder.state is DestinationState.MISCONFIGURED
        last_error = rig.forwarder.statistics().last_error
        assert last_error is not None
        assert "everything too large" in last_error.text
        rig.destination.answer = always(Delivered())
        await rig.clock.advance(300)
        assert set(rig.destination.sequences()) == set(range(LONE_REFUSALS, 1000))
        assert ring.cursor("siem").position == 1000


async def test_large_events_in_a_row_do_not_stop_the_trail() -> None:
    """Whoever may send requests to the apiserver may make them."""
    ring = FakeRing()
    for at in range(3 * LONE_REFUSALS):
        ring.put(b"x" * (LIMITS.max_bytes + at), quiet=True)
    ring.put(b"small")
    async with Rig(ScriptedDestination(limited(LIMITS.max_bytes)), ring) as rig:
        for _ in range(40):
            await rig.clock.advance(60)
        assert ring.cursor("siem").position == 3 * LONE_REFUSALS + 1
        assert rig.dead_lettered() == list(range(1, 3 * LONE_REFUSALS))

"""What a destination keeps in memory of what it has read."""

from forwardkit import FakeRing, inline

from auditsink.destinations.base import Limits
from auditsink.forward.lane import Lane
from auditsink.forward.supply import Supply


async def test_nothing_is_kept_of_what_was_taken_whole():
    ring = FakeRing()
    lane = Lane(ring, "siem", Limits(max_bytes=10_000, max_events=100, max_wait=0, in_flight=1))  # type: ignore[arg-type]
    supply = Supply(10_000, inline)
    ring.fill(10, per_record=5)
    claim = lane.take(await supply.read(lane), 0.0, flush=True)
    assert claim is not None
    assert claim.slot.stop == 10
    supply.let_go(lane)
    assert "0..0" in repr(supply)


async def test_what_is_left_of_a_record_is_kept_for_the_next_batch():
    ring = FakeRing()
    lane = Lane(ring, "siem", Limits(max_bytes=10_000, max_events=3, max_wait=0, in_flight=1))  # type: ignore[arg-type]
    supply = Supply(10_000, inline)
    ring.fill(10, per_record=10)
    lane.take(await supply.read(lane), 0.0, flush=True)
    supply.let_go(lane)
    assert "0..10" in repr(supply)

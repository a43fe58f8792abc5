"""What a destination keeps in memory of what it has read."""

from forwardkit import FakeRing, inline

from auditsink.delivery.destination import Limits
from auditsink.forward.batch_limits import BatchLimits
from auditsink.forward.prefetch import Prefetch
from auditsink.forward.subscription import Subscription
from auditsink.spool.types import Tally


async def test_nothing_is_kept_of_what_is_settled():
    ring = FakeRing()
    lane = Subscription(ring, "siem", BatchLimits(Limits(max_bytes=10_000, max_events=100, max_wait=0, in_flight=1)))  # type: ignore[arg-type]
    supply = Prefetch(10_000, inline)
    ring.fill(10, per_record=5)
    claim = lane.take(await supply.read(lane), 0.0, flush=True)
    assert claim is not None
    assert claim.slot.stop == 10
    lane.frontier.settle(claim.slot, Tally(10))
    lane.commit()
    supply.let_go(lane)
    assert "[]" in repr(supply)


async def test_parts_that_come_back_are_not_read_from_the_disk_again():
    ring = FakeRing(remembered=0)
    lane = Subscription(ring, "siem", BatchLimits(Limits(max_bytes=10_000, max_events=10, max_wait=0, in_flight=2)))  # type: ignore[arg-type]
    supply = Prefetch(10_000, inline)
    ring.fill(40, per_record=10)
    claims = []
    for _ in range(2):
        claims.append(lane.take(await supply.read(lane), 0.0, flush=True))
        supply.let_go(lane)
    loads = ring.loads
    for claim in claims:
        assert claim is not None
        lane.frontier.split(claim.slot, [claim.slot.start + 3, claim.slot.start + 4])
    taken = []
    for _ in range(6):
        part = lane.take(await supply.read(lane), 0.0, flush=True)
        assert part is not None
        taken.append((part.slot.start, part.slot.stop, len(part.batch.events)))
    assert taken == [(0, 3, 3), (3, 4, 1), (4, 10, 6), (10, 13, 3), (13, 14, 1), (14, 20, 6)]
    assert ring.loads == loads


async def test_what_is_left_of_a_record_is_kept_for_the_next_batch():
    ring = FakeRing()
    lane = Subscription(ring, "siem", BatchLimits(Limits(max_bytes=10_000, max_events=3, max_wait=0, in_flight=1)))  # type: ignore[arg-type]
    supply = Prefetch(10_000, inline)
    ring.fill(10, per_record=10)
    lane.take(await supply.read(lane), 0.0, flush=True)
    supply.let_go(lane)
    assert "('c1', 0, 10)" in repr(supply)

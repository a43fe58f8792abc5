"""What a destination keeps in memory of what it has read."""

from forwardkit import FakeRing, inline

from auditsink.delivery.destination import Limits
from auditsink.forward.batching import BatchLimits
from auditsink.forward.prefetch import Prefetch
from auditsink.forward.subscription import Subscription
from auditsink.spool.types import Tally


def subscribed(ring: FakeRing, *, max_events: int, in_flight: int) -> Subscription:
    limits = Limits(max_bytes=10_000, max_events=max_events, max_wait=0, in_flight=in_flight)
    return Subscription(ring, "siem", BatchLimits(limits))


async def test_nothing_is_kept_of_what_is_settled() -> None:
    ring = FakeRing()
    subscription = subscribed(ring, max_events=100, in_flight=1)
    prefetch = Prefetch(10_000, inline)
    ring.fill(10, per_record=5)
    lease = subscription.take(await prefetch.read(subscription), 0.0, {}, flush=True)
    assert lease is not None
    assert lease.slot.stop == 10
    subscription.frontier.settle(lease.slot, Tally(10))
    subscription.commit()
    prefetch.let_go(subscription)
    assert "[]" in repr(prefetch)


async def test_parts_that_come_back_are_not_read_from_the_disk_again() -> None:
    ring = FakeRing(remembered=0)
    subscription = subscribed(ring, max_events=10, in_flight=2)
    prefetch = Prefetch(10_000, inline)
    ring.fill(40, per_record=10)
    leases = []
    for _ in range(2):
        leases.append(subscription.take(await prefetch.read(subscription), 0.0, {}, flush=True))
        prefetch.let_go(subscription)
    loads = ring.loads
    for lease in leases:
        assert lease is not None
        subscription.frontier.split(lease.slot, [lease.slot.start + 3, lease.slot.start + 4])
    taken = []
    for _ in range(6):
        part = subscription.take(await prefetch.read(subscription), 0.0, {}, flush=True)
        assert part is not None
        taken.append((part.slot.start, part.slot.stop, len(part.batch.events)))
    assert taken == [(0, 3, 3), (3, 4, 1), (4, 10, 6), (10, 13, 3), (13, 14, 1), (14, 20, 6)]
    assert ring.loads == loads


async def test_what_is_left_of_a_record_is_kept_for_the_next_batch() -> None:
    ring = FakeRing()
    subscription = subscribed(ring, max_events=3, in_flight=1)
    prefetch = Prefetch(10_000, inline)
    ring.fill(10, per_record=10)
    subscription.take(await prefetch.read(subscription), 0.0, {}, flush=True)
    prefetch.let_go(subscription)
    assert "('c1', 0, 10)" in repr(prefetch)

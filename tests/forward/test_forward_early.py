"""Events that were delivered before their turn, and are given up before it comes: what arrived is not lost."""

import pytest
from forwardkit import FakeRing, Rig, ScriptedDestination, adds_up, inline

from auditsink.delivery.destination import Batch, Limits
from auditsink.delivery.outcome import Delivered, Outcome, Poison
from auditsink.forward import attempts
from auditsink.forward.batching import BatchLimits
from auditsink.forward.prefetch import Prefetch
from auditsink.forward.subscription import Lease, Lost, Subscription
from auditsink.forward.verdicts import LONE_REFUSALS
from auditsink.spool.types import Account, Tally


def subscribed(ring: FakeRing, max_events: int) -> Subscription:
    limits = Limits(max_bytes=10_000, max_events=max_events, max_wait=0, in_flight=2)
    return Subscription(ring, "siem", BatchLimits(limits))


async def take(subscription: Subscription) -> Lease | None:
    return subscription.take(await Prefetch(10_000, inline).read(subscription), 0.0, {}, flush=True)


async def first_of_ten() -> tuple[FakeRing, Subscription, Lease]:
    """Ten events; the first is in flight."""
    ring = FakeRing()
    subscription = subscribed(ring, max_events=1)
    ring.fill(10)
    lease = await take(subscription)
    assert lease is not None
    return ring, subscription, lease


def finished(subscription: Subscription, lease: Lease) -> Account:
    subscription.frontier.settle(lease.slot, Tally(1))
    subscription.commit()
    return subscription.account()


async def test_what_was_delivered_before_its_turn_is_never_counted_as_dropped() -> None:
    ring, subscription, lease = await first_of_ten()
    assert subscription.begin_early(6)
    subscription.end_early(6, taken=True)
    ring.lose(0, 10)
    told = [subscription.account().dropped]
    assert await take(subscription) is None
    told.append(subscription.account().dropped)
    account = finished(subscription, lease)
    assert [*told, account.dropped] == [8, 8, 8]
    assert (account.delivered, account.pending) == (2, 0)
    assert not ring.cursor("siem").early, "nothing of it is kept"


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("turn_came", [True, False])
async def test_what_is_given_up_while_it_is_tried_before_its_turn_is_counted_once_it_is_known(
    *, taken: bool, turn_came: bool
) -> None:
    ring, subscription, lease = await first_of_ten()
    assert subscription.begin_early(6)
    ring.lose(0, 10)
    assert subscription.account().dropped == 8
    if turn_came:
        assert await take(subscription) is None
        assert subscription.account().dropped == 8
    subscription.end_early(6, taken=taken)
    assert subscription.account().dropped == 9 - taken
    await take(subscription)
    account = finished(subscription, lease)
    assert (account.delivered, account.dropped, account.pending) == (1 + taken, 9 - taken, 0)
    assert not ring.cursor("siem").early


async def test_what_counts_as_dropped_is_not_tried_before_its_turn() -> None:
    ring, subscription, _ = await first_of_ten()
    ring.lose(0, 10)
    assert not subscription.begin_early(6)
    assert subscription.account().dropped == 9


async def test_a_part_that_comes_back_and_is_gone_is_lost_without_what_was_delivered_of_it() -> None:
    ring = FakeRing()
    subscription = subscribed(ring, max_events=5)
    ring.fill(5)
    lease = await take(subscription)
    assert lease is not None
    assert subscription.begin_early(3)
    subscription.end_early(3, taken=True)
    subscription.frontier.give_back(lease.slot)
    ring.lose(0, 5)
    assert await take(subscription) is None
    assert subscription.lost == Lost(0, 5, 4)
    subscription.commit()
    assert ring.cursor("siem").tally == Tally(delivered=1, dropped=4)


async def test_a_long_row_of_refused_events_is_gone_through_with_few_that_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "MOST_DONE", 2)
    ring, bad = FakeRing(), 8 * LONE_REFUSALS
    remembered: list[int] = []

    def answer(batch: Batch) -> Outcome:
        remembered.append(len(ring.cursor("siem").early))
        return Poison(None, "bad") if batch.sequences[0] < bad else Delivered()

    ring.fill(bad + 20)
    async with Rig(ScriptedDestination(answer), ring) as rig:
        await rig.clock.advance(3600)
        assert rig.dead_lettered() == list(range(bad))
        assert set(rig.destination.sequences()) == set(range(bad, bad + 20))
        assert ring.cursor("siem").position == bad + 20
        assert adds_up(ring)
    assert max(remembered) == 2

"""An event that makes its destination fail is set aside, and a destination that fails is waited for: whole runs."""

import random as random_module
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from forwardkit import LIMITS, FakeRing, Rig, ScriptedDestination, adds_up

from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause
from auditsink.forward.reporting import DestinationState
from auditsink.forward.retry import Backoff
from auditsink.forward.source import Everything
from auditsink.forward.trials import FAILURES
from auditsink.testing.clock import FakeClock


def fails_at(*bad: bytes, outcome: Outcome = Retry("HTTP 500")) -> Callable[[Batch], Outcome]:  # noqa: B008
    """A collector that fails whenever one of these events is in the request."""
    return lambda batch: outcome if set(bad) & set(batch.events) else Delivered()


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("place", [0, 3, 9, 13, 29])
async def test_one_event_that_makes_the_destination_fail_costs_itself(place: int, in_flight: int) -> None:
    one, other = FakeRing("c1"), FakeRing("c2")
    one.fill(30)
    other.fill(30)
    answer = fails_at(one.events[place])
    async with Rig(ScriptedDestination(answer, replace(LIMITS, in_flight=in_flight)), one, other) as rig:
        await rig.clock.advance(30)
        assert set(rig.destination.sequences("c2")) == set(range(30)), "others go on"
        await rig.clock.advance(300)
        assert rig.dead_lettered() == [place]
        assert set(rig.destination.sequences("c1")) == set(range(30)) - {place}
        assert rig.forwarder.state is DestinationState.IDLE
        assert adds_up(one)
        assert "HTTP 500" in next(iter(rig.dead_letters)).reason
        assert "other events of the cluster were taken" in next(iter(rig.dead_letters)).reason


async def test_alone_in_the_world_too_as_long_as_others_of_its_cluster_are_taken() -> None:
    ring = FakeRing()
    ring.fill(12)
    async with Rig(ScriptedDestination(fails_at(ring.events[4])), ring) as rig:
        await rig.clock.advance(600)
        assert rig.dead_lettered() == [4]
        assert sorted(set(rig.destination.sequences())) == [*range(4), *range(5, 12)]


async def test_an_event_that_is_the_only_one_there_ever_was_waits() -> None:
    ring = FakeRing()
    ring.fill(1)
    async with Rig(ScriptedDestination(fails_at(ring.events[0])), ring) as rig:
        await rig.clock.advance(3600)
        assert rig.dead_lettered() == []
        ring.fill(1)
        await rig.clock.advance(600)
        assert rig.dead_lettered() == [0]
        assert set(rig.destination.sequences()) == {1}


async def test_a_whole_cluster_that_fails_alone_makes_no_dead_letters() -> None:
    """Its tenant is in trouble over there, while all others are well."""
    sick, well = FakeRing("sick"), FakeRing("well")
    sick.fill(30)
    well.fill(30)
    destination = ScriptedDestination(lambda batch: Retry("HTTP 500") if batch.cluster == "sick" else Delivered())
    async with Rig(destination, sick, well) as rig:
        for _ in range(100):
            await rig.clock.advance(60)
            well.fill(3)
        await rig.clock.advance(60)
        assert destination.sequences("well")[-1] == 329
        assert rig.dead_lettered() == []
        destination.answer = fails_at()
        await rig.clock.advance(120)
        assert set(destination.sequences("sick")) == set(range(30))
        assert rig.dead_lettered() == []


@pytest.mark.parametrize("clusters", [1, 4])
@pytest.mark.parametrize(
    "outcome",
    [Retry("HTTP 500"), Retry("no connection", cause=RetryCause.ELSEWHERE), Retry("", None, RetryCause.THROTTLED)],
)
async def test_one_that_is_down_gets_no_more_requests_and_makes_no_dead_letters(outcome: Retry, clusters: int) -> None:
    rings = [FakeRing(f"c{number}") for number in range(clusters)]
    for ring in rings:
        ring.fill(40)
    destination = ScriptedDestination(lambda batch: outcome)
    async with Rig(destination, *rings) as rig:
        await rig.clock.advance(3600)
        backoff, now, wanted = Backoff(1.0, 60.0, lambda: 0.5), 0.0, 0
        while now <= 3600:
            now += backoff.next()
            wanted += 1
        assert len(destination.attempts) <= wanted
        destination.answer = fails_at()
        await rig.clock.advance(120)
        for ring in rings:
            assert set(destination.sequences(ring.cluster)) == set(range(40))
            assert adds_up(ring)
        assert rig.dead_lettered() == []


class Labelled(Everything):
    """Each cluster's events go out with its name as a label."""

    def labels(self, cluster: str) -> Mapping[str, str]:
        return {"team": cluster}


DOWN: list[Outcome] = [
    Retry("HTTP 500"),
    Retry("no connection", cause=RetryCause.ELSEWHERE),
    Retry("no answer", cause=RetryCause.TIMED_OUT),
    Retry("HTTP 503", None, RetryCause.THROTTLED),
    Misconfigured("HTTP 401"),
]


def down(turns: set[float], lost: int, clock: FakeClock, outcome: Outcome, _: Batch) -> Outcome:
    """Fails at the first `lost` moments at which anything is attempted; `turns` keeps them."""
    turns.add(clock.monotonic())
    return outcome if len(turns) <= lost else Delivered()


@pytest.mark.parametrize("outcome", DOWN, ids=["unknown", "elsewhere", "timed_out", "throttled", "misconfigured"])
@pytest.mark.parametrize("worked", [True, False])
@pytest.mark.parametrize("backlog", [1, 35])
@pytest.mark.parametrize("clusters", [1, 3])
async def test_one_that_was_down_and_comes_back_gets_each_event_once_and_in_order(
    outcome: Outcome, worked: bool, backlog: int, clusters: int
) -> None:
    """Whenever it comes back: before any of its first attempts, and some later ones."""
    for lost in (0, 1, 2, 3, 4, 6, 9, 14):
        rings = [FakeRing(f"c{number}") for number in range(clusters)]
        for ring in rings:
            ring.fill(12 if worked else 0)
        destination = ScriptedDestination()
        async with Rig(destination, *rings) as rig:
            turns: set[float] = set()

            destination.answer = partial(down, turns, lost, rig.clock, outcome)
            for ring in rings:
                ring.fill(backlog)
            while len(turns) <= lost or rig.forwarder.state is not DestinationState.IDLE:
                await rig.clock.advance(60)
            for ring in rings:
                assert destination.sequences(ring.cluster) == list(range(ring.durable)), lost
            assert rig.dead_lettered() == []


@pytest.mark.parametrize("worked", [True, False])
async def test_one_that_says_when_to_come_back_gets_at_most_one_event_twice_or_early(worked: bool) -> None:
    """What it asked for is kept, so a control is the only request after the wait; seldom."""
    told = []
    for lost in range(40):
        ring = FakeRing()
        ring.fill(12 if worked else 0)
        turns: set[float] = set()

        destination = ScriptedDestination()
        async with Rig(destination, ring) as rig:
            destination.answer = partial(down, turns, lost, rig.clock, Retry("HTTP 503", 2.0, RetryCause.THROTTLED))
            ring.fill(35)
            while len(turns) <= lost or rig.forwarder.state is not DestinationState.IDLE:
                await rig.clock.advance(60)
            found = destination.sequences()
            assert set(found) == set(range(ring.durable))
            early = sum(later < sooner for sooner, later in pairwise(found))
            told.append(len(found) - ring.durable + early)
    assert max(told) <= 2
    assert sum(map(bool, told)) <= 6, "a control is one of many attempts"


async def test_a_control_that_is_new_is_delivered_with_its_labels_and_not_sent_again() -> None:
    """Nothing of this cluster had been taken before, so the next event was asked for before its turn."""
    ring = FakeRing()
    ring.fill(30)
    bad = ring.events[0]
    asked: list[Batch] = []

    def answer(batch: Batch) -> Outcome:
        asked.append(batch)
        return Retry("HTTP 500") if bad in batch.events else Delivered()

    async with Rig(ScriptedDestination(answer), ring, routing=Labelled()) as rig:
        await rig.clock.advance(600)
        assert rig.dead_lettered() == [0]
        assert ring.cursor("siem").tally == (29, 0, 1, 0)
        assert {one.labels["team"] for one in asked} == {"c1"}
        assert {one.origin(one.sequences[0]) for one in asked if one.origin is not None} >= {"c1/1", "c1/2"}
        assert all(one.origin is not None for one in asked)
        later = rig.destination.sequences()[rig.destination.sequences().index(2) :]
        assert later == list(range(2, 30)), "what comes behind it is in order, and 1 is not in it"


@pytest.mark.parametrize("seed", range(12))
async def test_a_destination_that_comes_and_goes_makes_no_dead_letters(seed: int) -> None:
    chance = random_module.Random(seed)
    one, other = FakeRing("c1"), FakeRing("c2")
    one.fill(60)
    other.fill(60)
    up = [True]
    destination = ScriptedDestination(lambda batch: Delivered() if up[0] else Retry("HTTP 500"))
    async with Rig(destination, one, other, random=chance.random) as rig:
        for _ in range(300):
            up[0] = not up[0]
            await rig.clock.advance(chance.choice([0.01, 0.1, 1, 5, 30]) * chance.random())
            one.fill(chance.randrange(4))
        up[0] = True
        await rig.clock.advance(400)
        assert rig.dead_lettered() == []
        assert set(destination.sequences("c1")) == set(one.events)


@pytest.mark.parametrize("servers", [2, 3, 4, 5, 7])
async def test_servers_that_take_turns_and_one_of_which_fails_make_no_dead_letters(servers: int) -> None:
    ring = FakeRing()
    ring.fill(50)
    turn = [0]

    def answer(batch: Batch) -> Outcome:
        turn[0] += 1
        return Retry("HTTP 502") if turn[0] % servers == 0 else Delivered()

    async with Rig(ScriptedDestination(answer), ring) as rig:
        for _ in range(200):
            await rig.clock.advance(20)
            ring.fill(7)
        await rig.clock.advance(300)
        assert rig.dead_lettered() == []
        assert set(rig.destination.sequences()) == set(ring.events)


async def test_half_of_all_attempts_failing_at_random_makes_no_dead_letters() -> None:
    chance = random_module.Random(3)
    ring = FakeRing()
    destination = ScriptedDestination(lambda batch: Retry("HTTP 500") if chance.random() < 0.5 else Delivered())
    async with Rig(destination, ring, random=chance.random) as rig:
        for _ in range(300):
            ring.fill(chance.randrange(1, 12))
            await rig.clock.advance(10)
        await rig.clock.advance(600)
        assert rig.dead_lettered() == []
        assert set(destination.sequences()) == set(ring.events)


async def test_an_answer_that_comes_too_late_for_many_makes_requests_smaller_and_repeats_few() -> None:
    ring = FakeRing()
    ring.fill(100, per_record=100)
    limits = replace(LIMITS, max_bytes=100_000, max_events=100)
    late = Retry("no answer within 30 s", cause=RetryCause.TIMED_OUT)
    destination = ScriptedDestination(lambda batch: late if len(batch.events) > 25 else Delivered(), limits)
    async with Rig(destination, ring) as rig:
        await rig.clock.advance(120)
        assert destination.sequences() == list(range(100)), "in order"
        assert sum(len(batch.events) for batch in destination.attempts) <= 300
        assert rig.forwarder.statistics().repeated <= 200
        assert rig.forwarder.statistics().retries["timed_out"] == 3
        ring.fill(25, per_record=25)
        before = len(destination.attempts)
        await rig.clock.advance(10)
        assert len(destination.attempts) == before + 1, "what fits was learned"


async def test_a_quota_that_is_smaller_than_a_batch_makes_requests_smaller_after_some() -> None:
    ring = FakeRing()
    ring.fill(60, per_record=60)
    limits = replace(LIMITS, max_bytes=100_000, max_events=60)
    busy = Retry("HTTP 429", after=1.0, cause=RetryCause.THROTTLED)
    destination = ScriptedDestination(lambda batch: busy if len(batch.events) > 20 else Delivered(), limits)
    async with Rig(destination, ring) as rig:
        await rig.clock.advance(120)
        assert destination.sequences() == list(range(60))
        sizes = [len(batch.events) for batch in destination.attempts]
        assert sizes[:FAILURES] == [60] * FAILURES
        assert sizes.count(30) == 2
        assert rig.dead_lettered() == []


@pytest.mark.parametrize(
    "no",
    [Retry("HTTP 500"), Misconfigured("HTTP 403")],
    ids=["a reset or a 500", "a firewall's 403"],
)
async def test_a_limit_that_no_answer_names_is_learned_like_one_that_is_named(no: Outcome) -> None:
    """A body limit that resets the connection, a firewall that looks at no more than 8 kB."""
    ring = FakeRing()
    ring.fill(200, per_record=200)
    limits = replace(LIMITS, max_bytes=1000, max_events=50)
    destination = ScriptedDestination(lambda batch: no if len(batch.events) > 12 else Delivered(), limits)
    async with Rig(destination, ring) as rig:
        await rig.clock.advance(1000)
        assert destination.sequences() == list(range(200))
        assert rig.dead_lettered() == []
        ring.fill(60, per_record=60)
        before = len(destination.attempts)
        await rig.clock.advance(30)
        assert set(destination.sequences()) == set(range(260))
        assert all(len(batch.events) <= 12 for batch in destination.attempts[before:]), "what passes was learned"


async def test_outages_make_no_small_batches() -> None:
    ring, down = FakeRing(), [False]
    limits = replace(LIMITS, max_bytes=100_000, max_events=50)
    destination = ScriptedDestination(lambda _: Retry("HTTP 502") if down[0] else Delivered(), limits)
    async with Rig(destination, ring) as rig:
        for _ in range(6):
            down[0] = True
            ring.fill(50, per_record=50)
            await rig.clock.advance(100)
            down[0] = False
            await rig.clock.advance(100)
        ring.fill(50, per_record=50)
        await rig.clock.advance(10)
        assert len(destination.attempts[-1].events) == 50


async def test_many_bad_events_are_found_sooner_than_the_first() -> None:
    ring = FakeRing()
    ring.fill(200)
    bad = [ring.events[at] for at in range(5, 200, 10)]
    async with Rig(ScriptedDestination(fails_at(*bad)), ring) as rig:
        await rig.clock.advance(300)
        assert rig.dead_lettered() == list(range(5, 200, 10))
        assert set(rig.destination.sequences()) == set(range(200)) - set(range(5, 200, 10))


@pytest.mark.parametrize("place", [0, 4, 11])
async def test_a_firewall_that_refuses_what_is_in_one_event_costs_that_event(place: int) -> None:
    one, other = FakeRing("c1"), FakeRing("c2")
    one.fill(12)
    other.fill(12)
    answer = fails_at(one.events[place], outcome=Misconfigured("HTTP 403: check the credentials"))
    async with Rig(ScriptedDestination(answer), one, other) as rig:
        await rig.clock.advance(600)
        assert rig.dead_lettered() == [place]
        assert set(rig.destination.sequences("c1")) == set(range(12)) - {place}
        assert set(rig.destination.sequences("c2")) == set(range(12))
        assert rig.forwarder.state is DestinationState.IDLE


async def test_a_misconfigured_destination_is_asked_no_more_often_and_makes_no_dead_letters() -> None:
    ring = FakeRing()
    ring.fill(40)
    destination = ScriptedDestination(lambda batch: Misconfigured("HTTP 401"))
    async with Rig(destination, ring) as rig:
        await rig.clock.advance(3600)
        assert len(destination.attempts) <= 5 + 3600 / 300 + 3, "three of them have a control beside them"
        destination.answer = fails_at()
        await rig.clock.advance(301)
        assert set(destination.sequences()) == set(range(40))
        assert rig.dead_lettered() == []


async def test_a_misconfiguration_in_the_middle_of_hearings_condemns_nothing() -> None:
    ring = FakeRing()
    ring.fill(12)
    bad = ring.events[4]
    destination = ScriptedDestination(fails_at(bad))
    async with Rig(destination, ring) as rig:
        await rig.clock.advance(6)
        destination.answer = fails_at(*ring.events.values(), outcome=Misconfigured("HTTP 401"))
        await rig.clock.advance(3600)
        assert rig.dead_lettered() == []
        destination.answer = fails_at()
        await rig.clock.advance(400)
        assert set(destination.sequences()) == set(range(12))
        assert rig.dead_lettered() == []

"""Another try for dead letters: what travels together, what is delivered, what stays."""

import asyncio
from collections.abc import Callable

from forwardkit import ScriptedDestination
from hypothesis import given
from hypothesis import strategies as st
from leaping import Leaping

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Batch, Limits
from auditsink.delivery.outcome import Delivered, EventRejection, Misconfigured, Outcome, Poison, Retry, TooLarge
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.redelivery import TRIES, Report, batches, redeliver

LIMITS = Limits(max_bytes=100, max_events=3, max_wait=1.0, in_flight=1)


def dead(event: bytes, cluster: str = "c", sequence: int = 0, marks: int = 0) -> DeadLetter:
    batch = Batch(cluster, "", [event], [sequence], 10**18, Mark(marks))
    return DeadLetter.of("siem", batch, 0, "because", 2 * 10**18)


def run(
    dead_letters: list[DeadLetter], answer: Callable[[Batch], Outcome]
) -> tuple[Report, ScriptedDestination, Leaping]:
    clock, destination, report = Leaping(), ScriptedDestination(answer, LIMITS), Report()
    asyncio.run(redeliver(dead_letters, destination, clock=clock, report=report))
    return report, destination, clock


def test_dead_letters_travel_together_within_the_limits() -> None:
    report, destination, _ = run([dead(b"%d" % number, sequence=number) for number in range(7)], lambda _: Delivered())
    assert [list(batch.events) for batch in destination.attempts] == [[b"0", b"1", b"2"], [b"3", b"4", b"5"], [b"6"]]
    assert len(report.delivered) == 7
    assert (report.refused, report.stopped) == ([], None)


def test_clusters_and_unsplit_bodies_travel_alone() -> None:
    dead_letters = [
        dead(b"1"), dead(b"2"), dead(b"3", cluster="d"), dead(b"4", cluster="d", marks=Mark.UNSPLIT),
        dead(b"5", cluster="d", marks=Mark.UNSPLIT), dead(b"6" * 99), dead(b"7"), dead(b"8"),
    ]  # fmt: skip
    groups = [[one.content[:1] for one in group] for group in batches(dead_letters, LIMITS)]
    assert groups == [[b"1", b"2"], [b"3"], [b"4"], [b"5"], [b"6", b"7"], [b"8"]]


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=12, unique=True), st.sets(st.integers(0, 11)))
def test_what_is_poison_stays_and_everything_else_arrives(events: list[bytes], bad: set[int]) -> None:
    """Whatever the other side refuses without naming it, its neighbours get through."""
    dead_letters = [dead(event, sequence=number) for number, event in enumerate(events)]
    poison = {event for number, event in enumerate(events) if number in bad}

    def answer(batch: Batch) -> Outcome:
        return Poison(None, "bad") if poison & set(batch.events) else Delivered()

    report, _, clock = run(dead_letters, answer)
    assert {one.content for one, _ in report.refused} == poison
    assert {one.content for one in report.delivered} == set(events) - poison
    assert len(report.delivered) + len(report.refused) == len(dead_letters)
    assert clock.slept == []


def test_refusals_by_name_and_by_size_stay_with_their_reason() -> None:
    def answer(batch: Batch) -> Outcome:
        if len(batch.events) > 1:
            return TooLarge("413")
        return Delivered((EventRejection(0, "no"),)) if batch.events == [b"2"] else Delivered()

    report, _, _ = run([dead(b"1", sequence=1), dead(b"2", sequence=2), dead(b"3", sequence=3)], answer)
    assert [(one.content, why) for one, why in report.refused] == [(b"2", "no")]
    assert [one.content for one in report.delivered] == [b"1", b"3"]


def test_a_destination_that_is_away_is_given_up_after_a_few_tries() -> None:
    report, destination, clock = run([dead(b"1")], lambda _: Retry("down"))
    assert report.stopped == "down"
    assert len(destination.attempts) == TRIES
    assert clock.slept == [1.0, 2.0, 4.0]


def test_its_own_wish_is_honoured_within_reason() -> None:
    _, _, clock = run([dead(b"1")], lambda _: Retry("busy", after=3600.0))
    assert clock.slept == [30.0, 30.0, 30.0]


def test_a_misconfigured_destination_is_not_tried_again() -> None:
    report, destination, clock = run(
        [dead(b"1"), dead(b"2", cluster="d")],
        lambda batch: Misconfigured("token") if batch.cluster == "d" else Delivered(),
    )
    assert [one.content for one in report.delivered] == [b"1"]
    assert report.stopped == "token"
    assert (len(destination.attempts), clock.slept) == (2, [])

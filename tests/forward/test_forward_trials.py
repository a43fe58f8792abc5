"""A batch that makes its destination fail is told from a destination that fails: the table, and hearings by hand."""

import pytest

from auditsink.delivery.outcome import RetryCause
from auditsink.forward.trials import (
    FAILURES,
    HEARINGS,
    IN_A_ROW,
    LATER_HEARINGS,
    SPAN,
    THROTTLED_HEARINGS,
    THROTTLED_SPAN,
    Family,
    Step,
    Trial,
    Trials,
    next_step,
)

MANY, ONE = 7, 1
ELSEWHERE, TIMED_OUT, THROTTLED, UNKNOWN = (
    RetryCause.ELSEWHERE,
    RetryCause.TIMED_OUT,
    RetryCause.THROTTLED,
    RetryCause.UNKNOWN,
)


@pytest.mark.parametrize("well", [True, False])
@pytest.mark.parametrize("part", [True, False])
@pytest.mark.parametrize("failures", [1, FAILURES - 1, FAILURES, 100])
@pytest.mark.parametrize("size", [ONE, MANY])
def test_what_failed_elsewhere_is_never_the_batch(size: int, failures: int, part: bool, well: bool) -> None:
    assert next_step(ELSEWHERE, size, failures, part=part, well=well) is Step.AGAIN


@pytest.mark.parametrize(
    ("cause", "size", "failures", "part", "well", "step"),
    [
        (TIMED_OUT, MANY, 1, False, True, Step.HALVE),
        (TIMED_OUT, MANY, 1, False, False, Step.HALVE),
        (TIMED_OUT, MANY, 1, True, False, Step.HALVE),
        (TIMED_OUT, ONE, 1, False, True, Step.AGAIN),
        (TIMED_OUT, ONE, FAILURES, False, True, Step.HEAR),
        (TIMED_OUT, ONE, 1, True, False, Step.HEAR),
        (THROTTLED, MANY, FAILURES - 1, False, True, Step.AGAIN),
        (THROTTLED, MANY, FAILURES, False, True, Step.HALVE),
        (THROTTLED, MANY, FAILURES, False, False, Step.HALVE),
        (THROTTLED, MANY, 1, True, False, Step.HALVE),
        (THROTTLED, ONE, FAILURES - 1, False, True, Step.AGAIN),
        (THROTTLED, ONE, FAILURES, False, True, Step.HEAR),
        (UNKNOWN, MANY, 1, False, True, Step.AGAIN),
        (UNKNOWN, MANY, FAILURES - 1, False, True, Step.AGAIN),
        (UNKNOWN, MANY, FAILURES, False, True, Step.HALVE),
        (UNKNOWN, MANY, FAILURES, False, False, Step.FIRST_ALONE),
        (UNKNOWN, MANY, 1, True, True, Step.HALVE),
        (UNKNOWN, MANY, 1, True, False, Step.FIRST_ALONE),
        (UNKNOWN, ONE, FAILURES - 1, False, True, Step.AGAIN),
        (UNKNOWN, ONE, FAILURES, False, False, Step.HEAR),
        (UNKNOWN, ONE, 1, True, True, Step.HEAR),
        (None, MANY, 1, False, True, Step.FIRST_ALONE),
        (None, MANY, 2, False, True, Step.HALVE),
        (None, MANY, 2, False, False, Step.FIRST_ALONE),
        (None, MANY, 1, True, True, Step.HALVE),
        (None, ONE, 1, False, True, Step.HEAR),
        (None, ONE, 1, True, True, Step.HEAR),
    ],
)
def test_the_table(  # noqa: PLR0917 - as the table has them
    cause: RetryCause | None, size: int, failures: int, part: bool, well: bool, step: Step
) -> None:
    assert next_step(cause, size, failures, part=part, well=well) is step


def heard(trials: Trials, trial: Trial, now: float, cause: RetryCause = UNKNOWN) -> Step:
    """The event fails once more, and then as many others of its cluster are taken as are asked for."""
    assert trials.failed(trial, cause, "HTTP 500", ONE, now) is Step.HEAR
    assert trial.control or not trials.well
    while (step := trials.control_passed(trial, now)) is Step.HEAR:
        pass
    return step


def test_one_event_is_condemned_after_so_many_hearings_over_such_a_time() -> None:
    trials, trial = Trials(), Trial(Family(UNKNOWN))
    for number in range(HEARINGS - 1):
        assert heard(trials, trial, now=number * SPAN) is Step.AGAIN
    assert heard(trials, trial, now=HEARINGS * SPAN) is Step.CONDEMN


def test_hearings_that_are_over_too_soon_go_on() -> None:
    trials, trial = Trials(), Trial(Family(UNKNOWN))
    assert {heard(trials, trial, now=SPAN / 2) for _ in range(3 * HEARINGS)} == {Step.AGAIN}
    assert heard(trials, trial, now=2 * SPAN) is Step.CONDEMN


def test_every_other_hearing_wants_two_others_taken() -> None:
    trials, trial = Trials(), Trial(Family(UNKNOWN))
    asked = []
    for _ in range(4):
        trials.failed(trial, UNKNOWN, "", ONE, 0.0)
        count = 1
        while trials.control_passed(trial, 0.0) is Step.HEAR:
            count += 1
        asked.append(count)
    assert asked == [1, 2, 1, 2]


def test_whatever_else_fails_meanwhile_begins_the_hearings_anew() -> None:
    def another_batch(trials: Trials, _: Trial) -> None:
        trials.failed(Trial(), UNKNOWN, "", MANY, 0.0)

    def no_connection(trials: Trials, _: Trial) -> None:
        trials.failed(Trial(), ELSEWHERE, "", MANY, 0.0)

    def the_control(trials: Trials, trial: Trial) -> None:
        trials.control_failed(trial, UNKNOWN)

    for happens in (another_batch, no_connection, the_control):
        trials, trial = Trials(), Trial(Family(UNKNOWN))
        for number in range(HEARINGS - 1):
            heard(trials, trial, now=number * SPAN)
        happens(trials, trial)
        for number in range(HEARINGS - 1):
            assert heard(trials, trial, now=100 + number * SPAN) is Step.AGAIN, happens.__name__


def test_another_event_under_hearing_does_not_disturb() -> None:
    trials, one, other = Trials(), Trial(Family(UNKNOWN)), Trial(Family(UNKNOWN))
    for number in range(HEARINGS - 1):
        assert heard(trials, one, now=number * SPAN) is Step.AGAIN
        assert heard(trials, other, now=number * SPAN) is Step.AGAIN
    assert heard(trials, one, now=100.0) is Step.CONDEMN


def condemned() -> tuple[Trials, float]:
    """A destination of which one event was condemned just now."""
    trials, trial = Trials(), Trial(Family(UNKNOWN))
    while heard(trials, trial, now=10 * SPAN * trial.failures) is not Step.CONDEMN:
        pass
    return trials, 10 * SPAN * trial.failures


def later(trials: Trials, now: float) -> Step:
    trial = Trial(Family(UNKNOWN))
    return [heard(trials, trial, now) for _ in range(LATER_HEARINGS)][-1]


def test_after_one_was_condemned_the_next_ones_are_sooner() -> None:
    trials, now = condemned()
    assert later(trials, now) is Step.CONDEMN
    assert trials.failed(Trial(), UNKNOWN, "", MANY, now) is Step.HALVE, "it is what is in it, once more"
    assert later(trials, now) is Step.CONDEMN


def test_a_failure_that_is_no_events_fault_ends_that() -> None:
    trials, now = condemned()
    trials.failed(Trial(), ELSEWHERE, "", MANY, now)
    assert later(trials, now) is Step.AGAIN


def test_a_batch_that_failed_and_whose_parts_are_all_taken_ends_that() -> None:
    trials, now = condemned()
    batch = Trial()
    trials.failed(batch, UNKNOWN, "", MANY, now)
    for _ in range(2):
        trials.delivered(Trial(batch.family))
    assert later(trials, now) is Step.AGAIN


def test_one_event_that_is_called_too_much_needs_more() -> None:
    trials, trial = Trials(), Trial(Family(THROTTLED))
    step = THROTTLED_SPAN / THROTTLED_HEARINGS
    for number in range(THROTTLED_HEARINGS):
        assert heard(trials, trial, number * step, THROTTLED) is Step.AGAIN
    assert heard(trials, trial, THROTTLED_SPAN + 1, THROTTLED) is Step.CONDEMN


def test_controls_are_rare_until_the_destination_is_known_to_work_and_then_follow_each_failure() -> None:
    trials, trial = Trials(), Trial(Family(UNKNOWN))
    wanted = []
    for number in range(1, 40):
        trials.failed(trial, UNKNOWN, "", ONE, float(number))
        if trial.control:
            wanted.append(number)
            trials.control_failed(trial, UNKNOWN)
    assert wanted == [1, 5, 13, 29]
    trials.delivered()
    for _ in range(IN_A_ROW - 1):
        trials.failed(trial, UNKNOWN, "", ONE, 60.0)
        assert trial.control
    trials.failed(trial, UNKNOWN, "", ONE, 60.0)
    assert not trial.control


def test_what_many_events_failed_at_wants_no_control() -> None:
    trials, trial = Trials(), Trial()
    for cause in (*RetryCause, None):
        trials.failed(trial, cause, "", MANY, 0.0)
        assert not trial.control


def test_a_destination_is_well_until_so_many_failed_in_a_row() -> None:
    trials = Trials()
    for _ in range(IN_A_ROW - 1):
        trials.failed(Trial(), UNKNOWN, "", MANY, 0.0)
    well = [trials.well]
    trials.failed(Trial(), UNKNOWN, "", MANY, 0.0)
    well.append(trials.well)
    trials.delivered()
    well.append(trials.well)
    assert well == [True, False, True]

"""When a destination may be tried again, and how many attempts run at once."""

from auditsink.forward.retry import FIRST_PROBE, LONGEST_PROBE, Backoff, DestinationPause, InFlightLimit, Trouble


def pause() -> DestinationPause:
    return DestinationPause(Backoff(1.0, 60.0, lambda: 1.0))


def test_failures_in_a_row_wait_longer_and_success_ends_them() -> None:
    one = pause()
    one.retry(one.failures, now=0)
    assert (one.remaining(0), one.trouble) == (1, Trouble.RETRYING)
    one.retry(one.failures, now=1)
    assert one.remaining(1) == 2
    assert one.answered(one.failures, now=3)
    assert (one.remaining(3), one.trouble) == (0, None)
    assert not one.answered(one.failures, now=3)
    one.retry(one.failures, now=4)
    assert one.remaining(4) == 1


def test_attempts_of_the_same_bad_moment_count_once() -> None:
    one = pause()
    one.retry(0, now=5)
    one.retry(0, now=5.1)
    assert one.remaining(5) == 1
    one.retry(0, now=5.2, after=10)
    assert one.remaining(5.2) == 10
    assert one.failures == 1


def test_good_news_older_than_the_bad_does_not_end_the_wait() -> None:
    one = pause()
    one.retry(0, now=5, after=29)
    assert not one.answered(0, now=6)
    assert (one.trouble, one.remaining(6)) == (Trouble.RETRYING, 29)


def test_a_misconfigured_destination_is_probed_ever_more_slowly() -> None:
    one, now, waits = pause(), 0.0, []
    for _ in range(6):
        one.misconfigured(one.failures, now)
        waits.append(one.remaining(now))
        now += waits[-1]
    assert waits == [30, 60, 120, 240, 300, 300]
    assert (waits[0], waits[-1], one.trouble) == (FIRST_PROBE, LONGEST_PROBE, Trouble.MISCONFIGURED)
    one.answered(one.failures, now)
    one.misconfigured(one.failures, now)
    assert one.remaining(now) == FIRST_PROBE


def test_attempts_that_all_find_it_misconfigured_are_one_finding() -> None:
    one = pause()
    assert one.misconfigured(0, now=1)
    assert not one.misconfigured(0, now=1)
    assert one.remaining(1) == FIRST_PROBE
    one.misconfigured(1, now=31)
    assert one.remaining(31) == 2 * FIRST_PROBE


def test_a_retry_that_turns_out_to_be_a_misconfiguration_is_one() -> None:
    one = pause()
    one.retry(0, now=0)
    one.misconfigured(0, now=0)
    assert (one.trouble, one.remaining(0)) == (Trouble.MISCONFIGURED, FIRST_PROBE)


def test_slowing_down_is_no_trouble() -> None:
    one = pause()
    assert not one.answered(0, now=0, slow_down=4)
    assert (one.remaining(0), one.remaining(4), one.trouble) == (4, 0, None)


def test_the_in_flight_limit_keeps_the_order_of_tickets() -> None:
    in_flight = InFlightLimit(1, pause())
    first, second = in_flight.ticket(), in_flight.ticket()
    assert (in_flight.wait(second, 0), in_flight.wait(first, 0)) == (None, 0)
    in_flight.enter(first)
    assert in_flight.wait(second, 0) is None
    in_flight.rejoin(first)
    assert (in_flight.wait(second, 0), in_flight.wait(first, 0)) == (None, 0)
    in_flight.leave(first)
    assert (in_flight.wait(second, 0), in_flight.running) == (0, 0)


def test_the_in_flight_limit_lets_so_many_through_and_one_in_trouble() -> None:
    one = pause()
    in_flight = InFlightLimit(2, one)
    tickets = [in_flight.ticket() for _ in range(3)]
    in_flight.enter(tickets[0])
    assert in_flight.wait(tickets[1], 0) == 0
    one.retry(0, now=0)
    assert in_flight.wait(tickets[1], 0) is None
    in_flight.rejoin(tickets[0])
    assert in_flight.wait(tickets[0], 0) == 1

"""Turns, and those who wait for a time."""

from auditsink.forward.rota import Rota


def drain(rota: Rota[str], now: float) -> list[str]:
    return list(iter(lambda: rota.next(now), None))


def test_the_ready_go_round_in_order():
    rota: Rota[str] = Rota()
    assert all(rota.put(lane, 0, 0) for lane in "abc")
    assert rota.next(0) == "a"
    rota.put("a", 0, 0)
    assert drain(rota, 0) == ["b", "c", "a"]


def test_a_lane_is_queued_once():
    rota: Rota[str] = Rota()
    rota.put("a", 5, 0)
    assert not rota.put("a", 5, 0)
    assert rota.put("a", 0, 0)
    assert not rota.put("a", 0, 0)
    assert drain(rota, 10) == ["a"]


def test_those_that_wait_come_when_they_are_due_in_the_order_of_their_times():
    rota: Rota[str] = Rota()
    assert rota.put("late", 7, 0)
    assert rota.put("soon", 3, 0)
    assert not rota.put("middle", 5, 0)
    assert rota.next_due == 3
    assert rota.next(2) is None
    assert drain(rota, 5) == ["soon", "middle"]
    assert (rota.next_due, drain(rota, 7), rota.next_due) == (7, ["late"], None)


def test_one_that_became_ready_early_does_not_come_again_at_its_time():
    rota: Rota[str] = Rota()
    rota.put("a", 3, 0)
    rota.put("a", 0, 0)
    assert drain(rota, 1) == ["a"]
    assert rota.next_due is None
    rota.put("a", 9, 1)
    assert rota.next(3) is None
    assert drain(rota, 9) == ["a"]

"""Equal lines: which are written, and what is said of the others."""

from auditsink.observe.logs import MOST_KEYS, WINDOW_SECONDS, LogGroups, Repeats


def test_the_first_of_equal_lines_is_written_and_the_others_are_counted() -> None:
    groups: LogGroups[str] = LogGroups()
    before = groups.next_due
    assert [groups.admit("a", f"line {number}", 0.0) for number in range(73)] == [True] + [False] * 72
    assert groups.due(WINDOW_SECONDS - 0.1) == []
    assert (before, groups.next_due) == (None, WINDOW_SECONDS)
    assert groups.due(WINDOW_SECONDS) == [Repeats("line 72", 72)]


def test_a_flood_is_a_line_a_window_and_its_end_is_noticed() -> None:
    groups: LogGroups[str] = LogGroups()
    written, said = 0, 0
    for tick in range(1000):
        now = tick / 10
        said += len(groups.due(now))
        written += groups.admit("flood", "flood", now)
    assert (written, said) == (1, 9)
    later = 1000.0
    assert groups.due(later) == [Repeats("flood", 100)]
    assert groups.due(later + WINDOW_SECONDS) == []
    assert groups.next_due is None
    assert groups.admit("flood", "flood", later + WINDOW_SECONDS)


def test_different_lines_do_not_hold_each_other_back() -> None:
    groups: LogGroups[str] = LogGroups()
    assert all(groups.admit(key, key, 0.0) for key in ("a", "b", "c"))
    assert not groups.admit("b", "b", 1.0)
    assert groups.due(WINDOW_SECONDS) == [Repeats("b", 1)]


def test_what_is_held_back_comes_out_at_the_end() -> None:
    groups: LogGroups[str] = LogGroups()
    for _ in range(2):
        groups.admit("a", "a", 0.0)
    assert groups.due(0.1, ending=True) == [Repeats("a", 1)]


def test_memory_is_bounded_whatever_is_said() -> None:
    groups: LogGroups[str] = LogGroups()
    said = 0
    for number in range(3 * MOST_KEYS):
        said += sum(held.number for held in groups.due(0.0))
        for _ in range(2):
            groups.admit(number, "x", 0.0)
    said += sum(held.number for held in groups.due(0.0, ending=True))
    assert said == 3 * MOST_KEYS
    assert "of 0" not in repr(groups)
    for _ in range(3):
        groups.due(0.0)
    assert len(groups._windows) <= MOST_KEYS


def test_the_first_few_may_go_out_at_once() -> None:
    groups: LogGroups[str] = LogGroups()
    assert [groups.admit("a", "a", 0.0, at_once=3) for _ in range(5)] == [True, True, True, False, False]
    assert groups.due(WINDOW_SECONDS) == [Repeats("a", 2)]
    assert not groups.admit("a", "a", WINDOW_SECONDS, at_once=3), "the flood goes on"
    assert groups.due(2 * WINDOW_SECONDS) == [Repeats("a", 1)]
    assert groups.due(3 * WINDOW_SECONDS) == []
    assert groups.admit("a", "a", 3 * WINDOW_SECONDS, at_once=3)

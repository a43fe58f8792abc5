"""What `status --watch` shows, and how it is drawn on a terminal."""

from typing import Any

import pytest

from auditsink.cli import terminal
from auditsink.cli.status import LastSeen, board
from auditsink.cli.terminal import Style, StyledLine, cut, draw, styled

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202edenwo\u200b\r\n"


def destination(name: str, delivered: int, pending: int, **changes: Any) -> dict[str, Any]:
    numbers = {"accepted": delivered + pending, "filtered": 0, "dead_lettered": 0, "dropped": 0, "lag_seconds": 1.0}
    rest = {"type": "splunk", "state": "idle", "last_error": None, "last_error_at": None, "next_attempt_seconds": 0.0}
    return {"name": name, "delivered": delivered, "pending": pending, **numbers, **rest, "advice": [], **changes}


def cluster(name: str, events: int, pending: int) -> dict[str, Any]:
    spool = {"next_sequence": events, "bytes": 2**20, "oldest_seconds": 5.0}
    return {"cluster": name, "spool": spool, "destinations": [{"name": "siem", "pending": pending}]}


def document(events: int, destinations: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    spool = {
        "bytes": 2**20, "max_bytes": 2**21, "wanted_bytes": 2**19, "segments": 1, "oldest_seconds": 60.0,
        "first_sequence": events - 100, "next_sequence": events, "damaged_bytes": 0,
    }  # fmt: skip
    return {
        "version": "1", "state": "running", "verdict": {"level": "look", "text": "There is something"}, "reasons": [],
        "accepted_events": events, "duplicate_batches": 0, "rejected_requests": {}, "spool": spool,
        "destinations": destinations, "clusters": [cluster("prod", events, 50)], **changes,
    }  # fmt: skip


def text(*seen: LastSeen, width: int = 100, height: int = 50) -> str:
    return "\n".join(line.text for line in board(seen, width, height))


def test_rates_are_taken_over_what_was_seen() -> None:
    before = LastSeen(10.0, document(1000, [destination("siem", 900, 100)]))
    shown = text(before, LastSeen(20.0, document(3000, [destination("siem", 905, 95)])))
    assert "receive  200/s events, 3,000 in all" in shown
    assert "1 siem         splunk  idle   0.5/s        905       95" in shown
    assert "prod     200/s     3,000  1 MiB    5.0s       50" in shown


def test_a_first_look_and_a_sink_that_was_started_anew_have_no_rate_below_zero() -> None:
    first, fewer = document(1000, [destination("siem", 9, 1)]), document(10, [destination("siem", 1, 1)])
    assert "receive  - events" in text(LastSeen(1.0, first))
    assert "receive  0/s events" in text(LastSeen(1.0, first), LastSeen(2.0, fewer))


def test_the_bar_shows_what_is_held_and_where_each_destination_is() -> None:
    several = [destination("all", 100, 0), destination("none", 0, 100), destination("half", 50, 50)]
    (bar,) = [line for line in text(LastSeen(1.0, document(1000, several)), width=60).splitlines() if "ring" in line]
    assert bar == "ring     [2#########3########1....................] 50%"


def test_destinations_at_the_same_place_stand_beside_each_other() -> None:
    several = [destination(name, 100, 0) for name in "abcd"]
    (bar,) = [line for line in text(LastSeen(1.0, document(1000, several)), width=60).splitlines() if "ring" in line]
    assert "#1234..." in bar


def test_trouble_is_told_in_words() -> None:
    bad = destination(
        "siem",
        0,
        1,
        state="misconfigured",
        level="bad",
        last_error="HTTP 403",
        last_error_at="T",
        next_attempt_seconds=9.0,
        advice=["Mend."],
    )
    lines = board([LastSeen(1.0, document(1000, [bad], reasons=["spool: no room"]))], 100, 50)
    assert StyledLine("1 siem, T: HTTP 403; next try in 9.0s") in lines
    assert StyledLine("  Mend.", Style.FAINT) in lines
    assert StyledLine("not ready: spool: no room", Style.BAD) in lines
    assert next(line.style for line in lines if "misconfigured" in line.text) is Style.BAD


@pytest.mark.parametrize("height", [3, 8, 12, 20])
def test_it_fits_the_terminal_with_a_thousand_clusters(height: int) -> None:
    many = [cluster(f"c{number}", 1, number) for number in range(1000)]
    lines = board([LastSeen(1.0, document(1000, [destination("siem", 1, 1)], clusters=many))], 100, height)
    assert len(lines) <= height
    if height == 20:
        assert any(line.text.startswith("c999") for line in lines)
        assert lines[-1].text == f"... and {1000 - (height - 8 - 3):,} more"


def test_nothing_hostile_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = destination(HOSTILE, 1, 1, last_error=HOSTILE, advice=[HOSTILE], type=HOSTILE, state=HOSTILE)
    seen = LastSeen(1.0, document(1000, [bad], version=HOSTILE, reasons=[HOSTILE], clusters=[cluster(HOSTILE, 1, 1)]))
    for line in board([seen], 100, 50):
        assert line.text.isprintable(), line


def test_lines_are_cut_to_the_terminal_and_drawn_over_the_old_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    draw([StyledLine("abcdef", Style.BAD), StyledLine("ab")], 4)
    assert capsys.readouterr().out == "\x1b[H\x1b[31mabcd\x1b[0m\x1b[K\nab\x1b[K\x1b[J"
    assert (cut("日本語", 5), cut("abc", 3), cut("", 0)) == ("日本", "abc", "")
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", Style.BAD) == "x"


def test_the_screen_is_given_back_whatever_happens(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), terminal.screen():
        raise KeyboardInterrupt
    assert capsys.readouterr().out.endswith("\x1b[?25h\x1b[?1049l")


def test_a_long_verdict_is_told_whole_and_how_long_is_left() -> None:
    why = "Full in about 25 min at this rate, because siem has taken nothing for 41 min; 1 more to look at"
    told = {"level": "bad", "text": why, "until_loss_seconds": 1500, "commands": ["auditsink status"]}
    one = destination("siem", 1, 1, level="look")
    lines = board([LastSeen(1.0, document(1000, [one], verdict=told))], 60, 50)
    head = lines[: lines.index(StyledLine("  events are lost in about 25m 0s if nothing changes", Style.BAD))]
    assert " ".join(line.text.strip() for line in head).endswith(why)
    assert {line.style for line in head} == {Style.BAD}
    assert next(line.style for line in lines if line.text.startswith("1 siem")) is Style.LOOK

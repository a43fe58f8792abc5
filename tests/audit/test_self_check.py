"""The check at the start of a sink finds a splitter that is wrong in any of its parts."""

import re
from typing import Any

import pytest

from auditsink.audit import eventlist, list_frame, scan
from auditsink.audit.eventlist import Split


def test_what_the_tests_run_on_splits_rightly() -> None:
    assert eventlist.interpreter_fault() is None


def _raises(*_: object) -> Any:
    raise RuntimeError


BROKEN: dict[str, tuple[object, str, object]] = {
    "quotes": (scan, "_without_escapes", lambda text: text),
    "white space": (scan, "_SPACE", re.compile(b"")),
    "literals": (scan, "_LITERAL", re.compile(rb'[^ \t\r\n"{},:]+')),
    "frames": (list_frame, "encloses", _raises),
    "UTF-8": (eventlist, "is_utf8", lambda _: True),
    "everything": (eventlist, "split", lambda body: Split([body], eventlist.Mark.UNSPLIT)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_part_that_is_wrong_is_told_in_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, what, instead = BROKEN[name]
    monkeypatch.setattr(where, what, instead)
    said = eventlist.interpreter_fault()
    assert said is not None
    assert "splits an EventList wrongly" in said
    assert "\n" not in said

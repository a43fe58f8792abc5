"""Any well-formed frame takes the fast way, and the fast way never says anything but what the scanner says."""

import corpus
import pytest
from mutants import EVENTS, mutants

from auditsink.audit import eventlist, list_frame
from auditsink.audit.eventlist import Mark, NotAnEventListError, Split
from auditsink.testing.framings import FRAMINGS, NAMES

EVENT = EVENTS[0]
MUTANTS = 20_000


def scanned(body: bytes) -> Split | None:
    """What the scanner makes of a body; None for what is no EventList."""
    try:
        return eventlist.split_slow(body)
    except NotAnEventListError:
        return None


@pytest.mark.parametrize("name", FRAMINGS)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_well_formed_frame_takes_the_fast_way(name: str, count: int) -> None:
    body = FRAMINGS[name](EVENTS[:count])
    fast = eventlist.split_fast(body)
    assert fast is not None
    assert fast == eventlist.split_slow(body)
    assert len(fast.events) == count


@pytest.mark.parametrize("name", FRAMINGS)
def test_recorded_events_come_out_of_any_frame_as_they_went_in(name: str) -> None:
    for recorded in corpus.bodies("hostile-patches", "batch50-request-h2tls"):
        body = FRAMINGS[name](recorded.events)
        split = eventlist.split_fast(body) or eventlist.split_slow(body)
        assert split == eventlist.split_slow(body)
        if name not in ("pretty-printed", "written by Python"):
            assert split.events == recorded.events


def test_no_mutant_is_split_otherwise_than_the_scanner_splits_it() -> None:
    fast = unlike = 0
    for body in mutants(20261128, MUTANTS):
        split = eventlist.split_fast(body)
        if split is not None:
            fast += 1
            unlike += split.events != []
            assert split == scanned(body), body
    assert MUTANTS // 10 < unlike < fast < MUTANTS, "neither is every mutant refused nor is none"


def before(text: bytes) -> bytes:
    """A list of one event with this in front of its items."""
    return b"{" + NAMES + b',%b"items":[%b]}' % (text, EVENT)


def behind(text: bytes) -> bytes:
    """The same behind them."""
    return b"{" + NAMES + b',"items":[%b]%b' % (EVENT, text)


ODD = {
    "a second list before": before(b'"items":[],'),
    "no list before": before(b'"items":null,'),
    "an escaped second list before": before(b'"it\\u0065ms":[],'),
    "a second list behind": behind(b',"items":[{}]}'),
    "an escaped second list behind": behind(b',"it\\u0065ms":[{}]}'),
    "an escaped key": before(b'"\\u006betadata":{},'),
    "an escaped kind": b'{"kin\\u0064":"EventList","apiVersion":"audit.k8s.io/v1","items":[{}]}',
    "an escaped value": b'{"kind":"Event\\u004cist","apiVersion":"audit.k8s.io/v1","items":[{}]}',
    "two kinds": before(b'"kind":"EventList",'),
    "two versions, the second behind": behind(b',"apiVersion":"audit.k8s.io/v1"}'),
    "a nested member": before(b'"metadata":{"annotations":{}},'),
    "a list beside the list": before(b'"x":[],'),
    "a list behind the list": behind(b',"x":[]}'),
    "no UTF-8 in a key": before(b'"\xff":1,'),
    "a key beyond ASCII": before('"é":1,'.encode()),
    "a byte order mark": b"\xef\xbb\xbf" + behind(b"}"),
    "bytes behind": behind(b"}{}"),
    "a NUL behind": behind(b"}\0"),
    "a vertical tab behind": behind(b"}\v"),
    "bytes between items": b"{" + NAMES + b',"items":[{}x,{}]}',
    "two commas": b"{" + NAMES + b',"items":[{},,{}]}',
    "a comma too many": b"{" + NAMES + b',"items":[{},]}',
    "no comma": b"{" + NAMES + b',"items":[{}{}]}',
    "a member without a comma": behind(b'"x":1}'),
    "cut short": behind(b""),
    "a comment": before(b"/* x */"),
    "much white space before": b" " * 5000 + behind(b"}"),
    "much white space behind": behind(b"}" + b" " * 5000),
    "much white space between": b"{" + NAMES + b',"items":[{},' + b"\n" * 5000 + b"{}]}",
    "nesting in an event": b"{" + NAMES + b', "items":[' + b"[" * 20000 + b"]" * 20000 + b"]}",
    "a lone surrogate in an event": b"{" + NAMES + b', "items":["\\ud800"]}',
    "another kind": b'{"kind":"PodList","apiVersion":"audit.k8s.io/v1","items":[{}]}',
    "another version": b'{"kind":"EventList","apiVersion":"audit.k8s.io/v2","items":[{}]}',
    "no kind, two versions": b'{"apiVersion":"audit.k8s.io/v1","apiVersion":"EventList","items":[{}]}',
    "a kind that is no text": b'{"kind":1,"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{}]}',
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_left_to_the_scanner(name: str) -> None:
    body = ODD[name]
    assert eventlist.split_fast(body) is None
    split = scanned(body)
    if split is not None and Mark.UNSPLIT not in split.marks:
        assert all(event in (EVENT, b"{}") or len(event) == 40000 or b"ud800" in event for event in split.events)


def test_a_byte_of_an_event_that_is_not_utf8_marks_the_request() -> None:
    body = b"{" + NAMES + b', "items":[{"a":"\xff"}, {}]}'
    assert eventlist.split_fast(body) == eventlist.split_slow(body) == Split([b'{"a":"\xff"}', b"{}"], Mark.NOT_UTF8)


def test_as_many_members_as_fit_around_the_items_are_counted_alike_by_both_ways() -> None:
    crowd = b'"":0,' * ((list_frame.MOST_AROUND - 100) // 5)
    body = before(crowd)[:-1] + b"," + crowd[:-1] + b"}"
    assert eventlist.split_fast(body) == eventlist.split_slow(body) == Split([EVENT], Mark(0))


@pytest.mark.parametrize("piece", [b'"a" ', b'"a":{', b'"a":"', b'{"a":1,', b" ", b'"":0,', b"0", b'"a":{"":0,'])
def test_hostile_beginnings_are_told_at_once(piece: bytes) -> None:
    """Each is read once, whatever it is; a beginning that is longer than any is not read to its end."""
    body = b"{" + piece * (32 * 2**20 // len(piece)) + NAMES + b',"items":[{}]}'
    assert list_frame.opened(body) is None

"""The scanner finds the items of whatever opens as an EventList, in bounded time, and never guesses."""

import json

import corpus
import pytest
from eventlists import FRAME, Made, canonical, free, hostile, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.audit import scan

MIB = 2**20


def items(body: bytes) -> list[bytes] | None:
    """The items found, as bytes."""
    ranges = scan.event_list(body).items
    return None if ranges is None else [body[start:stop] for start, stop in ranges]


def test_reads_kind_version_and_ranges() -> None:
    body = FRAME + b'{"a":1}, "b" ,[2]\n]}\n'
    ranges = [(len(FRAME) + start, len(FRAME) + stop) for start, stop in ((0, 7), (9, 12), (14, 17))]
    assert scan.event_list(body) == scan.Found("EventList", "audit.k8s.io/v1", ranges)


@given(free())
@settings(max_examples=50)
def test_finds_every_event_whatever_the_order_of_keys_and_the_white_space(made: Made) -> None:
    found = scan.event_list(made.body)
    assert (found.kind, found.api_version) == ("EventList", "audit.k8s.io/v1")
    assert items(made.body) == made.events


@given(free(hostile | texts()))
@settings(max_examples=50)
def test_finds_hostile_events_byte_for_byte(made: Made) -> None:
    assert items(made.body) == made.events


@pytest.mark.parametrize("body", corpus.hostile_bodies(), ids=lambda body: body.name)
def test_hostile_bodies_are_split_or_left_whole(body: corpus.Body) -> None:
    found = items(body.data)
    assert (found or [body.data]) == body.events


def test_recorded_batches_are_split_as_json_splits_them() -> None:
    seen = 0
    for body in corpus.bodies("hostile-patches", "batch50-request-h2tls"):
        assert items(body.data) == body.events
        seen += len(body.events)
    assert seen == 30 + 758


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}',
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}',
        b'{"items":[ ],"apiVersion":"audit.k8s.io/v1","kind":"EventList"}',
        b'{"kind":"EventList","api\\u0056ersion":"audit.k8s.io/v1","it\\u0065ms":[]}',
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[],"Items":[ ],"x":{"y":[1]},"z":"[1]"}',
    ],
)
def test_no_items_is_an_empty_list(body: bytes) -> None:
    assert scan.event_list(body) == scan.Found("EventList", "audit.k8s.io/v1", [])


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"{",
        b'{"a',
        b'{"a\\',
        b'{"a":1}',
        b'{"a":1}]',
        b'{"a":1},]}',
        b",]}",
        b'{"a":1}{"b":2}]}',
        b"[}]}",
        b'{"a":1}}}',
        b"1]}garbage",
        b"1]}{}",
        b'1],"items":[2]}',
        b'1],"items":null}',
        b'],"it\\u0065ms":[2]}',
        b"1:2]}",
        b'1],"x"}',
        b"1],}",
        b"1],x:1}",
    ],
)
def test_what_cannot_be_split_keeps_the_name_it_opened_with(rest: bytes) -> None:
    assert scan.event_list(FRAME + rest) == scan.Found("EventList", "audit.k8s.io/v1", None)


@pytest.mark.parametrize("rest", [b"", b',"metadata":{}', b',"x":[ ]'])
@pytest.mark.parametrize("name", [b"Items", b"ITEMS", b"events", b"\\items", b"\xff"])
def test_an_array_that_may_hold_the_events_is_not_passed_over(name: bytes, rest: bytes) -> None:
    start = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","%b":[{"a":1}]' % name
    assert scan.event_list(start + rest + b"}") == scan.Found("EventList", "audit.k8s.io/v1", None)
    assert scan.event_list(start + b',"items":[1]}').items == [(len(start) + 10, len(start) + 11)]


@pytest.mark.parametrize("value", [b'"text"', b"17", b"{}", b'{"0":{}}', b"true", b"nulls"])
def test_items_that_are_no_list_are_not_split(value: bytes) -> None:
    assert scan.event_list(FRAME[:-1] + value + b"}").items is None


@pytest.mark.parametrize(
    "body", [b"", b" ", b"[]", b"null", b'"kind"', b"}", b"\xff", b'{"kind"', b'{"kind":', b"{kind:1}"]
)
def test_what_is_no_object_has_no_name(body: bytes) -> None:
    assert scan.event_list(body) == scan.Found("", "", None)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"1", ""),
        (b"null", ""),
        (b'"\xff"', ""),
        (b'"\\ud800"', ""),
        (b'"' + b"x" * 300 + b'"', ""),
        (b'"\\u0041"', "A"),
    ],
)
def test_a_kind_that_is_no_short_text_is_no_kind(value: bytes, kind: str) -> None:
    assert scan.event_list(b'{"kind":' + value + b"}").kind == kind


def test_the_first_kind_counts() -> None:
    assert scan.event_list(b'{"kind":"EventList","kind":"Other"}').kind == "EventList"


@given(st.binary() | st.text(alphabet='{}[]",:\\ a1').map(str.encode))
def test_arbitrary_bytes_never_raise(body: bytes) -> None:
    scan.event_list(body)
    scan.event_list(FRAME + body)


@given(canonical(), st.data())
def test_one_broken_byte_loses_nothing_silently(made: Made, data: st.DataObject) -> None:
    """Whatever a byte is replaced by: either the split still covers every byte, or there is none."""
    place = data.draw(st.integers(len(FRAME), len(made.body) - 1))
    body = made.body[:place] + bytes([data.draw(st.integers(0, 255))]) + made.body[place + 1 :]
    found = scan.event_list(body)
    if found.items:
        gaps = [body[stop:start] for (_, stop), (start, _) in zip(found.items, found.items[1:], strict=False)]
        assert body[: found.items[0][0]].strip() == FRAME
        assert all(gap.strip() == b"," for gap in gaps)
        tail = body[found.items[-1][1] :]
        assert tail.strip()[:1] == b"]"
        if tail.split() != [b"]}"]:  # more keys than kube-apiserver writes: then it must be JSON to the end
            json.loads(b'{"items":[' + tail)


@pytest.mark.parametrize("offset", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize(
    "piece", [b'{"a":"%s"}', b'{"a":"\\%s"}', b'{"%s":[{}]}', b'"%s\\""', b'{"b":"%s\\\\","c":[]}']
)
def test_strings_across_the_window_of_a_match(piece: bytes, offset: int) -> None:
    item = piece.replace(b"%s", b"x" * (2**16 + offset - piece.index(b"%s")))
    assert items(FRAME + item + b"," + item + b"]}") == [item, item]


HOSTILE = {
    "nesting": (b"[" * MIB + b"]" * MIB + b"]}", 1),
    "nesting never closed": (b'{"a":[' * MIB, None),
    "nesting closed by the wrong bracket": (b"[{" * MIB + b"]}" * MIB + b"]}", None),
    "brackets in pairs": (b"[" + b"[]" * MIB + b"]]}", 1),
    "brackets, commas, numbers": (b"[" + b"[0]," * MIB + b"0]]}", 1),
    "a nest of short strings": (b'{"":[' * MIB + b"]}" * MIB + b"]}", 1),
    "quotes": (b"[" + b'"' * 4 * MIB + b"]]}", 1),
    "a quote too many": (b"[" + b'"' * (4 * MIB + 1) + b"]]}", None),
    "backslashes in a string": (b'{"' + b"\\" * 4 * MIB + b'":1}]}', 1),
    "escaped quotes": (b'{"' + b'\\"' * 2 * MIB, None),
    "digits": (b"1" * 4 * MIB + b"]}", 1),
    "keys": (b"]" + b',"a":1' * MIB + b"}", None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mebibytes_are_split_like_any_others(name: str) -> None:
    """Each would exhaust a parser, or keep one busy that looks at a byte again for each level it lies in."""
    rest, count = HOSTILE[name]
    found = scan.event_list(FRAME + rest)
    assert found.kind == "EventList"
    assert (None if found.items is None else len(found.items)) == count


@pytest.mark.parametrize("rest", [b"1," * 2**13 + b"1]}", b"{}," * 2**13 + b"{}]}"])
def test_more_items_than_any_batch_holds_end_the_walk(rest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MOST_ITEMS", 2**12)
    assert scan.event_list(FRAME + rest).items is None


def plainly(item: bytes) -> int | None:
    """Where the value that opens with a bracket ends, told byte by byte; None when it does not."""
    waiting: list[int] = []
    place, in_string = 0, False
    while place < len(item):
        byte = item[place : place + 1]
        if in_string:
            place += byte == b"\\"
            in_string = byte != b'"'
        elif byte == b'"':
            in_string = True
        elif byte in (b"[", b"{"):
            waiting.append(b"]}"[byte == b"{"])
        elif byte in (b"]", b"}"):
            if waiting.pop() != byte[0]:
                return None
            if not waiting:
                return place + 1
        place += 1
    return None


_pieces = st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b"[]", b"{}", b'""', b'"]\\""', b",", b"0", b"\xff"])


@given(st.lists(_pieces, max_size=60), st.sampled_from([b"[", b"{"]), st.integers(1, 70), st.integers(2, 70))
@settings(max_examples=500)
def test_a_value_ends_where_a_plain_walk_ends_it(pieces: list[bytes], opens: bytes, first: int, most: int) -> None:
    """Whatever the windows are: brackets, strings and escapes fall on their edges."""
    item = opens + b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_FIRST_WINDOW", first)
        patch.setattr(scan, "_WINDOW", most)
        end = plainly(item)
        closed = item if end is None else item[:end]
        assert items(FRAME + closed + b"]}") == (None if end is None else [closed])


@given(st.recursive(st.just(b'"]"'), lambda some: st.lists(some, max_size=4).map(lambda m: b"[" + b",".join(m) + b"]")))
def test_nested_values_of_any_form_stand_beside_each_other(value: bytes) -> None:
    assert items(FRAME + value + b"," + value + b"]}") == [value, value]


OBJECTS = [
    b'{"level":"Metadata","user":{"username":"u"},"a":[1,{"b":"]}"}],"n":-1.5e3,"z":null}',
    b'{ "level" : "Metadata",\n\t"user": {"username": "u"} ,"s":"\\"\\\\" }',
    b'{"":1, "a b":"","c":{}}\r\n',
]
CHANGES = [
    b"",
    b" ",
    b'"a":1,',
    b', "level":2',
    b"\\u0061",
    b"{",
    b"}",
    b",",
    b'"',
    b":",
    b"\xff",
    b"\n",
    b"\0",
    b"[]",
    b"1",
]


@given(st.sampled_from(OBJECTS), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3), st.sampled_from(CHANGES))))
@settings(max_examples=1000)
def test_plain_members_are_what_the_walk_finds(value: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    for place, cut, piece in changes[:3]:
        value = value[:place] + piece + value[place + cut :]
    plain = scan.plain_members(value)
    if plain is not None:
        assert [(b'"%b"' % key.encode(), key, bytes(member)) for key, member in plain.items()] == scan.members(value)


@pytest.mark.parametrize("value", OBJECTS)
def test_members_among_white_space_are_plain(value: bytes) -> None:
    assert scan.plain_members(value) is not None


@pytest.mark.parametrize(
    "value",
    [b'{"a":1,"a":1}', b'{ "a":1, "b":2, "a":3 }', b'{"\\u0061":1}', b'{"\xff":1}', b"[]", b"1", b'{"a":1}x', b""],
)
def test_what_a_parser_would_hide_is_not_plain(value: bytes) -> None:
    assert scan.plain_members(value) is None

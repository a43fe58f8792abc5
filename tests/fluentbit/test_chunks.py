"""fluent-bit's chunk files: one that 4.0.5 wrote, others put together, and damaged ones."""

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from auditsink.audit.eventlist import split
from auditsink.fluentbit.leftovers import ChunkError, chunk_bodies

RECORDED = Path(__file__).parents[1] / "data" / "fluentbit" / "http.0-4.0.5.flb"
"""Written by fluent-bit 4.0.5 with today's extension's configuration, its HEC away, then killed: three EventLists."""


def chunk(*entries: Any, tag: bytes = b"audit", kind: int = 0, length: int | None = None, old: bool = False) -> bytes:
    content = b"".join(map(msgpack.packb, entries))
    metadata = tag if old else b"\xf1\x77" + bytes([kind, 0]) + tag
    size = 0 if old else len(content) if length is None else length
    head = b"\xc1\x00" + bytes(8) + size.to_bytes(4) + bytes(8) + len(metadata).to_bytes(2)
    return head + metadata + content + bytes(64)


def eventlist(*items: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": list(items), **more}


def events_of(data: bytes, added: dict[str, str] | None = None) -> list[dict[str, Any]]:
    return [json.loads(event) for body in chunk_bodies(data, added or {}) for event in split(body).events]


def test_a_recorded_chunk_gives_the_events_that_were_posted() -> None:
    found = events_of(RECORDED.read_bytes(), {"region": "eu-1", "stage": "prod"})

    assert found == [
        event
        for number in (1, 2, 3)
        for event in (
            {
                "kind": "Event", "auditID": f"a{number}", "n": 9007199254740993, "x": None,
                "stageTimestamp": "2026-11-28T16:00:00.000000Z",
            },
            {"kind": "Event", "auditID": f"b{number}"},
        )
    ]  # fmt: skip


def test_what_a_filter_added_goes_into_each_event_if_it_would_be_lost() -> None:
    data = chunk([[0, {}], eventlist({"a": 1}, {"stage": "Panic"}, region="eu-1", stage="prod")])

    assert events_of(data, {"region": "eu-1"}) == [{"a": 1, "stage": "prod"}, {"stage": "Panic"}]


def test_chunks_of_old_versions_have_no_length_and_end_in_zeros() -> None:
    data = chunk([1.5, eventlist({"a": 1})], [2.5, eventlist({"b": 2})], old=True)

    assert events_of(data) == [{"a": 1}, {"b": 2}]


def test_a_single_event_is_a_list_of_one() -> None:
    assert events_of(chunk([[0, {}], {"kind": "Event", "a": 1}])) == [{"kind": "Event", "a": 1}]


def test_what_is_no_text_becomes_text() -> None:
    packed = msgpack.packb([[0, {}], eventlist({"name": "@@"})]).replace(b"@@", b"\xff\xfe")
    data = chunk()[:-64] + packed
    data = data[:10] + len(packed).to_bytes(4) + data[14:]

    assert events_of(data) == [{"name": "\ufffd\ufffd"}]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is no chunk"),
        (b"\xc1\x00short", "is no chunk"),
        (b"PK" + bytes(100), "is no chunk"),
        (chunk(kind=1), "holds metrics"),
        (chunk([[0, {}], {"log": "x"}]), "is no EventList"),
        (chunk([[0, {}], [1]]), "is no EventList"),
        (chunk({"a": 1}), "is no record"),
        (chunk([[0, {}], eventlist()], length=10_000), "is cut"),
    ],
)
def test_what_cannot_be_delivered_is_told(data: bytes, expected: str) -> None:
    with pytest.raises(ChunkError, match=expected):
        list(chunk_bodies(data, {}))


def test_what_stands_before_the_damage_is_read() -> None:
    data = chunk([[0, {}], eventlist({"a": 1})])[:-64] + b"\xc1\xc1\xc1"
    data = data[:10] + (int.from_bytes(data[10:14]) + 3).to_bytes(4) + data[14:]
    found = chunk_bodies(data, {})

    assert split(next(found)).events == [b'{"a":1}']
    with pytest.raises(ChunkError, match="is damaged"):
        next(found)


def test_nesting_without_end_is_told_and_no_crash() -> None:
    data = chunk()[:-64] + b"\x91" * 200_000
    data = data[:10] + (200_000).to_bytes(4) + data[14:]

    with pytest.raises(ChunkError):
        list(chunk_bodies(data, {}))

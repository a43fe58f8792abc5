"""The recorded batches of `tests/data`, and batches that a hostile user of the apiserver's API can cause.

The splitting here is Python's own `json`, on purpose: what the sink splits is compared with something it did not do.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data"

EVENTS = {
    "batch-default-mixed-http": 1919,
    "batch50-request-h2tls": 758,
    "batch100-metadata-mtls-h2": 1402,
    "blocking-rr-h1tls": 2038,
    "big-untruncated-http": 692,
    "hostile-patches": 30,
}
"""Every archive and how many events it holds, counted when it was recorded."""

HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
TAIL = b"]}\n"


class Body(NamedTuple):
    """One request body and the events that a sink must make of it, each exactly as its bytes stand in the body."""

    name: str
    data: bytes
    events: list[bytes]


def archive(name: str) -> Path:
    """The archive's file."""
    return DATA / f"{name}.tar.gz"


def bodies(*names: str) -> Iterator[Body]:
    """The bodies of the named archives (all of them by default) in the order of recording."""
    for name in names or EVENTS:
        with tarfile.open(archive(name)) as members:
            for member in members:
                if member.name.endswith(".body.json"):
                    stream = members.extractfile(member)
                    assert stream is not None
                    data = stream.read()
                    yield Body(member.name, data, list(cut(data.decode())))


def events(*names: str) -> list[bytes]:
    """All events of the named archives (all of them by default)."""
    return [event for body in bodies(*names) for event in body.events]


def digest(event: bytes) -> str:
    """What events are compared by."""
    return hashlib.sha256(event).hexdigest()


def digests(several: list[bytes]) -> list[str]:
    """The digest of each, sorted: equal for equal multisets."""
    return sorted(map(digest, several))


def cut(text: str) -> Iterator[bytes]:
    """The raw bytes of each of `items`, found by the standard library's decoder."""
    decoder = json.JSONDecoder()
    place = text.index('"items":[') + len('"items":[')
    while text[place] != "]":
        _, end = decoder.raw_decode(text, place)
        yield text[place:end].encode()
        place = end + 1 if text[end] == "," else end


def event_list(several: list[bytes]) -> bytes:
    """A body as kube-apiserver writes it."""
    return HEAD + b",".join(several) + TAIL


def event(audit_id: str, request_object: bytes = b"{}") -> bytes:
    """An event whose `requestObject` is any bytes."""
    head = f'{{"level":"Request","auditID":"{audit_id}","stage":"ResponseComplete","requestURI":"/api/v1/namespaces"'
    middle = ',"verb":"patch","user":{"username":"mallory"},"stageTimestamp":"2026-11-22T10:00:00.000000Z"'
    return f'{head}{middle},"requestObject":'.encode() + request_object + b"}"


def plain_body(audit_id: str, count: int = 3, padding: int = 0) -> Body:
    """A harmless body of `count` distinct events, each with `padding` more bytes."""
    several = [event(f"{audit_id}-{number}", b'{"pad":"' + b"x" * padding + b'"}') for number in range(count)]
    return Body(audit_id, event_list(several), several)


_HOSTILE_OBJECTS = {
    "lone-surrogate": rb'{"name":"\ud800","other":"\udfff\ud800"}',
    "invalid-utf8": b'{"name":"\xff\xfe\x80 \xc3\x28 \xed\xa0\x80 \xf8\x88\x80\x80\x80"}',
    "nested-objects": b'{"a":' * 9_900 + b"1" + b"}" * 9_900,
    "nested-arrays": b"[" * 9_900 + b"]" * 9_900,
    "long-integer": b'{"replicas":' + b"7" * 5_000 + b"}",
    "huge-exponent": b'{"a":1e400,"b":-1e400,"c":1e-400}',
    "duplicate-keys": b'{"a":1,"a":2,"a":{"a":3,"a":4}}',
    "scalar-object": b'"just text with ] and } and \\" in it"',
    "null-object": b"null",
    "escaped-controls": rb'{"name":"\u0000\u0007\r\n\u2028"}',
    "closing-brackets": rb'{"name":"\"]}]}","]}":"\\"}',
    "long-text": b'{"name":"' + b"y" * 300_000 + b'"}',
}


def hostile_bodies() -> list[Body]:
    """What no sink may refuse or lose: each body opens as an EventList, and its neighbours' events are harmless.

    A body whose `events` is just the body itself cannot be split by anybody; it has to arrive whole.
    """
    found = []
    for name, request_object in _HOSTILE_OBJECTS.items():
        several = [event(f"before-{name}"), event(name, request_object), event(f"after-{name}")]
        found.append(Body(name, event_list(several), several))
    together = [event(f"together-{name}", bad) for name, bad in _HOSTILE_OBJECTS.items()]
    found.append(Body("together", event_list(together), together))
    odd = [b"17", b'"text"', b"true", b"[1,2]", event("beside-scalars")]
    found.append(Body("scalar-items", event_list(odd), odd))
    return found + [Body(name, data, [data]) for name, data in _unsplittable().items()]


def _unsplittable() -> dict[str, bytes]:
    """Bodies that are broken outside of any event: kept whole, as one event each."""
    broken = event_list([event("cut-1"), event("cut-2")])
    return {
        "truncated-list": broken[:-40],
        "trailing-garbage": event_list([event("garbage-1")]) + b"}]garbage",
        "items-is-text": HEAD[:-1] + b'"no list"}\n',
    }

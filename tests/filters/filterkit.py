"""What the tests of filters share: a filter from a line of YAML, and a batch of events."""

import json
from collections.abc import Sequence
from typing import Any

from auditsink import load
from auditsink.audit.eventlist import Mark
from auditsink.config import DestinationSection
from auditsink.delivery.destination import Batch
from auditsink.delivery.filter import EventFilter, Filtered
from auditsink.filters.build import build

PLAIN = Mark(0)


def configured(text: str) -> DestinationSection:
    """A destination with this `filter`, in YAML's flow style."""
    config = load.parse(f"destinations: [{{name: siem, type: stdout, filter: {text}}}]".encode(), "f", {})
    return config.destinations[0]


def sieve(text: str) -> EventFilter:
    """The filter."""
    found = build(configured(text))
    assert found is not None
    return found


def batch(*events: bytes, marks: Mark = PLAIN) -> Batch:
    """Events with the sequences 100, 101, ..."""
    return Batch("c1", "", list(events), range(100, 100 + len(events)), 0, marks)


def sifted(text: str, *events: bytes, marks: Mark = PLAIN) -> Filtered:
    """What the filter makes of the events."""
    return sieve(text)(batch(*events, marks=marks))


def left(text: str, event: bytes) -> bytes | None:
    """What it makes of one event that it can read."""
    found = sifted(text, event)
    assert not found.unreadable
    return found.batch.events[0] if found.batch.events else None


def event(**fields: Any) -> bytes:
    """An event as kube-apiserver writes one: its fields in its order, those given over harmless ones."""
    whole = {
        "level": "RequestResponse",
        "auditID": "a1",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/ns1/pods/p1",
        "verb": "get",
        "user": {"username": "jane", "groups": ["devs", "system:authenticated"]},
        "objectRef": {"resource": "pods", "namespace": "ns1", "name": "p1", "apiVersion": "v1"},
        **fields,
    }
    kept = {key: value for key, value in whole.items() if value is not None}
    bodies = {key: kept.pop(key) for key in ("requestObject", "responseObject") if isinstance(kept.get(key), bytes)}
    text = json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()
    raw = b"".join(b',"%b":%b' % (key.encode(), body) for key, body in bodies.items())
    return text[:-1] + raw + b',"stageTimestamp":"2026-11-22T10:00:00.000000Z"}'


def reference(resource: str, group: str = "", **more: str) -> dict[str, str]:
    """An `objectRef`."""
    return {"resource": resource, "apiVersion": "v1", **({"apiGroup": group} if group else {}), **more}


def sequences(found: Filtered) -> Sequence[int]:
    """Of what is to be delivered."""
    return list(found.batch.sequences)

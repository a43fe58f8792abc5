"""Events and batches for the destinations' tests."""

import json
from collections.abc import Sequence

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Batch

RECEIVED_NS = 1_700_000_000_123_456_789
RECEIVED = b"1700000000.123456"
STAGE_TIME = "2026-11-22T21:13:38.661308Z"
STAGE = b"1795382018.661308"


def event(
    number: int = 0, *, request: bytes = b"{}", stage: str = STAGE_TIME, annotations: dict[str, str] | None = None
) -> bytes:
    """An event with its keys in the order in which kube-apiserver writes them; `request` is any bytes."""
    head = f'{{"level":"Request","auditID":"id-{number}","stage":"ResponseComplete","requestURI":"/api","verb":"patch"'
    tail = f',"requestReceivedTimestamp":"2026-11-22T21:13:38.659272Z","stageTimestamp":"{stage}"'
    if annotations is not None:
        tail += ',"annotations":' + json.dumps(annotations, separators=(",", ":"))
    return f'{head},"user":{{"username":"jane"}},"requestObject":'.encode() + request + f"{tail}}}".encode()


HOSTILE = {
    "invalid-utf8": event(request=b'{"name":"\xff\xfe\x80 \xc3\x28 \xed\xa0\x80"}'),
    "lone-surrogate": event(request=rb'{"name":"\ud800","other":"\udfff\ud800"}'),
    "nested-objects": event(request=b'{"a":' * 9_900 + b"1" + b"}" * 9_900),
    "nested-arrays": event(request=b"[" * 9_900 + b"]" * 9_900),
    "long-integer": event(request=b'{"replicas":' + b"7" * 5_000 + b"}"),
    "huge-exponent": event(request=b'{"a":1e400,"b":-1e400}'),
    "raw-newlines": event(request=b'{\n  "a": 1,\r\n  "b": [\n2]\n}'),
    "duplicate-keys": event(request=b'{"a":1,"a":2}'),
    "brackets-in-text": event(request=rb'{"name":"\"]}]}","]}":"\\"}'),
}
"""What a user of the apiserver's API can put into an event, by what is wrong with it."""


def batch(events: Sequence[bytes], *, cluster: str = "prod", marks: Mark | None = None, first: int = 100) -> Batch:
    """Those events as a batch, with sequences from `first` on."""
    return Batch(cluster, "", events, range(first, first + len(events)), RECEIVED_NS, marks or Mark(0))

"""EventLists in every frame that is known, changed here and there: for what must agree about them."""

import random
from collections.abc import Iterator

from auditsink.testing.framings import FRAMINGS

EVENTS = [
    b'{"level":"Metadata","auditID":"a","user":{"username":"u","groups":["g"]},"requestObject":{"items":[1]}}',
    b'{"kind":"EventList","items":["],\\"items\\":["],"x":"\\\\"}',
    b'{"annotations":{"a":"\xc3\xa9]}"}}',
    b"{}",
]
_PIECES = [
    b'"items":[],', b',"items":[]', b'],"items":[', b'"items":null,', b'"it\\u0065ms":[],', b'],"x":[',
    b'"kind":"EventList",', b',"kind":"Event"', b'"apiVersion":"v1",', b',"apiVersion":"audit.k8s.io/v1"',
    b'"metadata":{},', b',"x":{"y":{}}', b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\r\n", b"\t", b"\n",
    b"1", b"01", b"-", b"null", b"{}", b'""', b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\x00", b"\x0b", b"\xc2\xa0",
    b"\\u0069", b'{"a":1}', b"]}", b"]}\n", b"/**/",
    b" " * 5000, b"[" * 1500 + b"]" * 1500, b'"' + b"k" * 5000 + b'":1,',
]  # fmt: skip


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """Lists with one to three places changed: mostly around the items, where a frame is read."""
    chance = random.Random(seed)
    framings = list(FRAMINGS.values())
    for _ in range(count):
        body = chance.choice(framings)(chance.sample(EVENTS, chance.randrange(len(EVENTS) + 1)))
        for _ in range(chance.choice((1, 1, 2, 3))):
            body = _mutated(chance, body)
        yield body


def _mutated(chance: random.Random, body: bytes) -> bytes:
    marks = [place for place, byte in enumerate(body) if byte in b'{}[],:"']
    start = (
        chance.choice(marks) + chance.randrange(2)
        if marks and chance.random() < 0.7
        else chance.randrange(len(body) + 1)
    )
    stop = min(len(body), start + chance.choice((1, 1, 2, 5, chance.randrange(1, 60))))
    cut = body[start:stop]
    piece = chance.choice((b"", cut + cut, bytes([chance.randrange(256)]), *[chance.choice(_PIECES)] * 3))
    kept = cut if chance.random() < 0.6 else b""
    return body[:start] + piece + kept + body[stop:]

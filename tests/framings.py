"""EventLists in the frames that producers, proxies and people write, and mutants of them."""

import json
import random
from collections.abc import Callable, Iterator, Sequence

NAMES = b'"kind":"EventList","apiVersion":"audit.k8s.io/v1"'

Framing = Callable[[Sequence[bytes]], bytes]


def _framed(before: bytes, behind: bytes, between: bytes = b",") -> Framing:
    return lambda events: before + between.join(events) + behind


def _written_again(**style: object) -> Framing:
    def write(events: Sequence[bytes]) -> bytes:
        items = [json.loads(event) for event in events]
        whole = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}
        return json.dumps(whole, **style).encode()  # type: ignore[arg-type]  # the options of json.dumps

    return write


FRAMINGS: dict[str, Framing] = {
    "apiserver": _framed(b"{" + NAMES + b',"metadata":{},"items":[', b"]}\n"),
    "no line break": _framed(b"{" + NAMES + b',"metadata":{},"items":[', b"]}"),
    "CRLF at the end": _framed(b"{" + NAMES + b',"metadata":{},"items":[', b"]}\r\n"),
    "no metadata": _framed(b"{" + NAMES + b',"items":[', b"]}\n"),
    "v1beta1": _framed(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1beta1","metadata":{},"items":[', b"]}\n"),
    "metadata with fields": _framed(
        b"{" + NAMES + b',"metadata":{"selfLink":"/x","resourceVersion":"17","remainingItemCount":3},"items":[', b"]}\n"
    ),
    "items first": _framed(b'{"items":[', b"]," + NAMES + b',"metadata":{}}\n'),
    "items between": _framed(
        b'{"kind":"EventList","items":[', b'],"apiVersion":"audit.k8s.io/v1","n":-1.5e3,"b":null}'
    ),
    "a space after a colon": _framed(
        b'{"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": [', b"]}", b", "
    ),
    "one a line": _framed(b"{" + NAMES + b',"metadata":{},"items":[\n', b"\n]}\n", b",\n"),
    "tabs and CRLF": _framed(
        b'\r\n\t{\t"kind"\t:\t"EventList"\r\n,"metadata" : { "a" : true , "b":"" } ,\t"apiVersion":\r\n'
        b'"audit.k8s.io/v1",\r\n"items"\t:\t[\t\r\n',
        b'\r\n]\t, "x":"" }\r\n\r\n',
        b" ,\r\n\t",
    ),
    "pretty-printed": _written_again(indent=2),
    "written by Python": _written_again(),
}
"""From events to a list of them. The two last write the events themselves in another way."""

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

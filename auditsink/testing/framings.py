"""EventLists in the frames that producers, proxies and people write around the same events. Pure."""

import json
from collections.abc import Callable, Sequence

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

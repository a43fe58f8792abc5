"""An EventList as kube-apiserver posts it, cut into the bytes of its events. Pure: bytes in, bytes out.

Nothing here turns an event into Python objects: what an apiserver wrote is what a destination gets. The content of
an event is chosen by whoever calls the apiserver's API (a `patch` body travels raw in `requestObject`), so nothing
inside an event may make its list be refused: that would let one caller erase the events of all the others.
Three ways, each for what the one before cannot take:

1. msgspec finds the items without looking into them (over 1 GB/s). It keeps the last of two `items` and steps over
   keys it does not know, so its result counts only when the events and the frame around them add up to every byte of
   the body: by their lengths in kube-apiserver's own frame, as `list_frame` proves it in any other that is well formed.
2. `scan` walks brackets and strings without recursion (nesting that exhausts msgspec, odd scalars, odd frames).
3. What even that cannot split is one event: the whole body, marked `Mark.UNSPLIT`.

Whether the interpreter does all that rightly is tried at each start: `interpreter_fault`.
"""

import base64
import codecs
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag
from itertools import filterfalse
from typing import NamedTuple

import msgspec

from auditsink.audit import list_frame, scan
from auditsink.audit.list_frame import API_VERSIONS

EXPECTED = (
    'expected a JSON object with "kind":"EventList" and "apiVersion":"audit.k8s.io/v1" '
    "(what kube-apiserver posts to an audit webhook)"
)


class Mark(IntFlag):
    """What is out of the ordinary with the events of one request. Stored in the record header."""

    UNSPLIT = 1
    """The body could not be split; it stands as one event."""
    NOT_UTF8 = 2
    """Some byte of the body is not UTF-8, so a destination that promises UTF-8 must look at each event."""


class NotAnEventListError(ValueError):
    """The body does not open as an EventList of a version we know. The message says what was expected."""


class Split(NamedTuple):
    """The events of one request, in order, each exactly the bytes that stood in `items`."""

    events: list[bytes]
    marks: Mark


def joined(events: Iterable[bytes]) -> bytes:
    """An EventList of these events, in the frame and with the line break that kube-apiserver writes."""
    return b"%b%b%b\n" % (_FRAME_START, b",".join(events), _FRAME_END)


class _EventList(msgspec.Struct):
    items: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_EventList)
_FRAME_START = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
_FRAME_END = b"]}"
_UNCOUNTED_BYTES = 2**21  # a body this large cannot hold more than 2**20 items: 60 MiB while they are Raws
_MOST_COMMAS = 2**20


def split_fast(body: bytes) -> Split | None:
    """Split what is well formed; None sends the caller to `split_slow`, which may take a while."""
    usual = body.startswith(_FRAME_START)
    start = None if usual else list_frame.opened(body)
    if not (usual or start) or (len(body) > _UNCOUNTED_BYTES and body.count(b",") > _MOST_COMMAS):
        return None
    try:
        items = _decoder.decode(body).items
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    # Copies, so that a kept event does not keep its whole request alive.
    events = list(map(bytes, items))
    if len(events) > scan.MOST_ITEMS or not ((usual and _is_covered(body, events)) or _is_proven(body, start, events)):
        return None
    # What is not ASCII is hardly ever in more than a few events, and what stands between them is.
    return Split(events, _NO_MARK if all(map(is_utf8, filterfalse(bytes.isascii, events))) else Mark.NOT_UTF8)


def _is_covered(body: bytes, events: list[bytes]) -> bool:
    """Whether the events and the usual frame are all that there is."""
    covered = len(_FRAME_START) + sum(map(len, events)) + len(events) - 1 + len(_FRAME_END)
    # msgspec saw the body through to its end, so what is left over may only be the line break after it.
    return covered == len(body) - body.endswith(b"\n")


def _is_proven(body: bytes, start: list_frame.Opened | None, events: list[bytes]) -> bool:
    start = start or list_frame.opened(body)
    return start is not None and list_frame.encloses(body, start, events)


def split_slow(body: bytes) -> Split:
    """Split by the scanner, or keep the body whole. Linear in the body's size; run it off the event loop.

    Raises `NotAnEventListError` when the body does not even open as an EventList.
    """
    mark = _encoding_mark(body)
    found = scan.event_list(body)
    if found.kind != "EventList" or found.api_version not in API_VERSIONS:
        raise NotAnEventListError(_not_a_list(body, found.kind, found.api_version))
    if found.items is None:
        return Split([body], mark | Mark.UNSPLIT)
    return Split([body[start:stop] for start, stop in found.items], mark)


def split(body: bytes) -> Split:
    """Both ways in turn, for callers that are not in a hurry."""
    return split_fast(body) or split_slow(body)


_OTHERS = {
    b"\x1f\x8b": "gzip; say so in a header, Content-Encoding: gzip",
    codecs.BOM_UTF16_LE: "UTF-16; JSON travels in UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16; JSON travels in UTF-8",
}
"""What people post by mistake, by its first bytes."""


def _not_a_list(body: bytes, kind: str, api_version: str) -> str:
    if kind or api_version:
        return f"{EXPECTED}, got kind {kind[:64]!r} and apiVersion {api_version[:64]!r}"
    other = _OTHERS.get(body[:2])
    return EXPECTED if other is None else f"{EXPECTED}, got {other}"


_NO_MARK = Mark(0)
_DECODED_AT_ONCE = 2**16  # the str stays in the cache and is small, where a whole one takes up to 4 times the body


def _encoding_mark(body: bytes) -> Mark:
    # msgspec's Raw skips over strings without checking them, so the check is ours.
    return _NO_MARK if body.isascii() or is_utf8(body) else Mark.NOT_UTF8


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8 (RFC 3629)."""
    try:
        if len(data) <= _DECODED_AT_ONCE:
            data.decode()
        else:
            decoder = codecs.getincrementaldecoder("utf-8")()
            with memoryview(data) as view:
                for start in range(0, len(data), _DECODED_AT_ONCE):
                    decoder.decode(view[start : start + _DECODED_AT_ONCE])
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def one_line(event: bytes) -> bytes:
    """The event without line breaks, for NDJSON. A space between tokens means the same; strings hold none."""
    if b"\n" in event or b"\r" in event:
        return event.replace(b"\n", b" ").replace(b"\r", b" ")
    return event


def ndjson(several: Sequence[bytes], marks: Mark) -> Sequence[bytes]:
    """The events of one request as lines without line breaks: what a file destination writes, and what is attested."""
    if marks and Mark.UNSPLIT in marks:
        return [unsplit_document(event) for event in several]
    joined = b"".join(several)  # one look at all of them: hardly any holds a line break
    if b"\n" in joined or b"\r" in joined:
        return [one_line(event) for event in several]
    return several


def as_utf8(event: bytes) -> bytes:
    """The event with U+FFFD for what is not UTF-8; unchanged when all of it is."""
    return event if event.isascii() else event.decode(errors="replace").encode()


_UNSPLIT_HEAD = (
    b'{"auditsink.io/unsplit":"this request body opens as an EventList and cannot be split into events","base64":"'
)
_UNSPLIT_TAIL = b'"}'


def unsplit_document(body: bytes) -> bytes:
    """A body that could not be split as a JSON object of one line: its raw bytes in base64, and why."""
    return _UNSPLIT_HEAD + base64.b64encode(body) + _UNSPLIT_TAIL


def unsplit_body(document: bytes) -> bytes:
    """The body that such a document holds. Raises ValueError for another one."""
    if not (document.startswith(_UNSPLIT_HEAD) and document.endswith(_UNSPLIT_TAIL)):
        raise ValueError("is not the document of a body that could not be split")
    return base64.b64decode(document[len(_UNSPLIT_HEAD) : -len(_UNSPLIT_TAIL)], validate=True)


_PLAIN = [
    b'{"a":"\\\\","b\\"":"]}],\\"items\\":[{","c":[["",""],""]}',
    b'["","a","",[""]]',
    b'{"annotations":{"a":"\xff"}, "annotations":{}}',
]
_OTHER_FRAME = b'{\r\n"items" : [ %b ] ,"kind": "EventList","apiVersion":"audit.k8s.io/v1"}\r\n'
_MEMBERS = [(b'"a\\""', 'a"', b'"}"'), (b'"a\\u0022"', 'a"', b'{"b":["]"]}')]


def interpreter_fault() -> str | None:
    """Whether this interpreter and its libraries split a hostile EventList wrongly, in a sentence; None: all is right.

    CPython's `re` before 3.11.3 matched possessive repeats wrongly, and what a filter must hide was not found. No
    pattern here has such a repeat any more; a sink that is started on something never tested should still find out
    before it answers 200, and not from what is missing in an archive. Takes some ten milliseconds.
    """
    if all(_holds(check) for check in (_splits, _splits_fast, _takes_apart)):
        return None
    return (
        f"this Python ({platform.python_version()}, {sys.executable}, msgspec {msgspec.__version__}) splits an "
        "EventList wrongly, so events could get lost or be shown unmasked: run the sink with another one"
    )


def _holds(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # noqa: BLE001 - whatever a broken interpreter raises
        return False


def _splits() -> bool:
    deep = b'{"":[' * 1500 + b"]}" * 1500
    long = b'{"' + b"\\\\" * 40_000 + b'":"' + b'\\"' * 40_000 + b'"}'  # made here, so that nothing of it stays
    events = [*_PLAIN, deep, long]
    bodies = (joined(events), _OTHER_FRAME % b" , ".join(events))
    return all(split_slow(body) == split(body) == Split(events, Mark.NOT_UTF8) for body in bodies)


def _splits_fast() -> bool:
    return split(_OTHER_FRAME % b",".join(_PLAIN)) == split(joined(_PLAIN)) == Split(_PLAIN, Mark.NOT_UTF8)


def _takes_apart() -> bool:
    text = b"{ %b }" % b" , ".join(b"%b: %b" % (raw_key, value) for raw_key, _, value in _MEMBERS)
    return scan.members(text) == _MEMBERS and scan.elements(b"[ 1, %b,2]" % text) == [b"1", text, b"2"]

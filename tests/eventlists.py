"""EventLists of every shape for Hypothesis, each with the events that must be found in it."""

import json
from typing import NamedTuple

from hypothesis import strategies as st

KIND = b'"kind":"EventList"'
VERSION = b'"apiVersion":"audit.k8s.io/v1"'
FRAME = b"{" + KIND + b"," + VERSION + b',"metadata":{},"items":['


class Made(NamedTuple):
    """A body and its events, byte for byte."""

    body: bytes
    events: list[bytes]


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(scalars, lambda d: st.lists(d) | st.dictionaries(st.text(), d), max_leaves=8)
white = st.sampled_from([b"", b" ", b"\n", b"\t \r\n"])


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """One JSON text, in one of the spellings that encoders have."""
    pretty = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]))
    document = draw(documents)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), separators=pretty)
    return text.encode(errors="surrogatepass")  # lone surrogates: no UTF-8, and what an apiserver passes on


_HOSTILE = {
    "surrogate": rb'{"a":"\ud800"}',
    "not utf-8": b'{"a":"\xff\xfe \xed\xa0\x80"}',
    "deep objects": b'{"a":' * 9_900 + b"1" + b"}" * 9_900,
    "deep arrays": b"[" * 9_900 + b"]" * 9_900,
    "digits": b"7" * 5_000,
    "exponent": b"1e400",
    "no number": b"-01.e",
    "same keys": b'{"a":1,"a":2,"items":[1],"items":[2]}',
    "escapes": rb'{"a":"\q\u00zz","b":"]}\\"}',
    "line break": b'{"a":"\n"}',
    "half a literal": b"nul",
}


def _hostile(name: str) -> bytes:
    return _HOSTILE[name]


hostile = st.sampled_from(sorted(_HOSTILE)).map(_hostile)
"""Events that a user of the apiserver's API can cause and that parsers trip over."""


@st.composite
def canonical(draw: st.DrawFn) -> Made:
    """An EventList as kube-apiserver frames it, with at least one event."""
    events = draw(st.lists(texts(), min_size=1, max_size=6))
    return Made(FRAME + b",".join(events) + b"]}" + draw(st.sampled_from([b"", b"\n"])), events)


@st.composite
def free(draw: st.DrawFn, items: st.SearchStrategy[bytes] | None = None) -> Made:
    """An EventList with its keys in any order, others among them, and white space everywhere."""
    events = draw(st.lists(texts() if items is None else items, max_size=6))
    listed = (draw(white) + b"," + draw(white)).join(events)
    members = [KIND, VERSION, b'"items"' + draw(white) + b":" + draw(white) + b"[" + draw(white) + listed + b"]"]
    names = draw(st.lists(st.sampled_from(["metadata", "Items", "other", 'it"ems', "é"]), unique=True))
    members += [json.dumps(name).encode() + b":" + draw(texts()) for name in names]
    joined = (draw(white) + b"," + draw(white)).join(draw(st.permutations(members)))
    return Made(draw(white) + b"{" + draw(white) + joined + draw(white) + b"}" + draw(white), events)

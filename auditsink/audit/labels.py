"""A cluster's labels inside of its events, for destinations that have no place beside them (`labels_as`). Pure.

`annotations` adds them to the event's annotations, which is where Kubernetes has what others know of a request.
`fields` adds them to the event itself, as fluent-bit's `add` does. Nothing is encoded anew: an event is its bytes, cut
at one place, with the labels between. Where a label's name is taken:

- by a field that events of Kubernetes have (`fields`: `stage`, `user`, ...): the event's own stays and the label is
  left out, for an audit trail must say what happened;
- by anything else: the label takes its place. The labels are what the sink says of whoever has posted, and no apiserver
  may say otherwise of itself. There are never two of one name.

Of several `annotations` in one event the last counts, as for most readers of JSON; null is none. What is no JSON
object, has annotations of another type, or more members than `scan` tells, stays as it came; so does the sink's own
checkpoint, which is signed. A body that could not be split is a document of the sink, which carries the labels too.

The quick way knows how an event of kube-apiserver ends: behind a string `annotations` open, and the first brace that
closes is the last but one byte. In JSON that can stand nowhere but on the event's top level (see `times`).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal

import msgspec

from auditsink.audit import scan

LabelsAs = Literal["annotations", "fields", "none"]
Edit = Callable[[bytes], bytes]

EVENT_FIELDS = frozenset(
    {
        "kind",
        "apiVersion",
        "metadata",
        "level",
        "auditID",
        "stage",
        "requestURI",
        "verb",
        "user",
        "impersonatedUser",
        "authenticationMetadata",
        "sourceIPs",
        "userAgent",
        "objectRef",
        "responseStatus",
        "requestObject",
        "responseObject",
        "requestReceivedTimestamp",
        "stageTimestamp",
        "annotations",
        "timestamp",
    }
)
"""Of `audit.k8s.io/v1` Event, and of v1beta1 and v1alpha1."""

_ANNOTATIONS = b'","annotations":{'
_TAIL = 65536  # bytes searched for them: other input must not cost a long search
_CHECKPOINT = b'{"checkpoint":'
_SPACE = b" \t\r\n"


@lru_cache(maxsize=1024)
def editor(labels: tuple[tuple[str, str], ...], how: LabelsAs) -> Edit | None:
    """What puts these labels into an event; None where there is nothing to put."""
    if how == "none":
        return None
    wanted = {name: value for name, value in labels if how == "annotations" or name not in EVENT_FIELDS}
    if not wanted:
        return None
    return _annotator(wanted) if how == "annotations" else _field_editor(wanted)


def _annotator(labels: Mapping[str, str]) -> Edit:
    members, names = _members(labels), frozenset(labels)
    # As they are, or escaped, as no apiserver writes the letters of a name.
    needles = [b"\\u", b"\\/", *(b'"%b"' % name.encode() for name in labels)]

    def edit(event: bytes) -> bytes:
        start = event.rfind(_ANNOTATIONS, -_TAIL)
        try:
            if start >= 0 and event.find(b"}", start) == len(event) - 2:
                start += len(_ANNOTATIONS) - 1
                own = event[start:-1]
                for needle in needles:
                    if needle in own:
                        return event[:start] + _put(own, names, members) + b"}"
                return b"%b%b%b}}" % (event[:-2], b"," if len(own) > len(b"{}") else b"", members)
            return event if event.startswith(_CHECKPOINT) else _annotated(event, names, members)
        except scan.UnreadableError:
            return event

    return edit


def _annotated(event: bytes, names: frozenset[str], members: bytes) -> bytes:
    """For annotations that are not quite at the end, or not there. Raises UnreadableError."""
    if _LACKS_ANNOTATIONS(event):
        return _appended(event, b'"annotations":{%b}' % members)
    found = [place for place in scan.places(event) if place.key == "annotations"]
    if not found:
        return _put(event, frozenset(), b'"annotations":{%b}' % members)
    start, stop = found[-1].value, found[-1].stop
    value = event[start:stop]
    if value == b"null":
        value = b"{}"
    elif not value.startswith(b"{"):
        return event
    return event[:start] + _put(value, names, members) + event[stop:]


def _field_editor(labels: Mapping[str, str]) -> Edit:
    members, names, lacks = _members(labels), frozenset(labels), _Lacking(*labels)

    def edit(event: bytes) -> bytes:
        if event.startswith(_CHECKPOINT):
            return event
        try:
            return _appended(event, members) if lacks(event) else _put(event, names, members)
        except scan.UnreadableError:
            return event

    return edit


class _Lacking:
    """Whether an object surely has no member of one of these names. False says nothing."""

    def __init__(self, *names: str) -> None:
        fields = {f"field{place}": name for place, name in enumerate(names)}
        kind = msgspec.defstruct("_Members", [(field, msgspec.Raw, msgspec.Raw()) for field in fields], rename=fields)
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, value: bytes) -> bool:
        try:
            return not any(msgspec.structs.astuple(self._decode(value)))
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return False


_LACKS_ANNOTATIONS = _Lacking("annotations")


def _members(labels: Mapping[str, str]) -> bytes:
    return msgspec.json.encode(labels)[1:-1]


def _appended(value: bytes, members: bytes) -> bytes:
    """An object with members at its end, whose names are not in it."""
    kept = value[:-1].rstrip(_SPACE) if value[-2:-1] in _SPACE else value[:-1]
    return b"%b%b%b}" % (kept, b"" if kept == b"{" else b",", members)


def _put(value: bytes, names: frozenset[str], members: bytes) -> bytes:
    """An object with members at its end, and without those whose names they have. Raises UnreadableError."""
    places = scan.places(value)
    kept = [value[place.start : place.stop] for place in places if place.key not in names]
    if len(kept) == len(places):
        return _appended(value, members)
    return b"{%b}" % b",".join([*kept, members])

"""Whether this interpreter and its libraries split a hostile EventList as it must be split.

CPython's `re` before 3.11.3 matched possessive repeats wrongly, and what a filter must hide was not found. No pattern
here has such a repeat any more; a sink that is started on something never tested should still find out before it
answers 200, and not from what is missing in an archive. Takes some ten milliseconds.
"""

import platform
import sys
from collections.abc import Callable

import msgspec

from auditsink.audit import scan
from auditsink.audit.eventlist import Mark, Split, joined, split, split_slow

_PLAIN = [
    b'{"a":"\\\\","b\\"":"]}],\\"items\\":[{","c":[["",""],""]}',
    b'["","a","",[""]]',
    b'{"annotations":{"a":"\xff"}, "annotations":{}}',
]
_OTHER_FRAME = b'{\r\n"items" : [ %b ] ,"kind": "EventList","apiVersion":"audit.k8s.io/v1"}\r\n'
_MEMBERS = [(b'"a\\""', 'a"', b'"}"'), (b'"a\\u0022"', 'a"', b'{"b":["]"]}')]


def fault() -> str | None:
    """What is wrong, as a sentence for the operator; None when all is right."""
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

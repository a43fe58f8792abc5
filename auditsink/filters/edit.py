"""Pieces cut out of a JSON value, or replaced in it, and everything else as it stood. Pure; bytes in, bytes out.

A value is taken apart into the raw bytes of its members only as far as a path leads, and put together again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from auditsink.audit import scan
from auditsink.audit.paths import Step

STARS = b'"***"'
Act = Callable[[bytes], bytes | None]
"""What becomes of a value, as it stands; None takes it out."""


@dataclass(slots=True)
class Node:
    """What to do at one place. `act` comes before what lies deeper; `each` is for what `keys` does not name."""

    act: Act | None = None
    keys: dict[str, Node] = field(default_factory=dict)
    each: Node | None = None

    def at(self, steps: Iterable[Step]) -> Node:
        """The node at the end of a path, made where it is not there."""
        node = self
        for step in steps:
            if step is None:
                node.each = node.each or Node()
                node = node.each
            else:
                node = node.keys.setdefault(step, Node())
        return node


def drop(value: bytes) -> bytes | None:  # noqa: ARG001 - an `Act`
    """An `Act` that takes the member out of its object."""
    return None


def mask(value: bytes) -> bytes:
    """Stars for what it says: for each value of an object whose keys stay, else for all of it. null says nothing."""
    if value[:1] != b"{":
        return value if value == b"null" else STARS
    quick = scan.plain_members(value)
    if quick is None:
        several = [(raw_key, member) for raw_key, _, member in scan.members(value)]
    else:
        several = [(b'"%b"' % key.encode(), bytes(member)) for key, member in quick.items()]
    return _object((key, member if member == b"null" else STARS) for key, member in several)


def apply(node: Node, value: bytes) -> bytes | None:
    """The value with everything below the node done. The same object where nothing was to be done.

    Raises `scan.UnreadableError` for what cannot be taken apart.
    """
    if node.act is not None:
        return node.act(value)
    first = value[:1]
    if first == b"{":
        return _edited_object(node, value)
    return _edited_array(node.each, value) if first == b"[" and node.each is not None else value


def _edited_object(node: Node, value: bytes) -> bytes:
    quick = scan.plain_members(value)
    if quick is None:
        return _edited_slowly(node, value)
    edits: dict[str, bytes | None] = {}
    for key in quick if node.each is not None else node.keys.keys() & quick.keys():
        below = node.keys.get(key, node.each)
        member = bytes(quick[key])
        edited = member if below is None else apply(below, member)
        if edited is not member:
            edits[key] = edited
    if not edits:
        return value
    kept = {**quick, **edits}
    return _object((b'"%b"' % key.encode(), member) for key, member in kept.items() if member is not None)


def _edited_slowly(node: Node, value: bytes) -> bytes:
    kept: list[tuple[bytes, bytes]] = []
    touched = False
    for raw_key, key, member in scan.members(value):
        below = node.keys.get(key, node.each)
        edited = member if below is None else apply(below, member)
        touched |= edited is not member
        if edited is not None:
            kept.append((raw_key, edited))
    return _object(kept) if touched else value


def _edited_array(each: Node, value: bytes) -> bytes:
    kept: list[bytes] = []
    touched = False
    for element in scan.elements(value):
        edited = apply(each, element)
        touched |= edited is not element
        if edited is not None:
            kept.append(edited)
    return b"[" + b",".join(kept) + b"]" if touched else value


def _object(several: Iterable[tuple[bytes, bytes | msgspec.Raw]]) -> bytes:
    return b"{" + b",".join(b"%b:%b" % pair for pair in several) + b"}"

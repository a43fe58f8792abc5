"""What is taken out of an event that goes through, as a plan for `edit`. Pure.

A lower level strips what kube-apiserver would not have recorded at it (request.go: the request's body below Request,
the answer's below RequestResponse), and says so in `level`. `omitManagedFields` takes them out of both bodies, of every
item of a list and every row of a table, but leaves a patch as it was sent, as kube-apiserver does.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from auditsink.audit import scan
from auditsink.filters.edit import STARS, Node, apply, drop
from auditsink.filters.masks import HOLDERS, Masks, Path, Place
from auditsink.filters.policy import LEVELS, Decision, Level, PolicyRequest
from auditsink.filters.reading import EventFields

_MANAGED = b'"managedFields"'
_BODIES = {"requestObject": Level.REQUEST, "responseObject": Level.REQUEST_RESPONSE}
"""The lowest level that records each."""


class _Plan(NamedTuple):
    """What is done to an event; equal ones share a node."""

    level: Level | None
    stripped: frozenset[str]
    managed: frozenset[str]
    masked: Place | None
    fields: bool


_NO_BODIES: frozenset[str] = frozenset()
_UNTOUCHED = _Plan(None, _NO_BODIES, _NO_BODIES, None, fields=False)


class Rewriter:
    """Belongs to one filter. `drop_fields`: paths from the event inwards."""

    def __init__(self, drop_fields: Sequence[Path], masks: Masks) -> None:
        self._drop_fields = drop_fields
        self._needles = [[b'"%b"' % step.encode() for step in path if step is not None] for path in drop_fields]
        self._masks = masks
        self._nodes: dict[_Plan, Node] = {}

    def rewritten(self, event: bytes, seen: EventFields, request: PolicyRequest, decision: Decision) -> bytes:
        """The event as it may be delivered; the same object where nothing of it changes.

        Raises `scan.UnreadableError` for an event that cannot be taken apart.
        """
        plan = self._plan(event, seen, request, decision)
        if plan == _UNTOUCHED:
            return event
        node = self._nodes.get(plan)
        if node is None:
            node = self._nodes[plan] = self._node(plan)
        return apply(node, event) or event

    def _plan(self, event: bytes, seen: EventFields, request: PolicyRequest, decision: Decision) -> _Plan:
        had = LEVELS[seen.level]
        level = min(had, decision.level)
        stripped = managed = _NO_BODIES
        masked = None
        if seen.request_object or seen.response_object:
            there = {"requestObject": seen.request_object, "responseObject": seen.response_object}
            stripped = frozenset(name for name, least in _BODIES.items() if there[name] and level < least)
            left = [name for name in _BODIES if there[name] and name not in stripped]
            if left and decision.omit_managed_fields:
                managed = frozenset(
                    name for name in left if _may_hold(bytes(there[name]), [_MANAGED]) and not _is_patch(name, request)
                )
            if left and request.resource is not None:
                masked = self._masks.place(request.resource)
        fields = any(_may_hold(event, needles) for needles in self._needles)
        return _Plan(None if level == had else level, stripped, managed, masked, fields)

    def _node(self, plan: _Plan) -> Node:
        bodies = {name: Node() for name in _BODIES}
        root = Node(keys=dict(bodies))
        if plan.fields:
            for path in self._drop_fields:
                root.at(path).act = drop
        for name, body in bodies.items():
            if plan.masked is not None:
                self._masks.add_to(body, plan.masked)
            if name in plan.managed:
                for holder in HOLDERS:
                    body.at((*holder, "metadata", "managedFields")).act = drop
            if body.act is None:
                root.keys[name] = Node(act=partial(_edited, body, masked=plan.masked is not None))
        for name in plan.stripped:
            root.keys[name] = Node(act=drop)
        if plan.level is not None:
            said = b'"%b"' % plan.level.wire.encode()
            root.at(("level",)).act = lambda _: said
        return root


def _is_patch(name: str, request: PolicyRequest) -> bool:
    return name == "requestObject" and request.verb == "patch"


def _may_hold(value: bytes, needles: Sequence[bytes]) -> bool:
    """False when there is surely no path of these keys: each would stand in it, as it is or escaped."""
    return all(needle in value for needle in needles) or b"\\u" in value or b"\\/" in value


def _edited(node: Node, value: bytes, *, masked: bool) -> bytes | None:
    """A body with the node done. What a client wrote there to defeat that, too deep or too much, goes as a whole."""
    if masked and value[:1] not in (b"{", b"[") and value != b"null":
        return STARS
    try:
        return apply(node, value)
    except scan.UnreadableError:
        return STARS

"""From a destination's `filter` to what sifts its batches; a policy's file is read again when it changes.

A batch goes into a filter, and what of it is to be delivered comes out: that part is pure.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

from auditsink.audit import paths, scan
from auditsink.audit.eventlist import Mark
from auditsink.common.secret import UnreadableFileError, WatchedFile
from auditsink.config import DestinationSection, Filter, NotedPolicy, Policy
from auditsink.delivery.destination import Batch, DestinationError
from auditsink.delivery.filter import EventFilter, Filtered
from auditsink.delivery.outcome import EventRejection
from auditsink.delivery.settings import key
from auditsink.filters.edit import STARS, Node, apply, drop
from auditsink.filters.masks import HOLDERS, FieldPath, Masks, Place
from auditsink.filters.policy import LEVELS, Decision, Evaluator, Level, PolicyRequest, parse_policy
from auditsink.filters.reading import EventFields, UnreadableEventError, read, read_closer, request_of
from auditsink.filters.rules import Rules, lower, rules_of
from auditsink.load import ConfigError

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
    """What is taken out of an event that goes through. Belongs to one filter.

    A lower level strips what kube-apiserver would not have recorded at it (request.go: the request's body below
    Request, the answer's below RequestResponse), and says so in `level`. `omitManagedFields` takes them out of both
    bodies, of every item of a list and every row of a table, but leaves a patch as it was sent, as kube-apiserver does.
    `drop_fields`: paths from the event inwards.
    """

    def __init__(self, drop_fields: Sequence[FieldPath], masks: Masks) -> None:
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


EVERYTHING = Decision(Level.REQUEST_RESPONSE)
_REMEMBERED = 4096
"""Decisions. A cluster's users, verbs and resources are fewer; a client that makes up more only costs time."""
_CHECKPOINT = b'{"checkpoint":'
_NOT_SPLIT = "the request it came in could not be split, so its events cannot be filtered"


class PolicyFilter:
    """`evaluator` None: no policy, all events go through. `rules` come before it and see more of each event.

    Not for two threads at once.
    """

    def __init__(
        self, evaluator: Evaluator | None, rewriter: Rewriter, *, rules: Rules | None = None, pass_unreadable: bool
    ) -> None:
        self._decide = None if evaluator is None else lru_cache(_REMEMBERED)(evaluator.decide)
        self._rules = rules
        self._rewriter = rewriter
        self._pass_unreadable = pass_unreadable

    def __call__(self, batch: Batch) -> Filtered:
        """See `EventFilter`."""
        if batch.marks and Mark.UNSPLIT in batch.marks:
            return self._unsplit(batch)
        events: list[bytes] = []
        sequences: list[int] = []
        unreadable: list[EventRejection] = []
        for place, event in enumerate(batch.events):
            try:
                left = self._sifted(event)
            except (UnreadableEventError, scan.UnreadableError) as problem:
                if not self._pass_unreadable:
                    unreadable.append(
                        EventRejection(place, f"the filter of this destination cannot read it: {problem}")
                    )
                    continue
                left = event
            if left is not None:
                events.append(left)
                sequences.append(batch.sequences[place])
        kept: Sequence[int] = batch.sequences if len(events) == len(batch.events) else sequences
        return Filtered(replace(batch, events=events, sequences=kept), tuple(unreadable))

    def _unsplit(self, batch: Batch) -> Filtered:
        if self._pass_unreadable:
            return Filtered(batch)
        refused = tuple(EventRejection(place, _NOT_SPLIT) for place in range(len(batch.events)))
        return Filtered(replace(batch, events=[], sequences=[]), refused)

    def _sifted(self, event: bytes) -> bytes | None:
        """The event as it is to be delivered; None: not at all."""
        if event.startswith(_CHECKPOINT):  # the sink's own statement, which is about the trail and none of it
            return event
        if self._rules is None:
            seen = read(event)
            request = request_of(seen)
            decision = EVERYTHING if self._decide is None else self._decide(request)
        else:
            closer = read_closer(event)
            seen, request = closer.seen, request_of(closer.seen)
            decision = self._rules.decide(closer, request)
            if self._decide is not None and decision.level != Level.NONE:
                decision = lower(decision, self._decide(request))
        if decision.level == Level.NONE or seen.stage in decision.omit_stages:
            return None
        return self._rewriter.rewritten(event, seen, request, decision)


log = logging.getLogger("auditsink.filters")


def build(config: DestinationSection) -> EventFilter | None:
    """The destination's filter; None when it gets everything. Raises DestinationError for an unusable policy file."""
    wanted = config.filter
    if wanted is None:
        return None
    if wanted.policy_file is None:
        _tell(config.name, wanted.policy)
        return _sieve(wanted, wanted.policy)
    try:
        return _Watching(config.name, wanted, _watched(wanted, wanted.policy_file))
    except UnreadableFileError as problem:
        raise DestinationError(f"{key(config, 'filter.policy_file')}: {problem}") from None


def policy_of(config: DestinationSection) -> Policy | None:
    """The policy that would be in force now, for a person to look at. Raises DestinationError."""
    wanted = config.filter
    if wanted is None or wanted.policy_file is None:
        return None if wanted is None else wanted.policy
    try:
        return _watched(wanted, wanted.policy_file).get()
    except UnreadableFileError as problem:
        raise DestinationError(f"{key(config, 'filter.policy_file')}: {problem}") from None


def _sieve(wanted: Filter, policy: Policy | None) -> PolicyFilter:
    rules = rules_of(wanted)
    closer = None
    if any(rule.asks_for_more for rule in rules):
        closer = Rules(rules)
    elif rules:  # no Policy beside them
        policy = Policy(rules=[*rules])
    return PolicyFilter(
        None if policy is None else Evaluator(policy),
        Rewriter([paths.parse(path) for path in wanted.drop_fields], Masks(wanted.mask)),
        rules=closer,
        pass_unreadable=wanted.unreadable == "pass",
    )


def _watched(wanted: Filter, path: Path) -> WatchedFile[Policy]:
    return WatchedFile(path, partial(_parse, wanted.policy_unknown_keys))


def _parse(unknown_keys: Literal["refuse", "warn"], content: bytes) -> Policy:
    try:
        return parse_policy(content, "", unknown_keys)
    except ConfigError as problem:
        raise ValueError("; ".join(mistake.lstrip(": ") for mistake in problem.mistakes)) from None


def _tell(name: str, policy: Policy | None) -> None:
    """Say what was passed over in a policy that is in force from now on."""
    if isinstance(policy, NotedPolicy):
        log.warning(
            "something in a destination's policy was passed over, as kube-apiserver does",
            extra={"destination": name, "passed_over": policy.notes},
        )


class _Watching:
    """Sifts by what the file says now; while that is broken, by what it said before."""

    def __init__(self, name: str, wanted: Filter, file: WatchedFile[Policy]) -> None:
        self._name = name
        self._wanted = wanted
        self._file = file
        self._sieve = _sieve(wanted, file.get())
        _tell(name, file.get())
        self._complained: str | None = None

    def __call__(self, batch: Batch) -> Filtered:
        if self._file.changed():
            self._sieve = _sieve(self._wanted, self._file.get())
            log.info("a destination's policy is another one from now on", extra={"destination": self._name})
            _tell(self._name, self._file.get())
        elif self._file.error and self._file.error != self._complained:
            log.warning(
                "a destination's policy file cannot be used; the last good policy stays in force",
                extra={"destination": self._name, "error": self._file.error},
            )
        self._complained = self._file.error
        return self._sieve(batch)

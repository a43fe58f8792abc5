"""What the rules of `only` and `except` can ask that no Policy can: how a request ended, and how it was written. Pure.

kube-apiserver asks its policy before it knows how a request ends; here the event is there. The same caution holds: an
event must not be left out because a client has made it look harmless, so two criteria fit only what is certain.

**Dry run.** `dryRun=All` in the query of a create, an update or a patch, in just this spelling: what Go reads in
another one is not guessed. For a delete only its body counts (`DeleteOptions`, as the apiserver decoded it), because
with a body the query says nothing, and whether there was a body is known only where it was recorded. Subresources that
are known to heed it: others (`exec`, `proxy`, `token`, those of other API servers) do what they do whatever it says.

**Unchanged.** An update whose answer has the resource version that the client sent: had anything been written, it would
have another one (k8s.io/apiserver, pkg/storage/etcd3/store.go, GuaranteedUpdate). The apiserver refuses any version but
the present one, so a client cannot choose one that will fit. An object that is being deleted does not count: the update
that takes its last finalizer away deletes it, and is answered with what was sent. A patch does not tell what was there
before. `described` says in words what a filter lets through, and `risks` what is risky about it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from auditsink.config import Filter, GroupResources, NotedPolicy, Policy, PolicyRule, Rule
from auditsink.config.filters import LevelName
from auditsink.filters.policy import NOTHING, Decision, PolicyRequest, criteria, decision_of
from auditsink.filters.reading import CloserFields, EventFields, path_of


class Pattern:
    """Fits the whole of a value; everything but `*` stands for itself."""

    __slots__ = ("_first", "_inner", "_last", "_literal", "_shortest")

    def __init__(self, text: str) -> None:
        pieces = text.encode().split(b"*")
        self._literal = pieces[0] if len(pieces) == 1 else None
        self._first, self._last = pieces[0], pieces[-1]
        self._inner = [piece for piece in pieces[1:-1] if piece]
        self._shortest = sum(map(len, pieces))

    def fits(self, value: bytes) -> bool:
        """Whether the value is one that the pattern stands for."""
        if self._literal is not None:
            return value == self._literal
        if len(value) < self._shortest or not (value.startswith(self._first) and value.endswith(self._last)):
            return False
        position, end = len(self._first), len(value) - len(self._last)
        # The earliest place of each piece leaves most room for those behind it.
        for piece in self._inner:
            position = value.find(piece, position, end)
            if position < 0:
                return False
            position += len(piece)
        return True


_T = TypeVar("_T")
CloserTest = Callable[[CloserFields], bool]

_REMEMBERED = 4096
_DRY_RUN = "dryRun=All"
_WRITING = frozenset({"create", "update", "patch"})
_DELETING = frozenset({"delete", "deletecollection"})
_HEEDS_DRY_RUN = frozenset(
    {"", "approval", "binding", "ephemeralcontainers", "eviction", "finalize", "resize", "scale", "status"}
)


class Rules:
    """`only` and `except`, ready to be asked. Not for two threads at once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(criteria(rule), _closer(rule), decision_of(rule)) for rule in rules]
        self._candidates = lru_cache(_REMEMBERED)(self._fitting)

    def decide(self, event: CloserFields, request: PolicyRequest) -> Decision:
        """The first rule that fits."""
        for tests, decision in self._candidates(request):
            if all(test(event) for test in tests):
                return decision
        return NOTHING

    def _fitting(self, request: PolicyRequest) -> list[tuple[Sequence[CloserTest], Decision]]:
        """The rules that fit as far as a Policy could tell, up to the first of which that is all."""
        found: list[tuple[Sequence[CloserTest], Decision]] = []
        for tests, closer, decision in self._rules:
            if all(test(request) for test in tests):
                found.append((closer, decision))
                if not closer:
                    break
        return found


def rules_of(wanted: Filter) -> list[Rule]:
    """`only` and `except` as rules that decide like those of a policy, `except` first. Empty where there is neither."""
    if not (wanted.only or wanted.except_):
        return []
    return [
        *(_at(rule, "None") for rule in wanted.except_),
        *(_at(rule, "RequestResponse") for rule in wanted.only or [Rule()]),
    ]


def _at(rule: Rule, level: LevelName) -> Rule:
    return rule if rule.level is not None else replace(rule, level=level)


def lower(one: Decision, other: Decision) -> Decision:
    """What two say together: the lower level, and all that either omits."""
    return Decision(
        min(one.level, other.level),
        one.omit_stages | other.omit_stages,
        one.omit_managed_fields or other.omit_managed_fields,
    )


def _closer(rule: Rule) -> list[CloserTest]:
    """A test for each criterion that no Policy has, the cheapest first."""
    tests: list[CloserTest] = []
    if rule.names:
        names = [Pattern(text) for text in rule.names]
        tests.append(lambda one: (ref := one.seen.object_ref) is not None and _any(names, ref.name.encode()))
    if rule.dry_run is not None:
        wanted = rule.dry_run
        tests.append(lambda one: dry_run(one.seen) is wanted)
    if rule.response_codes:
        codes = frozenset(code for several in rule.response_codes for code in several.range or ())
        tests.append(lambda one: _code(one) in codes)
    if rule.user_agents:
        agents = [Pattern(text) for text in rule.user_agents]
        tests.append(lambda one: _any(agents, _text(one.members.get("userAgent"))))
    if rule.request_uris:
        uris = [Pattern(text) for text in rule.request_uris]
        tests.append(lambda one: _any(uris, _uri(one.seen)))
    if rule.unchanged is not None:
        same = rule.unchanged
        tests.append(lambda one: unchanged(one) is same)
    return tests


def dry_run(seen: EventFields) -> bool:
    """Whether the request, whatever it asked for, has certainly changed nothing because it asked for that."""
    ref = seen.object_ref
    if ref is None or ref.subresource not in _HEEDS_DRY_RUN:
        return False
    if seen.verb in _WRITING:
        return _DRY_RUN in seen.request_uri.partition("?")[2].split("&")
    return seen.verb in _DELETING and bool(_decoded(_decode_options, seen.request_object, _DeleteOptions()).dry_run)


def unchanged(one: CloserFields) -> bool:
    """Whether an update has certainly changed nothing."""
    if one.seen.verb != "update" or one.seen.object_ref is None:
        return False
    sent = _decoded(_decode_ref, one.members.get("objectRef"), _VersionedRef()).resource_version
    answered = _decoded(_decode_object, one.seen.response_object, _AnsweredObject()).metadata
    return sent != "" and sent == answered.resource_version and answered.deletion_timestamp is None


class _VersionedRef(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _AnswerCode(msgspec.Struct):
    code: int | None = None


class _DeleteOptions(msgspec.Struct, rename="camel"):
    dry_run: list[str] | None = None


class _ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    deletion_timestamp: str | None = None


class _AnsweredObject(msgspec.Struct):
    metadata: _ObjectMeta = _ObjectMeta()


_decode_status = msgspec.json.Decoder(_AnswerCode).decode
_decode_options = msgspec.json.Decoder(_DeleteOptions).decode
_decode_object = msgspec.json.Decoder(_AnsweredObject).decode
_decode_ref = msgspec.json.Decoder(_VersionedRef).decode
_decode_text = msgspec.json.Decoder(str).decode


def _code(one: CloserFields) -> int | None:
    return _decoded(_decode_status, one.members.get("responseStatus"), _AnswerCode()).code


def _uri(seen: EventFields) -> bytes:
    """The path without its escapes, as a Policy's nonResourceURLs see it, and the query as the client wrote it."""
    path, mark, query = seen.request_uri.partition("?")
    return path_of(path) + (mark + query).encode(errors="replace")


def _text(value: msgspec.Raw | None) -> bytes:
    """A string's characters in UTF-8; empty where there is none."""
    return _decoded(_decode_text, value, "").encode()


def _decoded(decode: Callable[[msgspec.Raw], _T], value: msgspec.Raw | None, otherwise: _T) -> _T:
    """What can be read of a value, which need not be there nor be what it should."""
    if not value:
        return otherwise
    try:
        return decode(value)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return otherwise


def _any(patterns: Sequence[Pattern], value: bytes) -> bool:
    return any(pattern.fits(value) for pattern in patterns)


_LEVELS = {
    None: "as they came",
    "None": "nothing",
    "Metadata": "no bodies (Metadata)",
    "Request": "no bodies of answers (Request)",
    "RequestResponse": "as they came",
}
_SHOWN = 8
"""Entries of a list that are named; a policy of hundreds of users is no sentence."""


def described(name: str, wanted: Filter, policy: Policy | None) -> Iterator[str]:
    """A filter in words: what the destination gets, a sentence each."""
    rules = rules_of(wanted)
    if policy is None and not rules:
        yield f"{name} gets every event"
    for number, rule in enumerate(rules, 1):
        goes_on = policy is not None and rule.level == "RequestResponse"
        yield f"{name}, rule {number}: {f'of {_requests(rule)}: what the policy says' if goes_on else _rule(rule, [])}"
    if rules and not _fits_all(rules[-1]):
        yield f"{name}, of what no rule fits: nothing"
    if policy is not None:
        before = f"{name}, of what is left, policy rule" if rules else f"{name}, rule"
        for number, one in enumerate(policy.rules, 1):
            yield f"{before} {number}: {_rule(one, policy.omit_stages)}"
        if not _fits_all(policy.rules[-1]):
            yield f"{name}, of what no rule{' of the policy' if rules else ''} fits: nothing"
    if wanted.drop_fields:
        yield f"{name}, taken out: {', '.join(wanted.drop_fields)}"
    if wanted.mask:
        yield f"{name}, masked: the values in {', '.join(wanted.mask)}"
    kept = {"pass": "goes through as it is", "dead_letter": "becomes a dead letter"}[wanted.unreadable]
    yield f"{name}, what cannot be read as an event: {kept}"


def _rule(rule: PolicyRule, omit_stages: Sequence[str]) -> str:
    stages = "" if _drops(rule) else _stages([*omit_stages, *rule.omit_stages])
    return f"of {_requests(rule)}: {_LEVELS[rule.level]}{stages}"


def risks(wanted: Filter, policy: Policy | None) -> Iterator[str]:
    """What stands after the path of the filter's key."""
    if wanted.unreadable == "pass" and (wanted.mask or wanted.drop_fields):
        yield "unreadable: pass lets through what could not be masked; leave it out to keep such events as dead letters"
    if isinstance(policy, NotedPolicy):
        yield from (f"passed over in the policy, as kube-apiserver does: {note}" for note in policy.notes)
    yield from _rule_risks(rules_of(wanted), chosen=bool(wanted.only))
    yield from _rule_risks([] if policy is None else policy.rules, chosen=False)


def _rule_risks(rules: Sequence[PolicyRule], *, chosen: bool) -> Iterator[str]:
    if not rules:
        return
    if all(_drops(rule) for rule in rules):
        yield "every rule says None, so nothing is ever delivered"
    elif not _fits_all(rules[-1]) and not chosen:
        yield (
            "what no rule fits is not delivered, as in kube-apiserver; "
            "end the rules with `- level: RequestResponse` to let the rest through"
        )
    for number, rule in enumerate(rules[:-1], 1):
        if _fits_all(rule):
            yield f"rule {number} fits every request, so the rules after it never apply"
            return


def _drops(rule: PolicyRule) -> bool:
    return rule.level == "None"


def _fits_all(rule: PolicyRule) -> bool:
    criteria = (rule.users, rule.user_groups, rule.verbs, rule.resources, rule.namespaces, rule.non_resource_urls)
    return not any(criteria) and not (isinstance(rule, Rule) and rule.asks_for_more)


def _requests(rule: PolicyRule) -> str:
    parts = [
        f"{_several('', rule.verbs) or 'all'} requests",
        "" if not rule.resources else f"for {'; '.join(map(_entry, rule.resources[:_SHOWN]))}",
        _several("at ", rule.non_resource_urls),
        _several("in ", [namespace or "no namespace" for namespace in rule.namespaces]),
        _several("by ", rule.users),
        _several("who are members of " if rule.users else "by members of ", rule.user_groups),
        *(_closer_words(rule) if isinstance(rule, Rule) else ()),
    ]
    return " ".join(part for part in parts if part)


def _closer_words(rule: Rule) -> Iterator[str]:
    """What no Policy can say."""
    yield _several("of objects named like ", rule.names)
    yield _several("at addresses like ", rule.request_uris)
    yield _several("from clients like ", rule.user_agents)
    yield _several("answered with ", rule.response_codes)
    if rule.dry_run is not None:
        yield "that were a dry run" if rule.dry_run else "that were no dry run"
    if rule.unchanged is not None:
        yield "that changed nothing" if rule.unchanged else "but updates that changed nothing"


def _entry(entry: GroupResources) -> str:
    names = _several(" named ", entry.resource_names)
    group = "any group" if entry.group == "*" else entry.group or "core"
    return f"{_several('', entry.resources) or 'everything'}{names} ({group})"


def _several(before: str, words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{before}{', '.join(words[:_SHOWN])}{more}" if words else ""


def _stages(omitted: Sequence[str]) -> str:
    return f", without the stages {', '.join(sorted(set(omitted)))}" if omitted else ""

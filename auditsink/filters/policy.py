"""Which rule of an audit Policy fits a request, and what it says. Pure.

The semantics are kube-apiserver's (k8s.io/apiserver, pkg/audit/policy/checker.go): the first rule that fits decides,
no rule means None; all criteria of a rule must fit, one that is left out fits everything; a rule with resources or
namespaces fits resource requests only, one with nonResourceURLs only the others; `res/*` fits `res` itself too; the
group `*` is any (since 1.36).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from auditsink.config import GroupResources, Policy, PolicyRule


class Level(IntEnum):
    """How much of a request is recorded. Each holds what the ones before it do."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3

    @property
    def wire(self) -> str:
        """As a policy and an event spell it."""
        return "".join(word.capitalize() for word in self.name.split("_"))


LEVELS = {level.wire: level for level in Level}


class Resource(NamedTuple):
    """What a resource request is about; "" where it has none."""

    group: str
    resource: str
    subresource: str
    namespace: str
    name: str


class PolicyRequest(NamedTuple):
    """What rules look at. `user` None: nobody was authenticated. `resource` None: not a resource request.

    `path` is the URL's path, unescaped; it only matters where there is no resource.
    """

    user: str | None
    groups: tuple[str, ...]
    verb: str
    resource: Resource | None
    path: bytes


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the events of a request."""

    level: Level
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


Test = Callable[[PolicyRequest], bool]


class Evaluator:
    """A policy, ready to be asked."""

    def __init__(self, policy: Policy) -> None:
        self._rules = [(criteria(rule), decision_of(rule, policy)) for rule in policy.rules]

    def decide(self, request: PolicyRequest) -> Decision:
        """The first rule that fits."""
        for tests, decision in self._rules:
            if all(test(request) for test in tests):
                return decision
        return NOTHING


NOTHING = Decision(Level.NONE)


def decision_of(rule: PolicyRule, policy: Policy | None = None) -> Decision:
    """What the rule says where it fits, with what its policy says for all rules."""
    omit, stages = rule.omit_managed_fields, frozenset(rule.omit_stages)
    if policy is not None:
        omit = policy.omit_managed_fields if omit is None else omit
        stages |= frozenset(policy.omit_stages)
    return Decision(Level.REQUEST_RESPONSE if rule.level is None else LEVELS[rule.level], stages, bool(omit))


def criteria(rule: PolicyRule) -> list[Test]:
    """A test for each criterion that the rule has, the cheapest first."""
    tests: list[Test] = []
    if rule.verbs:
        verbs = frozenset(rule.verbs)
        tests.append(lambda request: request.verb in verbs)
    if rule.users:
        users = frozenset(rule.users)
        tests.append(lambda request: request.user in users)
    if rule.user_groups:
        groups = frozenset(rule.user_groups)
        tests.append(lambda request: not groups.isdisjoint(request.groups))
    if rule.namespaces or rule.resources:
        tests.append(_resource_test(rule))
    elif rule.non_resource_urls:
        tests.append(_path_test(rule.non_resource_urls))
    return tests


def _resource_test(rule: PolicyRule) -> Test:
    namespaces = frozenset(rule.namespaces)
    entries = [_entry_test(entry) for entry in rule.resources]

    def test(request: PolicyRequest) -> bool:
        asked = request.resource
        if asked is None or (namespaces and asked.namespace not in namespaces):
            return False
        return not entries or any(entry(asked) for entry in entries)

    return test


def _entry_test(entry: GroupResources) -> Callable[[Resource], bool]:
    group, wanted, names = entry.group, frozenset(entry.resources), frozenset(entry.resource_names)
    any_group = group == "*"

    def test(asked: Resource) -> bool:
        if asked.group != group and not any_group:
            return False
        return not wanted or ((not names or asked.name in names) and not wanted.isdisjoint(_spellings(asked)))

    return test


def _spellings(asked: Resource) -> tuple[str, ...]:
    """Every entry of `resources` that fits this resource."""
    if not asked.subresource:
        return asked.resource, "*", f"{asked.resource}/*"
    return f"{asked.resource}/{asked.subresource}", "*", f"*/{asked.subresource}", f"{asked.resource}/*"


def _path_test(urls: list[str]) -> Test:
    exact = frozenset(url.encode() for url in urls)
    prefixes = tuple(url.rstrip("*").encode() for url in urls if url.endswith("*"))
    return lambda request: request.resource is None and (request.path in exact or request.path.startswith(prefixes))

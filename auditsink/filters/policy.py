"""An audit Policy: found in a file, and which rule of it fits a request and what that says. Pure.

The semantics of rules are kube-apiserver's (k8s.io/apiserver, pkg/audit/policy/checker.go): the first rule that fits
decides, no rule means None; all criteria of a rule must fit, one that is left out fits everything; a rule with
resources or namespaces fits resource requests only, one with nonResourceURLs only the others; `res/*` fits `res` itself
too; the group `*` is any (since 1.36).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple

from auditsink.config import GroupResources, Policy, PolicyRule
from auditsink.load import ConfigError, document, fields


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


_KEYS = ("policy", "audit-policy.yaml")
"""Of a ConfigMap's `data`: the first that is there, else the only one whose text speaks of the API group."""
_GROUP = "audit.k8s.io/"
_OLD = ("audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1")
_TOO_OLD = (
    "expected one of audit.k8s.io/v1: kube-apiserver reads no other since 1.24; "
    "write that instead, the keys and what they mean are the same"
)
_FIRST_COUNTS = "what follows the first document: kube-apiserver reads no other"
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class _FoundPolicy:
    """A Policy as plain values, and the path at which it stands ("" where the file is nothing else)."""

    plain: object
    where: str = ""
    notes: list[str] = field(default_factory=list)


def parse_policy(data: bytes, name: str, unknown_keys: fields.UnknownKeys = "refuse") -> Policy:
    """A Kubernetes audit Policy from a file of its own; its notes say what was passed over. Raises ConfigError.

    It may stand alone, in a ConfigMap, in a list of objects, between other documents. kube-apiserver takes it alone,
    and of several documents the first. People keep it as their clusters' tools want it: Gardener in a ConfigMap under
    `policy`, others under `audit-policy.yaml`, `kubectl get -o yaml` in a List. In all of these there is one Policy to
    be found, and where there are two, which of them is meant cannot be known.
    """
    try:
        found = _find(data, repeated_keys=unknown_keys)
    except document.DocumentError as broken:
        raise ConfigError([f"{name}:{mistake}" for mistake in broken.mistakes]) from None
    section, mistakes, notes = fields.read(Policy, found.plain, None, where=found.where, unknown_keys=unknown_keys)
    if section is None:
        raise ConfigError([f"{name}: {mistake}" for mistake in mistakes])
    return section.with_notes([*found.notes, *notes])


def _find(data: bytes, *, repeated_keys: Literal["refuse", "warn"] = "refuse") -> _FoundPolicy:
    """The Policy of a file in YAML or JSON. `repeated_keys` warn: the last of two equal keys counts, with a note.

    Raises DocumentError. What is found need not be sound: a single document of an unknown kind is found as it is.
    """
    notes: list[str] | None = [] if repeated_keys == "warn" else None
    documents = _documents(data, notes)
    found = _FoundPolicy(documents.first, "", (notes or []) + documents.notes)
    if _is_policy(documents.first):
        return _checked(found)
    objects = [*_objects(documents.all)]
    policies = [policy for where, plain in objects for policy in _policies(plain, where, notes)]
    if len(policies) == 1:
        return _checked(_FoundPolicy(policies[0].plain, policies[0].where, [*(notes or []), *policies[0].notes]))
    if policies:
        named = ", ".join(policy.where for policy in policies[:_MOST_NAMED])
        raise document.DocumentError([f" holds {len(policies)} policies ({named}); keep one"])
    if len(objects) == 1 and not _is_config_map(objects[0][1]):
        return found
    raise document.DocumentError(
        [f" holds no Policy, nor a ConfigMap with one under {' or '.join(_KEYS)}; write one, or name the right file"]
    )


@dataclass(frozen=True, slots=True)
class _Documents:
    """Those of one text that are not empty, at least one. Where the first is a Policy it is all that was read."""

    all: list[object]
    notes: list[str]

    @property
    def first(self) -> object:
        return self.all[0]


def _documents(data: bytes, notes: list[str] | None) -> _Documents:
    several = (one for one in document.parse_each(data, notes) if one is not None)
    first = next(several, None)
    if first is None:
        raise document.DocumentError([" is empty; write a Policy into it"])
    if not _is_policy(first):
        return _Documents([first, *several], [])
    try:
        alone = next(several, None) is None
    except document.DocumentError:
        alone = False
    return _Documents([first], [] if alone else [_FIRST_COUNTS])


def _is_policy(plain: object) -> bool:
    return isinstance(plain, dict) and (plain.get("kind") == "Policy" or ("kind" not in plain and "rules" in plain))


def _is_config_map(plain: object) -> bool:
    return isinstance(plain, dict) and plain.get("kind") == "ConfigMap"


def _objects(documents: list[object]) -> Iterator[tuple[str, object]]:
    """All objects with their paths: the documents themselves, and the items of those that are lists."""
    for number, plain in enumerate(documents):
        where = f"documents[{number}]" if len(documents) > 1 else ""
        items = plain.get("items") if isinstance(plain, dict) and str(plain.get("kind")).endswith("List") else None
        if isinstance(items, list):
            yield from ((_below(where, f"items[{place}]"), one) for place, one in enumerate(items))
        else:
            yield where, plain


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _policies(plain: object, where: str, notes: list[str] | None) -> Iterator[_FoundPolicy]:
    if _is_policy(plain):
        yield _FoundPolicy(plain, where or "the document")
    elif isinstance(plain, dict) and _is_config_map(plain) and isinstance(data := plain.get("data"), dict):
        key = _key(data)
        if key is not None:
            yield _inside(data[key], _below(where, f"data.{key}"), lenient=notes is not None)


def _key(data: Mapping[object, object]) -> str | None:
    """Under which a ConfigMap has its policy."""
    texts = {key: text for key, text in data.items() if isinstance(key, str) and isinstance(text, str)}
    speaking = [key for key, text in texts.items() if _GROUP in text]
    usual = [key for key in _KEYS if key in texts]
    return usual[0] if usual else speaking[0] if len(speaking) == 1 else None


def _inside(text: str, where: str, *, lenient: bool) -> _FoundPolicy:
    """The Policy that is a ConfigMap's text."""
    notes: list[str] | None = [] if lenient else None
    try:
        documents = _documents(text.encode(errors="surrogatepass"), notes)
    except document.DocumentError as broken:
        raise document.DocumentError([f" {where}:{mistake}" for mistake in broken.mistakes]) from None
    return _FoundPolicy(documents.first, where, [f"{where}: {note}" for note in (*(notes or ()), *documents.notes)])


def _checked(found: _FoundPolicy) -> _FoundPolicy:
    """The same, unless it is of a version that no kube-apiserver of today reads."""
    if isinstance(found.plain, dict) and found.plain.get("apiVersion") in _OLD:
        raise document.DocumentError([f" {_below(found.where, 'apiVersion')}: {_TOO_OLD}"])
    return found

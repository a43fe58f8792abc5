"""Where in a file the audit Policy stands: alone, in a ConfigMap, in a list of objects, between other documents. Pure.

kube-apiserver takes the Policy alone, and of several documents the first. People keep it as their clusters' tools want
it: Gardener in a ConfigMap under `policy`, others under `audit-policy.yaml`, `kubectl get -o yaml` in a List. In all
of these there is one Policy to be found, and where there are two, which of them is meant cannot be known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from auditsink.load import document

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
class FoundPolicy:
    """A Policy as plain values, and the path at which it stands ("" where the file is nothing else)."""

    plain: object
    where: str = ""
    notes: list[str] = field(default_factory=list)


def find(data: bytes, *, repeated_keys: Literal["refuse", "warn"] = "refuse") -> FoundPolicy:
    """The Policy of a file in YAML or JSON. `repeated_keys` warn: the last of two equal keys counts, with a note.

    Raises DocumentError. What is found need not be sound: a single document of an unknown kind is found as it is.
    """
    notes: list[str] | None = [] if repeated_keys == "warn" else None
    documents = _documents(data, notes)
    found = FoundPolicy(documents.first, "", (notes or []) + documents.notes)
    if _is_policy(documents.first):
        return _checked(found)
    objects = [*_objects(documents.all)]
    policies = [policy for where, plain in objects for policy in _policies(plain, where, notes)]
    if len(policies) == 1:
        return _checked(FoundPolicy(policies[0].plain, policies[0].where, [*(notes or []), *policies[0].notes]))
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


def _policies(plain: object, where: str, notes: list[str] | None) -> Iterator[FoundPolicy]:
    if _is_policy(plain):
        yield FoundPolicy(plain, where or "the document")
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


def _inside(text: str, where: str, *, lenient: bool) -> FoundPolicy:
    """The Policy that is a ConfigMap's text."""
    notes: list[str] | None = [] if lenient else None
    try:
        documents = _documents(text.encode(errors="surrogatepass"), notes)
    except document.DocumentError as broken:
        raise document.DocumentError([f" {where}:{mistake}" for mistake in broken.mistakes]) from None
    return FoundPolicy(documents.first, where, [f"{where}: {note}" for note in (*(notes or ()), *documents.notes)])


def _checked(found: FoundPolicy) -> FoundPolicy:
    """The same, unless it is of a version that no kube-apiserver of today reads."""
    if isinstance(found.plain, dict) and found.plain.get("apiVersion") in _OLD:
        raise document.DocumentError([f" {_below(found.where, 'apiVersion')}: {_TOO_OLD}"])
    return found

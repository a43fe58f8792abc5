"""`filter` of a destination: what it gets of the trail, in the words of a Kubernetes audit Policy; see docs/filters.md.

`Policy`, `PolicyRule` and `GroupResources` have the keys of `audit.k8s.io/v1` (k8s.io/apiserver, pkg/apis/audit/v1)
and its rules (pkg/apis/audit/validation), with some that are stricter.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from auditsink.audit import paths
from auditsink.config.section import Broken, Section

LevelName = Literal["None", "Metadata", "Request", "RequestResponse"]
StageName = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]
MaskName = Literal["secrets", "configmaps", "tokens"]
_GROUP = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_LONGEST_GROUP = 253
_ANY_GROUP = "*"
CODES_PATTERN = r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?"


class Codes(str):
    """HTTP status codes, as they were written: `404`, `5xx` or `400-499`."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "Codes":
        """From what stands in the file. Raises ValueError with an example."""
        if type(value) not in (int, str) or (found := cls(value)).range is None:
            raise ValueError(f"{value!r} is no status code; write one like 404, 5xx or 400-499")
        return found

    @property
    def range(self) -> "range | None":
        """All of them; None for what was not parsed."""
        match = re.fullmatch(CODES_PATTERN, self)
        if match is None:
            return None
        hundred, first, last = match.groups()
        if hundred is not None:
            return range(int(hundred) * 100, int(hundred) * 100 + 100)
        return range(int(first), int(last or first) + 1) or None


class PolicySection(Section, frozen=True, kw_only=True, rename="camel"):
    """A part of a Policy. As for kube-apiserver, a key whose value is null is one that is left out."""

    ANCHORS: ClassVar[bool] = False
    NULL_IS_ABSENT: ClassVar[bool] = True


class GroupResources(PolicySection, frozen=True, kw_only=True):
    """Resources of one API group; "" is the core group, "*" any. No resources: all of the group."""

    group: str = ""
    resources: list[str] = msgspec.field(default_factory=list)
    resource_names: list[str] = msgspec.field(default_factory=list)

    def broken(self) -> Broken:
        """See `Section.broken`."""
        named = self.group not in ("", _ANY_GROUP)
        if named and (len(self.group) > _LONGEST_GROUP or not _GROUP.match(self.group)):
            yield (
                "group",
                'is no API group: write a name in lower case without a version, "*" for any, or leave it empty',
            )
        if self.resource_names and not self.resources:
            yield "resourceNames", "needs resources beside it"


class PolicyRule(PolicySection, frozen=True, kw_only=True):
    """What is left out fits everything. `level` may only be left out in `only` and `except`."""

    ELSEWHERE: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("responseCodes", "userAgents", "names", "requestURIs", "unchanged", "dryRun"),
        "no Policy can say this; write it in only or except beside the policy",
    )

    level: LevelName | None = None
    users: list[str] = msgspec.field(default_factory=list)
    user_groups: list[str] = msgspec.field(default_factory=list)
    verbs: list[str] = msgspec.field(default_factory=list)
    resources: list[GroupResources] = msgspec.field(default_factory=list)
    namespaces: list[str] = msgspec.field(default_factory=list)
    non_resource_urls: list[str] = msgspec.field(default_factory=list, name="nonResourceURLs")
    omit_stages: list[StageName] = msgspec.field(default_factory=list)
    omit_managed_fields: bool | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        for place, url in enumerate(self.non_resource_urls):
            if url != "*" and not url.startswith("/"):
                yield f"nonResourceURLs[{place}]", "must begin with /"
            elif "*" in url[:-1]:
                yield f"nonResourceURLs[{place}]", "may hold * as its last character only"
        if self.non_resource_urls and (self.resources or self.namespaces):
            yield "nonResourceURLs", "fits no request together with resources or namespaces; write two rules"


class Rule(PolicyRule, frozen=True, kw_only=True):
    """A rule of `only` or `except`: what one of a Policy says, and what no Policy can say.

    `user_agents`, `names` and `request_uris` are patterns in which `*` stands for any characters, or none.
    """

    response_codes: list[Codes] = msgspec.field(default_factory=list)
    user_agents: list[str] = msgspec.field(default_factory=list)
    names: list[str] = msgspec.field(default_factory=list)
    request_uris: list[str] = msgspec.field(default_factory=list, name="requestURIs")
    unchanged: bool | None = None
    dry_run: bool | None = None

    @property
    def asks_for_more(self) -> bool:
        """Whether it says what no Policy can say."""
        lists = self.response_codes or self.user_agents or self.names or self.request_uris
        return bool(lists) or self.unchanged is not None or self.dry_run is not None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from super().broken()
        if self.names and self.non_resource_urls:
            yield "names", "fits no request together with nonResourceURLs; write two rules"
        if self.unchanged and self.verbs and "update" not in self.verbs:
            yield "unchanged", "fits no request with these verbs: only an update tells what was there before"
        for place, pattern in enumerate(self.request_uris):
            if not pattern.startswith(("/", "*")):
                yield f"requestURIs[{place}]", "must begin with / or *"


class PolicyMeta(PolicySection, frozen=True, kw_only=True):
    """A Policy's `metadata` (k8s.io/apimachinery, ObjectMeta), which nobody reads."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    self_link: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    owner_references: list[Any] = msgspec.field(default_factory=list)
    finalizers: list[str] = msgspec.field(default_factory=list)
    managed_fields: list[Any] = msgspec.field(default_factory=list)


class Policy(PolicySection, frozen=True, kw_only=True):
    """The document that `kube-apiserver --audit-policy-file` takes."""

    api_version: Literal["audit.k8s.io/v1"] = "audit.k8s.io/v1"
    kind: Literal["Policy"] = "Policy"
    metadata: PolicyMeta = PolicyMeta()
    rules: list[PolicyRule]
    omit_stages: list[StageName] = msgspec.field(default_factory=list)
    omit_managed_fields: bool = False

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if not self.rules:
            yield "rules", "is empty; kube-apiserver takes no such policy, and nothing would be delivered"
        for place, one in enumerate(self.rules):
            if one.level is None:
                yield f"rules[{place}].level", "is missing; write None, Metadata, Request or RequestResponse"

    def with_notes(self, notes: Sequence[str]) -> "Policy":
        """The same, with what was passed over when it was read."""
        return NotedPolicy(**msgspec.structs.asdict(self), notes=list(notes)) if notes else self


class NotedPolicy(Policy, frozen=True, kw_only=True):
    """A Policy in whose file something was passed over, as kube-apiserver does: `notes` has a sentence for each."""

    notes: list[str]


class Filter(Section, frozen=True, kw_only=True, rename={"except_": "except"}):
    """Which events a destination gets, and what of them. A policy, or `only` and `except`, or neither.

    Beside a policy, `only` and `except` say what it cannot say.
    """

    UNKNOWN_KEYS: ClassVar[Mapping[str, str]] = {"policy": "policy_unknown_keys"}

    policy: Policy | None = None
    policy_file: Path | None = None
    policy_unknown_keys: Literal["refuse", "warn"] = "refuse"  # warn: pass over them, as kube-apiserver does
    only: list[Rule] = msgspec.field(default_factory=list)
    except_: list[Rule] = msgspec.field(default_factory=list)
    drop_fields: list[str] = msgspec.field(default_factory=list)
    mask: list[MaskName] = msgspec.field(default_factory=list)
    unreadable: Literal["dead_letter", "pass"] = "dead_letter"

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if self.policy is not None and self.policy_file is not None:
            yield "policy", "stands beside policy_file; remove one of the two"
        yield from self._broken_rules()
        for place, path in enumerate(self.drop_fields):
            try:
                paths.parse(path)
            except ValueError as problem:
                yield f"drop_fields[{place}]", str(problem)
        if self == Filter(unreadable=self.unreadable):
            yield "policy", "is missing, and so is all else that filters; write some, or remove filter"

    def _broken_rules(self) -> Broken:
        key = "policy" if self.policy else "policy_file" if self.policy_file else None
        if key is None:
            if self.policy_unknown_keys != "refuse":
                yield "policy_unknown_keys", "needs policy or policy_file beside it"
        elif not all(one.asks_for_more for one in (*self.only, *self.except_)):
            # What a policy can say belongs into it, where its order among the others is seen.
            yield (
                key,
                "stands beside only or except that say what a policy can; write it there, or remove one of the two",
            )
        for place, one in enumerate(self.only):
            if one.level == "None":
                yield f"only[{place}].level", "would deliver nothing; write the rule under except"
        for place, one in enumerate(self.except_):
            if one.level not in (None, "None"):
                wanted = "must be left out: what fits is not delivered; for less of it write a policy"
                yield f"except[{place}].level", wanted

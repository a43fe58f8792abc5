"""`filter` of a destination: what it gets of the trail, in the words of a Kubernetes audit Policy; see docs/filters.md.

`Policy`, `PolicyRule` and `GroupResources` have the keys of `audit.k8s.io/v1` (k8s.io/apiserver, pkg/apis/audit/v1)
and its rules (pkg/apis/audit/validation), with some that are stricter.
"""

import re
from pathlib import Path
from typing import Literal

import msgspec

from auditsink.audit import paths
from auditsink.config.section import Broken, Section

LevelName = Literal["None", "Metadata", "Request", "RequestResponse"]
StageName = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]
MaskName = Literal["secrets", "configmaps", "tokens"]
_GROUP = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_LONGEST_GROUP = 253


class GroupResources(Section, frozen=True, kw_only=True, rename="camel"):
    """Resources of one API group; "" is the core group. No resources: all of the group."""

    group: str = ""
    resources: list[str] = msgspec.field(default_factory=list)
    resource_names: list[str] = msgspec.field(default_factory=list)

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if self.group and (len(self.group) > _LONGEST_GROUP or not _GROUP.match(self.group)):
            yield "group", "is no API group: write its name in lower case and without a version, or leave it empty"
        if self.resource_names and not self.resources:
            yield "resourceNames", "needs resources beside it"


class PolicyRule(Section, frozen=True, kw_only=True, rename="camel"):
    """What is left out fits everything. `level` may only be left out in `only` and `except`."""

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


class PolicyMeta(Section, frozen=True, kw_only=True, rename="camel"):
    """A Policy's `metadata`, which nobody reads."""

    name: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    creation_timestamp: str | None = None


class Policy(Section, frozen=True, kw_only=True, rename="camel"):
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


class Filter(Section, frozen=True, kw_only=True, rename={"except_": "except"}):
    """Which events a destination gets, and what of them. A policy, or `only` and `except`, or neither."""

    policy: Policy | None = None
    policy_file: Path | None = None
    only: list[PolicyRule] = msgspec.field(default_factory=list)
    except_: list[PolicyRule] = msgspec.field(default_factory=list)
    drop_fields: list[str] = msgspec.field(default_factory=list)
    mask: list[MaskName] = msgspec.field(default_factory=list)
    unreadable: Literal["dead_letter", "pass"] = "dead_letter"

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if self.policy is not None and self.policy_file is not None:
            yield "policy", "stands beside policy_file; remove one of the two"
        if (self.policy or self.policy_file) and (self.only or self.except_):
            yield "policy" if self.policy else "policy_file", "stands beside only or except; remove one of the two"
        for place, one in enumerate(self.only):
            if one.level == "None":
                yield f"only[{place}].level", "would deliver nothing; write the rule under except"
        for place, one in enumerate(self.except_):
            if one.level not in (None, "None"):
                wanted = "must be left out: what fits is not delivered; for less of it write a policy"
                yield f"except[{place}].level", wanted
        for place, path in enumerate(self.drop_fields):
            try:
                paths.parse(path)
            except ValueError as problem:
                yield f"drop_fields[{place}]", str(problem)
        if self == Filter(unreadable=self.unreadable):
            yield "policy", "is missing, and so is all else that filters; write some, or remove filter"

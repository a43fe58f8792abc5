"""`filter` of a destination: what it gets of the trail, in the words of a Kubernetes audit Policy; see docs/filters.md.

`Policy`, `PolicyRule` and `GroupResources` have the keys of `audit.k8s.io/v1` (k8s.io/apiserver, pkg/apis/audit/v1).
"""

from pathlib import Path
from typing import Literal

import msgspec

from auditsink.config.section import Section

LevelName = Literal["None", "Metadata", "Request", "RequestResponse"]
StageName = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]
MaskName = Literal["secrets", "configmaps", "tokens"]


class GroupResources(Section, frozen=True, kw_only=True, rename="camel"):
    """Resources of one API group; "" is the core group. No resources: all of the group."""

    group: str = ""
    resources: list[str] = msgspec.field(default_factory=list)
    resource_names: list[str] = msgspec.field(default_factory=list)


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


class Filter(Section, frozen=True, kw_only=True, rename={"except_": "except"}):
    """Which events a destination gets, and what of them. A policy, or `only` and `except`, or neither."""

    policy: Policy | None = None
    policy_file: Path | None = None
    only: list[PolicyRule] = msgspec.field(default_factory=list)
    except_: list[PolicyRule] = msgspec.field(default_factory=list)
    drop_fields: list[str] = msgspec.field(default_factory=list)
    mask: list[MaskName] = msgspec.field(default_factory=list)
    unreadable: Literal["dead_letter", "pass"] = "dead_letter"

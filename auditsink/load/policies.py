"""What makes sense in a destination's `filter` and in an audit Policy: as kube-apiserver validates one, and stricter.

The rules of a Policy are those of k8s.io/apiserver, pkg/apis/audit/validation. Each yields `(key, sentence)`.
"""

import re

from auditsink import config
from auditsink.audit import paths
from auditsink.load.checks import Broken

_GROUP = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_LONGEST_GROUP = 253


def resources(section: config.GroupResources) -> Broken:
    """One entry of a rule's `resources`."""
    if section.group and (len(section.group) > _LONGEST_GROUP or not _GROUP.match(section.group)):
        yield "group", "is no API group: write its name in lower case and without a version, or leave it empty"
    if section.resource_names and not section.resources:
        yield "resourceNames", "needs resources beside it"


def rule(section: config.PolicyRule) -> Broken:
    """One rule, wherever it stands."""
    for place, url in enumerate(section.non_resource_urls):
        if url != "*" and not url.startswith("/"):
            yield f"nonResourceURLs[{place}]", "must begin with /"
        elif "*" in url[:-1]:
            yield f"nonResourceURLs[{place}]", "may hold * as its last character only"
    if section.non_resource_urls and (section.resources or section.namespaces):
        yield "nonResourceURLs", "fits no request together with resources or namespaces; write two rules"


def policy(section: config.Policy) -> Broken:
    """A whole Policy."""
    if not section.rules:
        yield "rules", "is empty; kube-apiserver takes no such policy, and nothing would be delivered"
    for place, one in enumerate(section.rules):
        if one.level is None:
            yield f"rules[{place}].level", "is missing; write None, Metadata, Request or RequestResponse"


def filter_(section: config.Filter) -> Broken:
    """A destination's filter."""
    if section.policy is not None and section.policy_file is not None:
        yield "policy", "stands beside policy_file; remove one of the two"
    if (section.policy or section.policy_file) and (section.only or section.except_):
        yield "policy" if section.policy else "policy_file", "stands beside only or except; remove one of the two"
    for place, one in enumerate(section.only):
        if one.level == "None":
            yield f"only[{place}].level", "would deliver nothing; write the rule under except"
    for place, one in enumerate(section.except_):
        if one.level not in (None, "None"):
            yield (
                f"except[{place}].level",
                "must be left out: what fits is not delivered; for less of it write a policy",
            )
    for place, path in enumerate(section.drop_fields):
        try:
            paths.parse(path)
        except ValueError as problem:
            yield f"drop_fields[{place}]", str(problem)
    if section == config.Filter(unreadable=section.unreadable):
        yield "policy", "is missing, and so is all else that filters; write some, or remove filter"

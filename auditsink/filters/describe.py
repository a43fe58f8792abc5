"""A filter in words: what goes through, and what is risky about it. Pure."""

from collections.abc import Iterator, Sequence

from auditsink.config import Filter, GroupResources, NotedPolicy, Policy, PolicyRule, Rule
from auditsink.filters.rules import rules_of

_LEVELS = {
    None: "as they came",
    "None": "nothing",
    "Metadata": "no bodies (Metadata)",
    "Request": "no bodies of answers (Request)",
    "RequestResponse": "as they came",
}
_SHOWN = 8
"""Entries of a list that are named; a policy of hundreds of users is no sentence."""


def plan(name: str, wanted: Filter, policy: Policy | None) -> Iterator[str]:
    """What the destination gets, a sentence each."""
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
        *(_closer(rule) if isinstance(rule, Rule) else ()),
    ]
    return " ".join(part for part in parts if part)


def _closer(rule: Rule) -> Iterator[str]:
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

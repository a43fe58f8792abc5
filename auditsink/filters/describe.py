"""A filter in words: what goes through, and what is risky about it. Pure."""

from collections.abc import Iterator, Sequence

from auditsink.config import Filter, GroupResources, Policy, PolicyRule

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
    if policy is None:
        yield f"{name} gets every event"
    else:
        for number, rule in enumerate(policy.rules, 1):
            stages = _stages([*policy.omit_stages, *rule.omit_stages])
            yield f"{name}, rule {number}: of {_requests(rule)}: {_LEVELS[rule.level]}{'' if _drops(rule) else stages}"
        if not _fits_all(policy.rules[-1]):
            yield f"{name}, of what no rule fits: nothing"
    if wanted.drop_fields:
        yield f"{name}, taken out: {', '.join(wanted.drop_fields)}"
    if wanted.mask:
        yield f"{name}, masked: the values in {', '.join(wanted.mask)}"
    kept = {"pass": "goes through as it is", "dead_letter": "becomes a dead letter"}[wanted.unreadable]
    yield f"{name}, what cannot be read as an event: {kept}"


def risks(wanted: Filter, policy: Policy | None) -> Iterator[str]:
    """What stands after the path of the filter's key."""
    if wanted.unreadable == "pass" and (wanted.mask or wanted.drop_fields):
        yield "unreadable: pass lets through what could not be masked; leave it out to keep such events as dead letters"
    if policy is None:
        return
    if all(_drops(rule) for rule in policy.rules):
        yield "every rule says None, so nothing is ever delivered"
    elif not _fits_all(policy.rules[-1]) and not wanted.only:
        yield (
            "what no rule fits is not delivered, as in kube-apiserver; "
            "end the rules with `- level: RequestResponse` to let the rest through"
        )
    for number, rule in enumerate(policy.rules[:-1], 1):
        if _fits_all(rule):
            yield f"rule {number} fits every request, so the rules after it never apply"
            return


def _drops(rule: PolicyRule) -> bool:
    return rule.level == "None"


def _fits_all(rule: PolicyRule) -> bool:
    criteria = (rule.users, rule.user_groups, rule.verbs, rule.resources, rule.namespaces, rule.non_resource_urls)
    return not any(criteria)


def _requests(rule: PolicyRule) -> str:
    parts = [
        f"{_several('', rule.verbs) or 'all'} requests",
        "" if not rule.resources else f"for {'; '.join(map(_entry, rule.resources[:_SHOWN]))}",
        _several("at ", rule.non_resource_urls),
        _several("in ", [one or "no namespace" for one in rule.namespaces]),
        _several("by ", rule.users),
        _several("who are members of " if rule.users else "by members of ", rule.user_groups),
    ]
    return " ".join(part for part in parts if part)


def _entry(entry: GroupResources) -> str:
    names = _several(" named ", entry.resource_names)
    return f"{_several('', entry.resources) or 'everything'}{names} ({entry.group or 'core'})"


def _several(before: str, words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{before}{', '.join(words[:_SHOWN])}{more}" if words else ""


def _stages(omitted: Sequence[str]) -> str:
    return f", without the stages {', '.join(sorted(set(omitted)))}" if omitted else ""

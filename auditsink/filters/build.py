"""From a destination's `filter` to what sifts its batches; a policy's file is read again when it changes."""

import logging

from msgspec.structs import replace

from auditsink import load
from auditsink.audit import paths
from auditsink.common.secret import UnreadableFileError, WatchedFile
from auditsink.config import DestinationSection, Filter, Policy, PolicyRule
from auditsink.delivery.destination import Batch, DestinationError
from auditsink.delivery.filter import EventFilter, Filtered
from auditsink.delivery.settings import key
from auditsink.filters.filter import PolicyFilter
from auditsink.filters.masks import Masks
from auditsink.filters.policy import Evaluator
from auditsink.filters.rewrite import Rewriter

log = logging.getLogger("auditsink.filters")


def build(config: DestinationSection) -> EventFilter | None:
    """The destination's filter; None when it gets everything. Raises DestinationError for an unusable policy file."""
    wanted = config.filter
    if wanted is None:
        return None
    if wanted.policy_file is None:
        return _sieve(wanted, inline(wanted))
    try:
        return _Watching(config.name, wanted, WatchedFile(wanted.policy_file, _parse))
    except UnreadableFileError as problem:
        raise DestinationError(f"{key(config, 'filter.policy_file')}: {problem}") from None


def policy_of(config: DestinationSection) -> Policy | None:
    """The policy that would be in force now, for a person to look at. Raises DestinationError."""
    wanted = config.filter
    if wanted is None or wanted.policy_file is None:
        return None if wanted is None else inline(wanted)
    try:
        return WatchedFile(wanted.policy_file, _parse).get()
    except UnreadableFileError as problem:
        raise DestinationError(f"{key(config, 'filter.policy_file')}: {problem}") from None


def inline(wanted: Filter) -> Policy | None:
    """What the configuration itself says as a policy; `except` comes before `only`. None: no policy."""
    if wanted.policy is not None or not (wanted.only or wanted.except_):
        return wanted.policy
    rules = [_at(rule, "None") for rule in wanted.except_]
    rules += [_at(rule, "RequestResponse") for rule in wanted.only or [PolicyRule()]]
    return Policy(rules=rules)


def _at(rule: PolicyRule, level: str) -> PolicyRule:
    return rule if rule.level is not None else replace(rule, level=level)


def _sieve(wanted: Filter, policy: Policy | None) -> PolicyFilter:
    return PolicyFilter(
        None if policy is None else Evaluator(policy),
        Rewriter([paths.parse(path) for path in wanted.drop_fields], Masks(wanted.mask)),
        pass_unreadable=wanted.unreadable == "pass",
    )


def _parse(content: bytes) -> Policy:
    try:
        return load.parse_policy(content, "")
    except load.ConfigError as problem:
        raise ValueError("; ".join(mistake.lstrip(": ") for mistake in problem.mistakes)) from None


class _Watching:
    """Sifts by what the file says now; while that is broken, by what it said before."""

    def __init__(self, name: str, wanted: Filter, file: WatchedFile[Policy]) -> None:
        self._name = name
        self._wanted = wanted
        self._file = file
        self._sieve = _sieve(wanted, file.get())
        self._complained: str | None = None

    def __call__(self, batch: Batch) -> Filtered:
        if self._file.changed():
            self._sieve = _sieve(self._wanted, self._file.get())
            log.info("a destination's policy is another one from now on", extra={"destination": self._name})
        elif self._file.error and self._file.error != self._complained:
            log.warning(
                "a destination's policy file cannot be used; the last good policy stays in force",
                extra={"destination": self._name, "error": self._file.error},
            )
        self._complained = self._file.error
        return self._sieve(batch)

"""From a destination's `filter` to what sifts its batches; a policy's file is read again when it changes."""

import logging
from functools import partial
from pathlib import Path
from typing import Literal

from auditsink import load
from auditsink.audit import paths
from auditsink.common.secret import UnreadableFileError, WatchedFile
from auditsink.config import DestinationSection, Filter, NotedPolicy, Policy
from auditsink.delivery.destination import Batch, DestinationError
from auditsink.delivery.filter import EventFilter, Filtered
from auditsink.delivery.settings import key
from auditsink.filters.filter import PolicyFilter
from auditsink.filters.masks import Masks
from auditsink.filters.policy import Evaluator
from auditsink.filters.rewrite import Rewriter
from auditsink.filters.rules import Rules, rules_of

log = logging.getLogger("auditsink.filters")


def build(config: DestinationSection) -> EventFilter | None:
    """The destination's filter; None when it gets everything. Raises DestinationError for an unusable policy file."""
    wanted = config.filter
    if wanted is None:
        return None
    if wanted.policy_file is None:
        _tell(config.name, wanted.policy)
        return _sieve(wanted, wanted.policy)
    try:
        return _Watching(config.name, wanted, _watched(wanted, wanted.policy_file))
    except UnreadableFileError as problem:
        raise DestinationError(f"{key(config, 'filter.policy_file')}: {problem}") from None


def policy_of(config: DestinationSection) -> Policy | None:
    """The policy that would be in force now, for a person to look at. Raises DestinationError."""
    wanted = config.filter
    if wanted is None or wanted.policy_file is None:
        return None if wanted is None else wanted.policy
    try:
        return _watched(wanted, wanted.policy_file).get()
    except UnreadableFileError as problem:
        raise DestinationError(f"{key(config, 'filter.policy_file')}: {problem}") from None


def _sieve(wanted: Filter, policy: Policy | None) -> PolicyFilter:
    rules = rules_of(wanted)
    closer = None
    if any(rule.asks_for_more for rule in rules):
        closer = Rules(rules)
    elif rules:  # no Policy beside them
        policy = Policy(rules=[*rules])
    return PolicyFilter(
        None if policy is None else Evaluator(policy),
        Rewriter([paths.parse(path) for path in wanted.drop_fields], Masks(wanted.mask)),
        rules=closer,
        pass_unreadable=wanted.unreadable == "pass",
    )


def _watched(wanted: Filter, path: Path) -> WatchedFile[Policy]:
    return WatchedFile(path, partial(_parse, wanted.policy_unknown_keys))


def _parse(unknown_keys: Literal["refuse", "warn"], content: bytes) -> Policy:
    try:
        return load.parse_policy(content, "", unknown_keys)
    except load.ConfigError as problem:
        raise ValueError("; ".join(mistake.lstrip(": ") for mistake in problem.mistakes)) from None


def _tell(name: str, policy: Policy | None) -> None:
    """Say what was passed over in a policy that is in force from now on."""
    if isinstance(policy, NotedPolicy):
        log.warning(
            "something in a destination's policy was passed over, as kube-apiserver does",
            extra={"destination": name, "passed_over": policy.notes},
        )


class _Watching:
    """Sifts by what the file says now; while that is broken, by what it said before."""

    def __init__(self, name: str, wanted: Filter, file: WatchedFile[Policy]) -> None:
        self._name = name
        self._wanted = wanted
        self._file = file
        self._sieve = _sieve(wanted, file.get())
        _tell(name, file.get())
        self._complained: str | None = None

    def __call__(self, batch: Batch) -> Filtered:
        if self._file.changed():
            self._sieve = _sieve(self._wanted, self._file.get())
            log.info("a destination's policy is another one from now on", extra={"destination": self._name})
            _tell(self._name, self._file.get())
        elif self._file.error and self._file.error != self._complained:
            log.warning(
                "a destination's policy file cannot be used; the last good policy stays in force",
                extra={"destination": self._name, "error": self._file.error},
            )
        self._complained = self._file.error
        return self._sieve(batch)

"""Findings in how a kube-apiserver is told to post: its flags. Pure.

The rules are those of k8s.io/apiserver (plugin/pkg/audit/buffered, pkg/server/options/audit.go); what each costs was
measured on a running apiserver.
"""

import re
from collections.abc import Iterator, Mapping

from auditsink.doctor import Finding, Urgency
from auditsink.doctor.flags import KNOWN, Flags

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LONG_WAIT = 5.0
SMALL_BUFFER = 10_000
SHORT_BACKOFF = 10.0
FEW_BATCHES = 10
"""All of these are kube-apiserver's defaults, but for the wait, which is 30 s."""


def in_file(flags: Flags) -> Iterator[Finding]:
    """What the flags of an apiserver mean, and what of its file could not be read."""
    if flags.problem:
        yield Finding(Urgency.SOON, "apiserver file", flags.problem, "what is behind that line was read as words")
    for line, name in flags.unread:
        yield Finding(
            Urgency.SOON, f"--{name}", f"stands in line {line}, and its value could not be read",
            "give the file as the apiserver gets it: no template, a value behind each flag",
        )  # fmt: skip
    for name in sorted(set(flags.given) - KNOWN):
        yield Finding(
            Urgency.LOSING, f"--{name}", "is no flag of kube-apiserver, which does not start with it",
            "see kube-apiserver --help",
        )  # fmt: skip
    unread = {name for _, name in flags.unread}
    yield from (finding for finding in in_flags(flags.given) if finding.about.removeprefix("--") not in unread)


def in_flags(given: Mapping[str, str]) -> Iterator[Finding]:
    """What the flags mean for the trail."""
    if not given:
        yield Finding(Urgency.LOSING, "apiserver", "has no audit flag at all", "see config/apiserver/flags.yaml")
        return
    for name in ("audit-policy-file", "audit-webhook-config-file"):
        if not given.get(name):
            yield Finding(
                Urgency.LOSING, f"--{name}", "is not set, so nothing is posted", "see config/apiserver/flags.yaml"
            )
    if given.get("audit-webhook-truncate-enabled") == "true":
        yield Finding(
            Urgency.ADVICE, "--audit-webhook-truncate-enabled", "cuts large events, which is evidence lost",
            "leave it off: the sink takes bodies up to receive.max_body",
        )  # fmt: skip
    if given.get("audit-webhook-mode", "batch") == "batch":
        yield from _in_batch_mode(given)
    else:
        yield Finding(
            Urgency.ADVICE, "--audit-webhook-mode", f"{given['audit-webhook-mode']}: every API call waits for the sink",
            "run the sink on the same node, on a fast disk, and alert on auditsink_ack_seconds",
        )  # fmt: skip


def _in_batch_mode(given: Mapping[str, str]) -> Iterator[Finding]:
    wait = _seconds(given.get("audit-webhook-batch-max-wait", "30s"))
    if wait > LONG_WAIT:
        yield Finding(
            Urgency.ADVICE, "--audit-webhook-batch-max-wait", f"{wait:g} s of events are only in memory",
            "2s costs little; an apiserver that dies takes less with it",
        )  # fmt: skip
    if _number(given.get("audit-webhook-batch-buffer-size"), SMALL_BUFFER) <= SMALL_BUFFER:
        yield Finding(
            Urgency.ADVICE, "--audit-webhook-batch-buffer-size", "is seconds of a busy cluster when the sink restarts",
            "50000; events are about 2 kB each",
        )  # fmt: skip
    if wait <= LONG_WAIT and _number(given.get("audit-webhook-batch-throttle-qps"), FEW_BATCHES) <= FEW_BATCHES:
        yield Finding(
            Urgency.ADVICE, "--audit-webhook-batch-throttle-qps", "10 batches a second are few with a short wait",
            "50, and a burst of 100; what waits beyond the buffer is dropped",
        )  # fmt: skip
    if _seconds(given.get("audit-webhook-initial-backoff", "10s")) < SHORT_BACKOFF:
        yield Finding(
            Urgency.SOON, "--audit-webhook-initial-backoff", "is below 10s, so a batch is given up within a minute",
            "10s: five attempts then outlast a restart of the sink on another node",
        )  # fmt: skip


def _number(text: str | None, default: float) -> float:
    """A flag that is no number is the apiserver's to refuse."""
    try:
        return default if text is None else float(text)
    except ValueError:
        return default


def _seconds(text: str) -> float:
    """A duration as Go writes it: 30s, 1m30s."""
    return sum(float(number) * _UNITS[unit] for number, unit in _SECONDS.findall(text))

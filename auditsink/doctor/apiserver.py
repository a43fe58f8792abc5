"""Findings in how a kube-apiserver is set up to post: its flags, and the kubeconfig of its audit webhook. Pure.

The rules are those of k8s.io/apiserver (plugin/pkg/audit/buffered, pkg/server/options/audit.go) and of client-go's
credentials; what each costs was measured on a running apiserver.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from auditsink.doctor.finding import Finding, Urgency

_FLAG = re.compile(r"--(audit-[a-z-]+)(?:=| +)?(\"[^\"]*\"|'[^']*'|[^\s\"',\]]*)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LONG_WAIT = 5.0
SMALL_BUFFER = 10_000
SHORT_BACKOFF = 10.0
FEW_BATCHES = 10
"""All of these are kube-apiserver's defaults, but for the wait, which is 30 s."""


def flags(text: str) -> dict[str, str]:
    """The audit flags in a static pod's manifest, a systemd unit or a list of flags; comments do not count."""
    lines = (line.split(" #")[0] for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name: value.strip("\"'") for line in lines for name, value in _FLAG.findall(line)}


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


def in_kubeconfig(content: Mapping[str, Any], *, tokens: bool | None = None) -> Iterator[Finding]:
    """What the webhook's kubeconfig means. `tokens`: whether the sink asks for tokens; None when that is not known."""
    cluster, user = _current(content)
    server = str(cluster.get("server", ""))
    url = urlsplit(server)
    about = "kubeconfig server"
    credentials = sorted(
        {"token", "tokenFile", "client-certificate", "client-certificate-data", "username"} & set(user)
    )
    if url.scheme not in {"http", "https"} or not url.hostname:
        yield Finding(Urgency.LOSING, about, f"{server!r} is no URL", "https://HOST:9880/audit/NAME-OF-THE-CLUSTER")
        return
    if url.scheme == "http" and credentials:
        yield Finding(
            Urgency.LOSING, about, f"is plain http, so client-go leaves out {', '.join(credentials)}",
            "https, and receive.tls at the sink",
        )  # fmt: skip
    elif url.scheme == "http" and url.hostname not in {"127.0.0.1", "::1", "localhost"}:
        yield Finding(
            Urgency.SOON, about, "is plain http across a network: anybody in between reads the trail", "use https"
        )
    if url.query or url.fragment:
        yield Finding(
            Urgency.SOON, about, "has a query, which the apiserver does not send", "name the cluster in the path"
        )
    if not url.path.strip("/"):
        yield Finding(Urgency.LOSING, about, "has no path, and the sink answers 404", "add /audit/NAME-OF-THE-CLUSTER")
    elif url.path.endswith("/"):
        yield Finding(Urgency.ADVICE, about, "ends in a slash, which the apiserver leaves out", "take it away")
    if cluster.get("insecure-skip-tls-verify"):
        yield Finding(
            Urgency.SOON, "kubeconfig insecure-skip-tls-verify", "anybody in between can take the trail",
            "name the sink's CA in certificate-authority",
        )  # fmt: skip
    if tokens and not {"token", "tokenFile"} & set(user):
        yield Finding(Urgency.LOSING, "kubeconfig user", "has no token, and the sink asks for one", "set tokenFile")
    if "token" in user:
        yield Finding(
            Urgency.ADVICE, "kubeconfig user", "holds the token itself", "tokenFile can be changed without a restart"
        )


def _current(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The cluster and the user of the current context, as far as they are there (client-go takes `current-context`)."""
    context = _named(content, "contexts", "context", str(content.get("current-context", "")))
    return (
        _named(content, "clusters", "cluster", str(context.get("cluster", ""))),
        _named(content, "users", "user", str(context.get("user", ""))),
    )


def _named(content: Mapping[str, Any], several: str, one: str, name: str) -> Mapping[str, Any]:
    listed = content.get(several)
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(one), dict):
            found: Mapping[str, Any] = entry[one]
            return found
    return {}


def _number(text: str | None, default: float) -> float:
    """A flag that is no number is the apiserver's to refuse."""
    try:
        return default if text is None else float(text)
    except ValueError:
        return default


def _seconds(text: str) -> float:
    """A duration as Go writes it: 30s, 1m30s."""
    return sum(float(number) * _UNITS[unit] for number, unit in _SECONDS.findall(text))

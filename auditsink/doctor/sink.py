"""Findings in what a running sink says of itself, and in the disk under its spool. Pure: what was read is handed in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from auditsink.common.units import Size
from auditsink.config import Spool
from auditsink.doctor import Finding, Urgency
from auditsink.observe.verdict import NOTABLE_FILL

MEMORY = frozenset({"tmpfs", "ramfs"})
LAYERS = frozenset({"overlay", "aufs"})
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"})
SPARE = 0.05
"""Of the volume: cursors, dead letters and the file system need some, and full file systems are slow."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Where the spool lies: mount point, type of the file system, bytes in all and free, and those of the spool."""

    mount: str
    kind: str
    total: int
    free: int
    held: int


def in_volume(spool: Spool, volume: Volume) -> Iterator[Finding]:
    """What a disk of that kind and size means for this spool."""
    where = f"spool.path {spool.path}"
    if volume.kind in MEMORY:
        yield Finding(
            Urgency.LOSING,
            where,
            f"lies on {volume.mount}, a {volume.kind}: in memory",
            "put it on a disk; a 200 means nothing there",
        )
    if volume.kind in LAYERS:
        yield Finding(
            Urgency.LOSING,
            where,
            f"lies in a container's own layer ({volume.kind})",
            "mount a volume; what is there goes with the container",
        )
    if volume.kind in NETWORK:
        yield Finding(
            Urgency.ADVICE,
            where,
            f"lies on a network file system ({volume.kind})",
            "a local disk or a block volume: locks and syncs are sure there, and fast",
        )
    lacking = spool.max_bytes - volume.held - volume.free
    if lacking > 0:
        yield Finding(
            Urgency.SOON,
            "spool.max_bytes",
            f"{spool.max_bytes} do not fit: {Size(lacking)} more than {volume.mount} has",
            "make the volume larger, or max_bytes smaller",
        )
    elif volume.total and volume.free + volume.held - spool.max_bytes < SPARE * volume.total:
        yield Finding(
            Urgency.ADVICE,
            "spool.max_bytes",
            f"a full ring leaves less than {SPARE:.0%} of {volume.mount} free",
            "leave a little for cursors, dead letters and the file system",
        )


def mounted(path: str, mounts: str) -> tuple[str, str]:
    """Mount point and type of what `path` (absolute, resolved) lies on; `mounts` is /proc/self/mounts (proc(5))."""
    best = ("/", "unknown")
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")  # a space is \040
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
            best = (point, kind)
    return best


SOON_FILL = 0.8
"""Of the ring: what is left is minutes at the rate of a busy cluster."""
LATE_SECONDS = 600.0
DAY = 86400.0
ENDS_SOON = 14 * DAY
ENDS_NOW = 2 * DAY
CLOCK_SECONDS = 5.0
"""Between two machines that follow a time server it is milliseconds; `Date` is in whole seconds."""

_STRANGERS = ("unauthorized", "forbidden", "tls")
_REFUSED = {
    "too_large": (
        Urgency.LOSING,
        "raise receive.max_body, and max_in_flight with it: an apiserver gives such a batch up after five attempts",
    ),
    "not_an_event_list": (
        Urgency.LOSING,
        "an apiserver posts EventLists of audit.k8s.io/v1: find out what posts there; auditsink send posts audit logs",
    ),
    "not_found": (
        Urgency.SOON,
        "if an apiserver posts there its events are lost: put receive.path and the cluster's name into its kubeconfig",
    ),
    "method": (Urgency.ADVICE, "an apiserver posts: a probe belongs to the admin port, /livez and /readyz"),
    "encoding": (Urgency.SOON, "what posts there has to send its bodies as they are, or as gzip"),
    "coding": (Urgency.SOON, "what posts there has to send its bodies with a Content-Length, or chunked"),
    "bad_request": (Urgency.SOON, "what posts there speaks no HTTP/1.1, breaks off, or speaks TLS to a plain port"),
}
"""Refused for what they are, and what to do. Those that were refused because the sink is full or busy are elsewhere."""
_ENDS = ("delivered", "filtered", "dead_lettered", "dropped", "pending")


def in_status(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What the numbers and states in `/status` mean, and what to do."""
    if status["state"] != "starting":
        for reason in status["reasons"]:
            yield Finding(
                Urgency.LOSING, "readiness", reason, "until then apiservers get 503 and give up within four minutes"
            )
    yield from _in_ring(status["spool"], status["rejected_requests"])
    for one in status["destinations"]:
        yield from _in_destination(one)
    rows = {row["reason"]: row for row in status.get("refusals", ())}
    yield from _in_refusals(status["rejected_requests"], rows)


def _in_refusals(rejected: Mapping[str, int], refusals: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Requests that were refused for what they are, with the last one's peer and path; `refusals` by reason."""
    strangers = sum(rejected.get(reason, 0) for reason in _STRANGERS)
    if strangers:
        last = max((refusals[one] for one in _STRANGERS if one in refusals), key=lambda one: one["last"], default=None)
        yield Finding(
            Urgency.SOON,
            "receive",
            f"{strangers:,} requests came without a valid token or certificate since the start{_last(last)}",
            "if an apiserver sends them its events are lost: the log names the peers",
        )
    for reason, (urgency, remedy) in _REFUSED.items():
        count = rejected.get(reason, 0)
        if count:
            last = refusals.get(reason)
            said = last["sentence"] if last else reason.replace("_", " ")
            what = f"{count:,} requests were refused since the start ({said}){_last(last)}"
            yield Finding(urgency, "receive", what, remedy)


def _last(last: Mapping[str, Any] | None) -> str:
    if last is None:
        return ""
    to = f" to {last['path']}" if last["path"] else ""
    return f", the last from {last['peer'] or 'a peer that is gone'}{to} at {last['last']}"


def _in_ring(spool: Mapping[str, Any], rejected: Mapping[str, int]) -> Iterator[Finding]:
    fill = spool["wanted_bytes"] / spool["max_bytes"] if spool["max_bytes"] else 0.0
    if fill >= NOTABLE_FILL:
        yield Finding(
            Urgency.LOSING if fill >= 1 else Urgency.SOON if fill >= SOON_FILL else Urgency.ADVICE,
            "spool",
            f"{fill:.0%} of {Size(spool['max_bytes'])} waits for a destination",
            "repair the destination with the largest lag, or raise spool.max_bytes and the volume",
        )
    if rejected.get("full", 0):
        yield Finding(
            Urgency.LOSING if fill >= SOON_FILL else Urgency.ADVICE,
            "spool",
            f"{rejected['full']:,} requests were refused since the start because the ring was full",
            "compare apiserver_audit_error_total: what was refused for four minutes is lost there",
        )
    if spool["damaged_bytes"]:
        yield Finding(
            Urgency.LOSING,
            "spool",
            f"{Size(spool['damaged_bytes'])} are damaged",
            "run auditsink spool verify to see which events, and look at the disk",
        )


def _in_destination(one: Mapping[str, Any]) -> Iterator[Finding]:
    name, error = f"destination {one['name']}", one["last_error"] or "no answer yet"
    if one["state"] == "misconfigured":
        yield Finding(
            Urgency.SOON, name, f"takes nothing until a setting is right: {error}", "its events wait in the ring"
        )
    elif one["state"] == "retrying":
        yield Finding(
            Urgency.SOON, name, f"takes nothing: {error}", "it is tried again for ever; its events wait in the ring"
        )
    elif one["lag_seconds"] > LATE_SECONDS:
        yield Finding(
            Urgency.SOON,
            name,
            f"is {one['lag_seconds'] / 60:,.0f} minutes behind",
            "give it more in_flight, larger batches, or find out why it is slow",
        )
    if one["dropped"]:
        yield Finding(
            Urgency.ADVICE,
            name,
            f"never gets {one['dropped']:,} events that were dropped from a full ring",
            "the log names the ranges; a larger ring or when_full: reject keeps the next ones",
        )
    if one["dead_lettered"]:
        yield Finding(
            Urgency.ADVICE,
            name,
            f"refused {one['dead_lettered']:,} events for good",
            f"auditsink deadletter ls --destination {one['name']} says why; replay or drop them",
        )
    if one["accepted"] != sum(one[end] for end in _ENDS):
        yield Finding(Urgency.LOSING, name, "its numbers do not add up", "report this with /status and the log")


def in_metrics(text: str, now: float) -> Iterator[Finding]:
    """What `/metrics` shows beyond that: certificates, unsplit batches. `now` in seconds since the epoch."""
    for family in text_string_to_metric_families(text):
        unsplit = sum(sample.value for sample in family.samples if sample.name == "auditsink_unsplit_batches_total")
        if unsplit:
            yield Finding(
                Urgency.SOON,
                "receive",
                f"{unsplit:,.0f} batches could not be split into their events since the start",
                "a filter cannot look into them, and destinations get each as one event in base64; the log names the "
                "clusters: find out what posts there, or what changes bodies on the way",
            )
        if family.name == "auditsink_certificate_expiry_timestamp_seconds":
            for sample in family.samples:
                yield from _in_certificate(sample.labels["key"], sample.value - now)


def _in_certificate(key: str, left: float) -> Iterator[Finding]:
    if left < ENDS_SOON:
        when = f"ends in {left / DAY:.0f} days" if left > 0 else f"ended {-left / DAY:.0f} days ago"
        urgency = Urgency.LOSING if left <= 0 else Urgency.SOON if left < ENDS_NOW else Urgency.ADVICE
        yield Finding(
            urgency, key, f"the certificate {when}", "write a new one into the file; it is read again by itself"
        )


def in_clocks(sink: float, here: float) -> Iterator[Finding]:
    """The sink's clock (the `Date` of an answer) beside this machine's, both in seconds since the epoch."""
    if abs(sink - here) > CLOCK_SECONDS:
        way = "ahead of" if sink > here else "behind"
        yield Finding(
            Urgency.ADVICE,
            "clock",
            f"the sink's is {abs(sink - here):,.0f} s {way} this machine's",
            "let both follow a time server: times of arrival, rate limits and certificates hang on it",
        )

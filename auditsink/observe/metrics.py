"""The sink's figures for Prometheus: a snapshot rendered as metric families, beside those of process and Python.

Counters of events come from the cursors and so go on over restarts; those of requests begin at zero.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry
from prometheus_client.utils import floatToGoString

from auditsink import __version__
from auditsink.backup.statistics import BackupState, BackupStatistics
from auditsink.forward.reporting import DestinationState, ForwarderStatistics
from auditsink.observe import health
from auditsink.observe.expiry import Expiry
from auditsink.observe.snapshot import Snapshot
from auditsink.receive.statistics import ACK_BUCKETS, ReceiveStatistics
from auditsink.spool.statistics import SYNC_BUCKETS, SpoolStatistics

_PROCESS = CollectorRegistry(auto_describe=False)
for _collector in (ProcessCollector, PlatformCollector, GCCollector):
    _collector(registry=_PROCESS)

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN = openmetrics.CONTENT_TYPE_LATEST
"""The formats, as the Content-Type of an answer says them."""

_UP = frozenset({DestinationState.DELIVERING, DestinationState.IDLE})


class _Families:
    """What `prometheus_client` asks of a registry."""

    def __init__(self, snapshot: Snapshot, expiries: Sequence[Expiry]) -> None:
        self._snapshot = snapshot
        self._expiries = expiries

    def collect(self) -> Iterator[Metric]:
        yield from _PROCESS.collect()
        yield from families(self._snapshot)
        yield _certificates(self._expiries)


def wanted(accept: str) -> str:
    """`PLAIN` or `OPEN`: what an `Accept` header asks for."""
    for part in accept.split(","):
        kind, *parameters = (one.strip() for one in part.split(";"))
        given = dict(one.split("=", 1) for one in parameters if "=" in one)
        if kind == "application/openmetrics-text" and given.get("version") == "1.0.0":
            return OPEN if given.get("escaping", "underscores") == "underscores" else PLAIN
    return PLAIN


def render(snapshot: Snapshot, kind: str, expiries: Sequence[Expiry] = ()) -> bytes:
    """The text in a format, `PLAIN` or `OPEN`; run it off the loop."""
    several = _Families(snapshot, expiries)
    if kind == OPEN:
        content: bytes = openmetrics.generate_latest(several)  # type: ignore[no-untyped-call]
        return content
    return b"".join(map(_plain, several.collect()))


def _plain(family: Metric) -> bytes:
    """A family in Prometheus' text format 0.0.4, where `_total` and `_info` belong to its name."""
    ending, kind = {"counter": ("_total", "counter"), "info": ("_info", "gauge")}.get(family.type, ("", family.type))
    name = family.name + ending
    lines = [f"# HELP {name} {_escaped(family.documentation)}\n", f"# TYPE {name} {kind}\n"]
    for sample in family.samples:
        labels = ",".join(f'{label}="{_quoted(value)}"' for label, value in sorted(sample.labels.items()))
        value = floatToGoString(sample.value)  # type: ignore[no-untyped-call]
        lines.append(f"{sample.name}{labels and f'{{{labels}}}'} {value}\n")
    return "".join(lines).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', r"\"")


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Everything but process and Python."""
    yield InfoMetricFamily("auditsink_build", "The running version.", {"version": __version__})
    yield GaugeMetricFamily("auditsink_ready", "1 when /readyz says ready.", float(not health.reasons(snapshot)))
    skipped = CounterMetricFamily("auditsink_log_lines_skipped", "Log lines that nobody read.")
    skipped.add_metric([], snapshot.log_lines_skipped)
    yield skipped
    reloads = CounterMetricFamily(
        "auditsink_reloads", "Configurations read again, by what came of it.", labels=["result"]
    )
    for result in ("applied", "unchanged", "refused"):
        reloads.add_metric([result], snapshot.reloads.get(result, 0))
    yield reloads
    yield from _receive(snapshot.receive)
    yield from _spool(snapshot.spool)
    yield from _accounts(snapshot.destinations)
    waiting = GaugeMetricFamily("auditsink_dead_letters", "Dead letters that wait.", labels=["cluster", "destination"])
    for destination in snapshot.destinations:
        for cluster in destination.accounts:
            waiting.add_metric([cluster, destination.name], destination.dead_letters.by_cluster.get(cluster, 0))
    yield waiting
    yield from _destinations(snapshot.destinations)
    yield from _unfetched(snapshot.destinations)
    if snapshot.backup is not None:
        yield from _backup(snapshot.backup)


def _backup(one: BackupStatistics) -> Iterator[Metric]:
    age = float("+Inf") if one.age_seconds is None else one.age_seconds
    for name, text, number in (
        ("age_seconds", "How old the state is that a restore would bring back; +Inf: none is complete yet.", age),
        ("up", "1 when the spool is copied, 0 when the store or another sink prevents it.", _copies(one)),
        ("pending_bytes", "What is durable and not in the copy, at the last look.", one.pending_bytes),
        ("stored_bytes", "What the copy holds of the spool.", one.stored_bytes),
        ("left_copies", "Older copies that wait for a person.", len(one.left)),
        ("undeleted_objects", "Objects that nothing needs and that the store has not let go.", one.undeleted),
        ("every_seconds", "How often the spool is to be copied: spool.backup.every.", one.every),
    ):
        yield GaugeMetricFamily(f"auditsink_backup_{name}", text, float(number))
    for name, text, number in (
        ("uploaded_bytes", "Bytes of segments and other files sent to the store.", one.uploaded_bytes),
        ("requests", "Requests to the store.", one.requests),
        ("failures", "Rounds that failed.", one.failures),
    ):
        yield CounterMetricFamily(f"auditsink_backup_{name}", text, float(number))


def _copies(one: BackupStatistics) -> int:
    return int(one.state is BackupState.COPYING)


def _receive(receive: ReceiveStatistics) -> Iterator[Metric]:
    for name, text, number in (
        ("connections", "Open connections on the receive port.", receive.connections),
        ("in_flight_bytes", "What receive.max_in_flight limits.", receive.in_flight_bytes),
    ):
        yield GaugeMetricFamily(f"auditsink_receive_{name}", text, float(number))
    yield CounterMetricFamily(
        "auditsink_received_requests", "Requests on the receive port, however they ended.", float(receive.requests)
    )
    for field, name, text in (
        ("batches", "received_batches", "Batches accepted."),
        ("events", "received_events", "Events accepted."),
        ("bytes", "received_bytes", "Bytes of accepted bodies, uncompressed."),
        ("duplicates", "duplicate_batches", "Repeated batches, answered 200 and not stored again."),
    ):
        counter = CounterMetricFamily(f"auditsink_{name}", text, labels=["cluster"])
        for cluster, one in receive.clusters.items():
            counter.add_metric([cluster], getattr(one, field))
        yield counter
    yield CounterMetricFamily(
        "auditsink_unsplit_batches", "Accepted batches that could not be split into events.", float(receive.unsplit)
    )
    rejected = CounterMetricFamily("auditsink_rejected_requests", "Requests refused.", labels=["reason"])
    for reason, count in receive.rejected.items():
        rejected.add_metric([reason], count)
    yield rejected
    yield _histogram(
        "auditsink_ack",
        "From a request's last byte to its answer.",
        ACK_BUCKETS,
        receive.ack_counts,
        receive.ack_seconds,
    )


def _spool(spool: SpoolStatistics) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "auditsink_spool_limit_bytes", "spool.max_bytes, of all rings together.", float(spool.max_bytes)
    )
    for name, text in (
        ("bytes", "Disk that the ring's segments take."),
        ("wanted_bytes", "The part of it that some destination has not got yet."),
        ("reserved_bytes", "What of spool.max_bytes nobody else can take."),
        ("room_bytes", "What the ring may take beyond wanted_bytes."),
        ("segments", "Files of the ring."),
        ("oldest_seconds", "Age of the oldest segment held."),
    ):
        gauge = GaugeMetricFamily(f"auditsink_spool_{name}", text, labels=["cluster"])
        for ring in spool.rings:
            gauge.add_metric([ring.cluster], getattr(ring, name))
        yield gauge
    damaged = CounterMetricFamily(
        "auditsink_spool_damaged_bytes", "Bytes that failed their checksum.", labels=["cluster"]
    )
    for ring in spool.rings:
        damaged.add_metric([ring.cluster], ring.damaged_bytes)
    yield damaged
    dropped = GaugeMetricFamily(
        "auditsink_destination_last_drop_timestamp_seconds",
        "When events were dropped last that the destination had not got (since the start).",
        labels=["destination", "cluster"],
    )
    for ring in spool.rings:
        for destination, drop in ring.drops.items():
            dropped.add_metric([destination, ring.cluster], drop.at_ns / 1e9)
    yield dropped
    yield _histogram(
        "auditsink_spool_sync", "One group commit's sync.", SYNC_BUCKETS, spool.sync_counts, spool.sync_seconds
    )


def _accounts(destinations: Sequence[ForwarderStatistics]) -> Iterator[Metric]:
    """For each destination and cluster: accepted = delivered + filtered + dead_lettered + dropped + pending."""
    labels = ["destination", "cluster"]
    ends = ("accepted", "delivered", "filtered", "dead_lettered", "dropped")
    counters = {
        name: CounterMetricFamily(
            f"auditsink_destination_{name}_events", f"Events {name.replace('_', '-')}.", labels=labels
        )
        for name in ends
    }
    pending = GaugeMetricFamily("auditsink_destination_pending_events", "Events still to be delivered.", labels=labels)
    for destination in destinations:
        for cluster, account in destination.accounts.items():
            for name, counter in counters.items():
                counter.add_metric([destination.name, cluster], getattr(account, name))
            pending.add_metric([destination.name, cluster], account.pending)
    yield from (*counters.values(), pending)


def _unfetched(destinations: Sequence[ForwarderStatistics]) -> Iterator[Metric]:
    """Only where the spool is a topic."""
    known = [(one.name, one.unfetched) for one in destinations if one.unfetched is not None]
    for field, text in (
        ("records", "Records of the topic behind those that are fetched."),
        ("events", "Events in them, estimated; pending_events has those before."),
        ("bytes", "Their bytes in the topic, estimated."),
    ):
        gauge = GaugeMetricFamily(f"auditsink_destination_unfetched_{field}", text, labels=["destination"])
        for name, one in known:
            gauge.add_metric([name], getattr(one, field))
        if known:
            yield gauge


def _destinations(destinations: Sequence[ForwarderStatistics]) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "auditsink_destination_lag_seconds", "Age of the oldest event that is not delivered.", labels=["destination"]
    )
    up = GaugeMetricFamily(
        "auditsink_destination_up", "1 when the destination takes events, 0 when it does not.", labels=["destination"]
    )
    states = GaugeMetricFamily(
        "auditsink_destination_state", "1 for the state it is in, 0 for the others.", labels=["destination", "state"]
    )
    requests = CounterMetricFamily(
        "auditsink_destination_requests", "Attempts, by what they came to.", labels=["destination", "code"]
    )
    retries = CounterMetricFamily(
        "auditsink_destination_retries", "Attempts that will be repeated, by reason.", labels=["destination", "reason"]
    )
    for destination in destinations:
        lag.add_metric([destination.name], destination.lag_seconds)
        up.add_metric([destination.name], float(destination.state in _UP))
        for state in DestinationState:
            states.add_metric([destination.name, state.value], float(destination.state is state))
        for code, count in destination.requests.items():
            requests.add_metric([destination.name, code], count)
        for reason, count in destination.retries.items():
            retries.add_metric([destination.name, reason], count)
    yield from (lag, up, states, requests, retries, *_events_beside_the_account(destinations))


def _events_beside_the_account(destinations: Sequence[ForwarderStatistics]) -> Iterator[Metric]:
    """What the account does not tell apart."""
    counters = {
        "repeated": ("auditsink_destination_repeated_events", "Events sent again that may have been there already."),
        "diverted": ("auditsink_destination_diverted_events", "Delivered events that the destination keeps apart."),
        "dropped_dead_letters": ("auditsink_dead_letters_dropped", "Dead letters thrown away for want of room."),
    }
    for key, (name, text) in counters.items():
        family = CounterMetricFamily(name, text, labels=["destination"])
        for destination in destinations:
            family.add_metric([destination.name], getattr(destination, key))
        yield family


def _certificates(expiries: Sequence[Expiry]) -> Metric:
    ends = GaugeMetricFamily(
        "auditsink_certificate_expiry_timestamp_seconds",
        "When the first certificate in the file of this configuration key ends, seconds since the epoch.",
        labels=["key"],
    )
    for expiry in expiries:
        ends.add_metric([expiry.key], expiry.at)
    return ends


def _histogram(name: str, text: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    """`counts` has one entry for each bound and one for all that is longer."""
    ends = [*map(str, bounds), "+Inf"]
    return HistogramMetricFamily(
        f"{name}_seconds", text, buckets=list(zip(ends, accumulate(counts), strict=True)), sum_value=total
    )

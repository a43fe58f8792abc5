"""The metrics, read back by Prometheus' own parser."""

import math
from collections.abc import Iterator

import pytest
from moments import BACKUP, moment
from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from auditsink.observe import metrics
from auditsink.observe.expiry import Expiry

PROMISED = """
auditsink_received_requests_total auditsink_received_batches_total auditsink_received_events_total
auditsink_received_bytes_total auditsink_rejected_requests_total auditsink_duplicate_batches_total
auditsink_ack_seconds_bucket auditsink_ack_seconds_sum auditsink_ack_seconds_count
auditsink_spool_bytes auditsink_spool_limit_bytes auditsink_spool_segments auditsink_spool_oldest_seconds
auditsink_spool_damaged_bytes_total auditsink_spool_sync_seconds_bucket auditsink_spool_sync_seconds_sum
auditsink_destination_accepted_events_total auditsink_destination_delivered_events_total
auditsink_destination_filtered_events_total auditsink_destination_dead_lettered_events_total
auditsink_destination_dropped_events_total auditsink_destination_pending_events auditsink_destination_lag_seconds
auditsink_destination_up auditsink_destination_state auditsink_spool_wanted_bytes
auditsink_unsplit_batches_total
auditsink_certificate_expiry_timestamp_seconds auditsink_destination_requests_total auditsink_destination_retries_total
process_resident_memory_bytes process_cpu_seconds_total python_info python_gc_collections_total
"""

Sample = tuple[str, frozenset[tuple[str, str]], float]


def samples() -> Iterator[Sample]:
    text = metrics.render(moment(), metrics.PLAIN, [Expiry("receive.tls.cert_file", 1_800_000_000.0)])
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            yield sample.name, frozenset(sample.labels.items()), sample.value


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(name, labels): value for name, labels, value in samples()}


def test_every_promised_name_is_there(found: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> None:
    assert set(PROMISED.split()) - {name for name, _ in found} == set()


def test_only_bounded_labels_are_used(found: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> None:
    ours = {label for name, labels in found if name.startswith("auditsink_") for label, _ in labels}
    assert ours == {"cluster", "destination", "reason", "code", "le", "version", "state", "key", "result"}


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("auditsink_ready", {}, 1),
        ("auditsink_received_requests_total", {}, 9),
        ("auditsink_rejected_requests_total", {"reason": "disk"}, 3),
        ("auditsink_received_events_total", {"cluster": "prod"}, 45),
        ("auditsink_received_bytes_total", {"cluster": "test"}, 500),
        ("auditsink_duplicate_batches_total", {"cluster": "prod"}, 2),
        ("auditsink_unsplit_batches_total", {}, 0),
        ("auditsink_receive_connections", {}, 7),
        ("auditsink_receive_in_flight_bytes", {}, 99),
        ("auditsink_ack_seconds_sum", {}, 1.5),
        ("auditsink_spool_limit_bytes", {}, 4000),
        ("auditsink_spool_bytes", {"cluster": "prod"}, 1000),
        ("auditsink_spool_damaged_bytes_total", {"cluster": "test"}, 8),
        ("auditsink_spool_sync_seconds_bucket", {"le": "0.001"}, 4),
        ("auditsink_spool_sync_seconds_bucket", {"le": "+Inf"}, 26),
        ("auditsink_spool_sync_seconds_count", {}, 26),
        ("auditsink_destination_accepted_events_total", {"destination": "siem", "cluster": "prod"}, 100),
        ("auditsink_destination_pending_events", {"destination": "siem", "cluster": "test"}, 20),
        ("auditsink_destination_lag_seconds", {"destination": "siem"}, 7.25),
        ("auditsink_destination_up", {"destination": "siem"}, 0),
        ("auditsink_destination_up", {"destination": "disk"}, 1),
        ("auditsink_destination_state", {"destination": "siem", "state": "retrying"}, 1),
        ("auditsink_destination_state", {"destination": "siem", "state": "misconfigured"}, 0),
        ("auditsink_spool_wanted_bytes", {"cluster": "prod"}, 800),
        ("auditsink_certificate_expiry_timestamp_seconds", {"key": "receive.tls.cert_file"}, 1_800_000_000),
        ("auditsink_destination_requests_total", {"destination": "siem", "code": "retry"}, 2),
        ("auditsink_destination_retries_total", {"destination": "siem", "reason": "failed"}, 2),
    ],
)
def test_a_figure_is_right(
    found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, labels: dict[str, str], value: float
) -> None:
    assert found[name, frozenset(labels.items())] == value


def test_the_five_add_up_for_each_destination_and_cluster(
    found: dict[tuple[str, frozenset[tuple[str, str]]], float],
) -> None:
    accepted = {labels: value for (name, labels), value in found.items() if name.endswith("_accepted_events_total")}
    assert len(accepted) == 4
    for labels, value in accepted.items():
        ends = ("delivered_events_total", "filtered_events_total", "dead_lettered_events_total", "dropped_events_total")
        parts = [found[f"auditsink_destination_{name}", labels] for name in (*ends, "pending_events")]
        assert sum(parts) == value


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    assert metrics.OPEN.startswith("application/openmetrics-text")
    assert metrics.render(moment(), metrics.OPEN).endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", metrics.PLAIN),
        ("*/*", metrics.PLAIN),
        ("application/openmetrics-text; version=1.0.0", metrics.OPEN),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", metrics.OPEN),
        ("text/plain;version=0.0.4, application/openmetrics-text ; version=1.0.0", metrics.OPEN),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.3", metrics.PLAIN),
        ("application/openmetrics-text;version=0.0.1", metrics.PLAIN),
        (";=;,=,", metrics.PLAIN),
    ],
)
def test_the_accept_header_decides_which_format_is_spoken(accept: str, kind: str) -> None:
    assert metrics.wanted(accept) == kind


def test_the_plain_text_is_the_one_that_the_library_writes() -> None:
    odd = CounterMetricFamily("odd", 'a "line"\nand a \\', labels=["label", "another"])
    odd.add_metric(['a "quoted" \\ one\n', ""], math.inf)
    odd.add_metric(["\u00fc", "x"], 1e17)

    class Families:
        def collect(self) -> Iterator[Metric]:
            yield from metrics.families(moment(backup=BACKUP))
            yield odd

    ours = b"".join(map(metrics._plain, Families().collect()))
    assert ours == generate_latest(Families())

"""The sink's numbers in fluent-bit's words, and what health says of them."""

import re
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from auditsink.fluentbit.numbers import Families, FluentNumbers, families, more_families, storage, uptime
from auditsink.fluentbit.translate import FluentOutput, HealthRules
from auditsink.forward.reporting import DestinationState, ForwarderStatistics
from auditsink.observe.snapshot import Phase, Snapshot
from auditsink.receive.statistics import ReceiveCounters
from auditsink.spool.statistics import RingStatistics, SpoolStatistics
from auditsink.spool.types import Account

OUTPUTS = (FluentOutput("null.0", None), FluentOutput("splunk.1", "splunk"))


def destination(state: DestinationState = DestinationState.IDLE, **ends: int) -> ForwarderStatistics:
    account = Account(
        **({"accepted": 0, "delivered": 0, "filtered": 0, "dead_lettered": 0, "dropped": 0, "pending": 0} | ends)
    )
    return ForwarderStatistics(
        "splunk", "splunk", state, (), 0.0, {}, {"failed": 3, "asked": 1}, 2, 700, 1, 0.0, {"prod": account}
    )


def snapshot(one: ForwarderStatistics | None = None, *, problem: str | None = None, room: int = 10) -> Snapshot:
    counters = ReceiveCounters()
    counters.cluster("prod").requests = 1
    counters.cluster("prod").events = 9
    counters.cluster("prod").bytes = 900
    receive = counters.read(connections=1, in_flight_bytes=50, problems=())
    ring = RingStatistics("prod", 4096, 1024, 0, room, 2, 1.0, 0, 9, 0)
    spool = SpoolStatistics(4096, (ring,), (0,), 0.0, problem)
    return Snapshot(Phase.RUNNING, (), receive, spool, (one or destination(),))


def numbers(**rules: Any) -> FluentNumbers:
    settings = {"on": True, "period": 60.0, "errors": 0, "retries_failed": 0} | rules
    return FluentNumbers(OUTPUTS, ("modify.0",), HealthRules(**settings), 1_000.0, rejects=True)


def test_names_are_fluent_bits_and_counts_begin_with_the_process() -> None:
    found = numbers()
    found.look(0.0, snapshot(destination(delivered=100, dead_lettered=5, dropped=7)))

    document = found.metrics(snapshot(destination(delivered=103, dead_lettered=6, dropped=9)))

    assert document["input"] == {"http.0": {"records": 9, "bytes": 900}}
    assert document["filter"]["modify.0"]["records"] == 9
    assert document["output"]["null.0"]["proc_records"] == 9
    assert document["output"]["splunk.1"] == {
        "proc_records": 3, "proc_bytes": 700, "errors": 1, "retries": 0, "retries_failed": 2, "dropped_records": 3,
        "retried_records": 4,
    }  # fmt: skip


HEALTHY: list[tuple[str, Snapshot, Snapshot, dict[str, int], bool]] = [
    ("all is well", snapshot(), snapshot(destination(delivered=5)), {}, True),
    ("a retry", snapshot(), snapshot(destination(DestinationState.RETRYING)), {}, True),
    ("a pause", snapshot(), snapshot(destination(DestinationState.MISCONFIGURED)), {}, False),
    ("a dead letter", snapshot(), snapshot(destination(dead_lettered=1)), {}, False),
    ("a dead letter within the limit", snapshot(), snapshot(destination(dead_lettered=1)), {"errors": 1}, True),
    ("a drop", snapshot(), snapshot(destination(dropped=1)), {}, False),
    ("old drops", snapshot(destination(dropped=5)), snapshot(destination(dropped=5)), {}, True),
    ("the ring is full", snapshot(), snapshot(room=0), {}, False),
    ("the disk fails", snapshot(), snapshot(problem="the disk fails"), {}, False),
]


@pytest.mark.parametrize(
    ("before", "now", "rules", "healthy"), [row[1:] for row in HEALTHY], ids=[row[0] for row in HEALTHY]
)
def test_health(before: Snapshot, now: Snapshot, rules: dict[str, int], *, healthy: bool) -> None:
    found = numbers(**rules)
    found.look(0.0, before)
    found.look(1.0, now)

    assert found.healthy(now) == healthy


def test_what_is_over_is_forgotten_after_the_period() -> None:
    found, bad = numbers(), snapshot(destination(dead_lettered=1))
    found.look(0.0, snapshot())
    found.look(1.0, bad)
    found.look(30.0, bad)
    assert not found.healthy(bad)
    found.look(61.0, bad)
    found.look(62.0, bad)

    assert found.healthy(bad)


def test_a_destination_that_tries_again_for_long_is_not_healthy() -> None:
    found, trouble = numbers(), snapshot(destination(DestinationState.RETRYING))
    for second in range(31):
        found.look(float(second), trouble)

    assert not found.healthy(trouble)
    assert found.of(trouble)["splunk.1"].retries == 1
    assert found.of(trouble)["splunk.1"].errors == 0


def rendered(*several: Any) -> dict[str, dict[str, float]]:
    text = generate_latest(Families(several)).decode()
    assert len(set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))) == text.count("# TYPE ")
    return {
        sample.name: {
            sample.labels.get("name", ""): sample.value for sample in family.samples if sample.name == one.name
        }
        for family in text_string_to_metric_families(text)
        for one in family.samples
        for sample in [one]
    }


def test_prometheus_gets_the_names_that_dashboards_know() -> None:
    found = numbers()
    found.look(0.0, snapshot())
    now = snapshot(destination(delivered=3), room=0)

    names = rendered(*families(found, now, 61.5), *more_families(found, now))

    assert names["fluentbit_output_proc_records_total"]["splunk.1"] == 3
    assert names["fluentbit_input_records_total"]["http.0"] == 9
    assert names["fluentbit_uptime"][""] == 61
    assert names["fluentbit_input_ingestion_paused"]["http.0"] == 1
    assert names["fluentbit_output_chunk_available_capacity_percent"]["splunk.1"] == 75
    expected = {f"fluentbit_output_{name}_total" for name in ("errors", "retries", "retries_failed", "dropped_records",
                "retried_records", "proc_bytes")}  # fmt: skip
    assert expected | {"fluentbit_storage_fs_chunks", "process_start_time_seconds", "fluentbit_build_info"} < set(names)


def test_a_ring_that_drops_the_oldest_pauses_nobody() -> None:
    found = replace(numbers(), rejects=False)
    full = snapshot(room=0)

    names = rendered(*more_families(found, full))

    assert names["fluentbit_input_ingestion_paused"]["http.0"] == 0
    assert names["fluentbit_input_storage_overlimit"]["http.0"] == 1


def test_documents_of_storage_and_uptime() -> None:
    assert storage(snapshot())["storage_layer"]["chunks"]["fs_chunks"] == 2
    assert storage(snapshot())["input_chunks"]["http.0"]["chunks"]["busy_size"] == "1024b"
    assert uptime(90_061.9) == {
        "uptime_sec": 90_061,
        "uptime_hr": "auditsink has been running: 1 days, 1 hours, 1 minutes and 1 seconds",
    }

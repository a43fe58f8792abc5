"""Health and `/status`, from snapshots."""

from dataclasses import replace

import pytest
from moments import FILE, RECEIVE, SIEM, SPOOL, moment

from auditsink.cli import tables
from auditsink.common.secret import Secret
from auditsink.forward.reporting import DestinationState, HeldCluster
from auditsink.forward.source import Unfetched
from auditsink.observe import health, metrics, status
from auditsink.observe.snapshot import Phase, Snapshot
from auditsink.observe.verdict import VerdictLevel, all_of, of_destination, verdict
from auditsink.receive.statistics import ClusterStatistics, Refusals
from auditsink.spool.types import Account, Drop


def test_a_running_sink_is_ready_also_with_a_destination_in_trouble() -> None:
    ready, text = health.readiness(moment())
    assert ready
    assert text.splitlines() == [
        "ready",
        "look: siem takes nothing: no answer <b>",
        "look: 8 bytes in the spool are damaged; all else is read",
    ]


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (moment(phase=Phase.STARTING), "the sink is starting"),
        (moment(phase=Phase.STOPPING), "the sink is stopping"),
        (moment(failures=("delivery to siem died",)), "delivery to siem died"),
        (moment(spool=replace(SPOOL, problem="the disk failed")), "spool: the disk failed"),
    ],
)
def test_a_sink_that_would_not_keep_a_batch_is_not_ready(snapshot: Snapshot, reason: str) -> None:
    ready, text = health.readiness(snapshot)
    assert not ready
    assert text.startswith(f"not ready: {reason}\n")
    assert status.document(snapshot)["ready"] is False
    assert status.document(snapshot)["reasons"] == [reason]


def test_a_held_cluster_is_told_in_status_and_as_a_worry() -> None:
    held = {"test": HeldCluster("no topic", 29.56789), "prod": HeldCluster("no right", 1.0)}
    found = moment(destinations=(replace(SIEM, state=DestinationState.MISCONFIGURED, held=held),))

    assert status.document(found)["destinations"][0]["held"] == [
        {"cluster": "prod", "why": "no right", "next_attempt_seconds": 1.0},
        {"cluster": "test", "why": "no topic", "next_attempt_seconds": 29.568},
    ]
    assert "destination siem does not take the events of cluster prod (and 1 more): no right" in health.worries(found)


def test_misconfiguration_drops_and_unreadable_files_are_worries() -> None:
    wrong = replace(SIEM, state=DestinationState.MISCONFIGURED, last_errors=())
    lossy = replace(FILE, accounts={"prod": Account(10, 5, 0, 0, 5, 0)})
    receive = replace(RECEIVE, problems=("tokens: is empty",))
    assert health.worries(moment(destinations=(wrong, lossy), spool=replace(SPOOL, rings=()), receive=receive)) == [
        "destination siem is misconfigured: no answer yet",
        "destination siem lost 1 events that were dropped",
        "destination disk lost 5 events that were dropped",
        "receive: tokens: is empty",
    ]


def test_batches_that_could_not_be_split_are_a_worry() -> None:
    clusters = {"prod": ClusterStatistics(6, 4, 45, 4500, 2, 3), "test": ClusterStatistics(unsplit=1)}
    worried = moment(receive=replace(RECEIVE, clusters=clusters), destinations=(), spool=replace(SPOOL, rings=()))
    (worry,) = health.worries(worried)
    assert worry.startswith("receive: 4 batches since the start could not be split")
    assert verdict(worried).level is VerdictLevel.LOOK
    assert status.document(worried)["worries"] == [worry]


def test_the_last_refusal_of_a_kind_is_told_without_secrets() -> None:
    known = Secret("very-secret-path")
    row = Refusals(1_700_000_000_000_000_000, 1_700_000_000_000_000_000)
    row.add(1_700_000_001_000_000_000, "nothing is here", "10.0.0.7:4711", "/k8s-audit/very-secret-path")
    assert known
    assert status.document(moment(receive=replace(RECEIVE, refusals={"not_found": row})))["refusals"] == [
        {
            "reason": "not_found", "count": 1, "since": "2023-11-14T22:13:20Z", "last": "2023-11-14T22:13:21Z",
            "sentence": "nothing is here", "peers": {"10.0.0.7": 1}, "peer": "10.0.0.7:4711", "path": "/k8s-audit/***",
        }
    ]  # fmt: skip


def test_the_status_is_what_is_promised() -> None:
    found = status.document(moment())
    clusters = found.pop("clusters")
    assert found.pop("version")
    assert found == {
        "state": "running", "ready": True, "reasons": [], "accepted_events": 130, "accepted_batches": 5,
        "duplicate_batches": 2, "rejected_requests": {"full": 1, "disk": 3},
        "worries": health.worries(moment()), "verdict": verdict(moment()).document(), "refusals": [],
        "concerns": [one.document() for one in all_of(moment())], "removed_destinations": [], "backup": None,
        "spool": {
            "bytes": 1500, "wanted_bytes": 800, "max_bytes": 4000, "segments": 4, "oldest_seconds": 12.346,
            "first_sequence": 10, "next_sequence": 130, "damaged_bytes": 8,
        },
        "destinations": [
            {
                "name": "disk", "type": "file", "state": "idle", "level": "good",
                "concerns": [], "accepted": 120, "delivered": 120, "filtered": 0,
                "dead_lettered": 0, "dropped": 0, "pending": 0, "unfetched": None,
                    "lag_seconds": 0.0, "last_error": None,
                "last_error_at": None, "last_error_over": False, "last_errors": [], "since": None,
                "last_delivered_at": None,
                "dead_letters": {"waiting": 0, "thrown_away": 0, "reasons": []},
                "next_attempt_seconds": 0.0, "held": [], "advice": [],
            },
            {
                "name": "siem", "type": "splunk", "state": "retrying", "level": "look",
                "concerns": [one.document() for one in of_destination(SIEM, moment())],
                "accepted": 120, "delivered": 50, "filtered": 10,
                "dead_lettered": 5, "dropped": 1, "pending": 54, "unfetched": None,
                    "lag_seconds": 7.25, "last_error": "no answer <b>",
                "last_error_at": "2023-11-14T22:13:20Z", "last_error_over": True, "since": None,
                "last_errors": [
                    {
                        "text": "no answer <b>", "count": 3,
                        "since": "2023-11-14T21:56:40Z", "last": "2023-11-14T22:13:20Z",
                    }
                ],
                "last_delivered_at": None, "dead_letters": {"waiting": 0, "thrown_away": 0, "reasons": []},
                "next_attempt_seconds": 1.5,
                "held": [],
                "advice": status.advice(SIEM),
            },
        ],
    }  # fmt: skip
    assert [one["cluster"] for one in clusters] == ["prod", "test"]
    assert clusters[1]["spool"]["next_sequence"] == 20
    assert clusters[0]["destinations"][1] == {
        "name": "siem", "accepted": 100, "delivered": 50, "filtered": 10, "dead_lettered": 5, "dropped": 1,
        "pending": 34, "drop": None,
    }  # fmt: skip


def test_a_destination_that_is_configured_no_longer_is_told_everywhere() -> None:
    found = moment(spool=replace(SPOOL, abandoned={"old": 1200}))
    assert status.document(found)["removed_destinations"] == [{"name": "old", "undelivered": 1200}]
    assert any("removed destination old has not got 1,200 events" in worry for worry in health.worries(found))
    assert any("old is configured no longer, and 1,200 events" in one.text for one in all_of(found))


def test_a_drop_is_told_with_its_range_its_cluster_and_its_time() -> None:
    drop = Drop(5, 30, 20, 1_700_000_000_000_000_000).merged(Drop(31, 44, 14, 1_700_000_060_000_000_000))
    older = Drop(0, 9, 10, 1_600_000_000_000_000_000)
    prod, test = SPOOL.rings
    rings = (replace(prod, drops={"siem": drop}), replace(test, drops={"siem": older}))
    found = moment(spool=replace(SPOOL, rings=rings))
    stated = status.document(found)["clusters"][0]["destinations"]
    assert [one["drop"] for one in stated] == [
        None,
        {"first_sequence": 5, "last_sequence": 44, "events": 34, "at": "2023-11-14T22:14:20Z"},
    ]
    ready, text = health.readiness(found)
    assert ready, "the sink does what it was told to do"
    assert "bad: siem never gets 44 events that were dropped from a full ring" in text
    assert (
        "destination siem lost 1 events that were dropped; since the start 34 of cluster prod between 5 and 44, "
        "the last at 2023-11-14T22:14:20Z"
    ) in health.worries(found)
    samples = {
        tuple(sample.labels.values()): sample.value
        for family in metrics.families(found)
        for sample in family.samples
        if sample.name == "auditsink_destination_last_drop_timestamp_seconds"
    }
    assert samples == {("siem", "prod"): 1_700_000_060.0, ("siem", "test"): 1_600_000_000.0}


def test_an_empty_sink_has_a_status() -> None:
    found = status.document(moment(destinations=(), spool=replace(SPOOL, rings=())))
    assert (found["accepted_events"], found["spool"]["oldest_seconds"], found["clusters"]) == (0, 0.0, [])


def test_what_no_forwarder_has_fetched_of_a_topic_is_told_and_counts() -> None:
    one = replace(SIEM, unfetched=Unfetched(3, 30, 400))
    assert one.pending == SIEM.pending + 30
    found = status.document(moment(destinations=(one,)))["destinations"][0]
    assert (found["unfetched"], found["pending"]) == ({"records": 3, "events": 30, "bytes": 400}, SIEM.pending)
    assert tables.pending(found) == f"{SIEM.pending:,} + ~30"
    text = metrics.render(moment(destinations=(one, FILE)), metrics.PLAIN).decode()
    assert [line for line in text.splitlines() if line.startswith("auditsink_destination_unfetched")] == [
        'auditsink_destination_unfetched_records{destination="siem"} 3.0',
        'auditsink_destination_unfetched_events{destination="siem"} 30.0',
        'auditsink_destination_unfetched_bytes{destination="siem"} 400.0',
    ]
    assert "unfetched" not in metrics.render(moment(destinations=(FILE,)), metrics.PLAIN).decode()

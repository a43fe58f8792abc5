"""Snapshots of a sink that a test can vary."""

from dataclasses import replace
from typing import Any

from auditsink.backup.statistics import BackupState, BackupStatistics
from auditsink.forward.reporting import DestinationState, ForwarderStatistics, LastError
from auditsink.observe.snapshot import Phase, Snapshot
from auditsink.receive.statistics import ACK_BUCKETS, ClusterStatistics, ReceiveStatistics
from auditsink.spool.statistics import SYNC_BUCKETS, RingStatistics, SpoolStatistics
from auditsink.spool.types import Account

RECEIVE = ReceiveStatistics(
    requests=9, batches=5, events=50, bytes=5000, duplicates=2, rejected={"full": 1, "disk": 3},
    ack_counts=(1,) * (len(ACK_BUCKETS) + 1), ack_seconds=1.5, connections=7, in_flight_bytes=99,
    clusters={"prod": ClusterStatistics(6, 4, 45, 4500, 2), "test": ClusterStatistics(1, 1, 5, 500, 0)},
)  # fmt: skip
PROD = RingStatistics("prod", 1000, 800, 600, 2600, 3, 12.3456, 10, 110, 0)
TEST = RingStatistics("test", 500, 0, 0, 2600, 1, 2.0, 0, 20, 8)
SPOOL = SpoolStatistics(4000, (PROD, TEST), (2,) * (len(SYNC_BUCKETS) + 1), 0.25, None)
FILE = ForwarderStatistics(
    name="disk", type="file", state=DestinationState.IDLE, last_errors=(), lag_seconds=0.0,
    requests={"delivered": 4}, retries={}, batches=4, bytes=400, in_flight=0, next_attempt_seconds=0.0,
    accounts={"prod": Account(100, 100, 0, 0, 0, 0), "test": Account(20, 20, 0, 0, 0, 0)},
)  # fmt: skip
SIEM = ForwarderStatistics(
    name="siem", type="splunk", state=DestinationState.RETRYING,
    last_errors=(LastError("no answer <b>", 1_700_000_000_000_000_000, 1_699_999_000_000_000_000, 3),),
    lag_seconds=7.25, requests={"delivered": 3, "retry": 2}, retries={"failed": 2}, batches=3, bytes=300,
    in_flight=1, next_attempt_seconds=1.5,
    accounts={"prod": Account(100, 50, 10, 5, 1, 34), "test": Account(20, 0, 0, 0, 0, 20)},
)  # fmt: skip

BACKUP = BackupStatistics(
    name="prod-1", where="auditsink-backup/prod-1 in the bucket b of Amazon S3", every=10.0, state=BackupState.COPYING,
    age_seconds=4.25, complete_ns=1_700_000_000_000_000_000, pending_bytes=7, stored_bytes=900, uploaded_bytes=1200,
    uploaded_objects=5, requests=40, failures=2,
)  # fmt: skip


def moment(**changes: Any) -> Snapshot:
    """A running sink with two clusters and two destinations, one of them in trouble; with changes."""
    return replace(Snapshot(Phase.RUNNING, (), RECEIVE, SPOOL, (FILE, SIEM)), **changes)

"""What the verdict, the status and the metrics say of the copy."""

from dataclasses import replace

import pytest
from moments import BACKUP, FILE, PROD, SPOOL, moment
from prometheus_client.parser import text_string_to_metric_families

from auditsink.backup.statistics import BackupState, BackupStatistics, RestoredCopy
from auditsink.observe import metrics, status
from auditsink.observe.snapshot import Snapshot
from auditsink.observe.verdict import VerdictLevel, verdict

NOW = 1_795_388_400_000_000_000  # 2026-11-22 23:00:00 UTC
MINUTE = 60 * 10**9
GOOD, LOOK, BAD = VerdictLevel.GOOD, VerdictLevel.LOOK, VerdictLevel.BAD
RESTORED = RestoredCopy(7, NOW - 9 * MINUTE, NOW - 8 * MINUTE, 2, 30, 5000, {"prod": (10, 20)})


def calm(backup: BackupStatistics) -> Snapshot:
    """Nothing is wrong but what the copy says."""
    spool = replace(SPOOL, rings=(replace(PROD, bytes=400, wanted_bytes=100),))
    return moment(destinations=(FILE,), spool=spool, at_ns=NOW, backup=backup)


def away(minutes: int, **more: object) -> BackupStatistics:
    """The store is away for so long."""
    changes: dict[str, object] = {
        "state": BackupState.FAILING, "problem": "HTTP 403", "problem_since_ns": NOW - minutes * MINUTE,
        "age_seconds": 60.0 * minutes, **more,
    }  # fmt: skip
    return replace(BACKUP, **changes)  # type: ignore[arg-type] # whatever a test varies


@pytest.mark.parametrize(
    ("backup", "level", "text"),
    [
        (BACKUP, GOOD, "Batches are taken"),
        (away(10), LOOK, "The spool is not copied since 22:50 UTC, it is 10 min old: HTTP 403"),
        (away(30), BAD, "The spool is not copied since 22:30 UTC, it is 30 min old: HTTP 403"),
        (away(1, age_seconds=None), LOOK, "there is none yet: HTTP 403"),
        (away(1, state=BackupState.LOST, problem="another sink"), BAD, "The spool is copied no longer: another sink"),
        (replace(BACKUP, age_seconds=59.0), GOOD, "Batches are taken"),
        (replace(BACKUP, age_seconds=60.0), LOOK, "The copy of the spool is behind, it is 60 s old"),
        (replace(BACKUP, every=300.0, age_seconds=900.0), GOOD, "Batches are taken"),
        (replace(BACKUP, note="cannot be deleted"), LOOK, "The copy of the spool: cannot be deleted"),
        (replace(BACKUP, left=(4, 5)), LOOK, "2 older copies hold what this spool does not"),
        (
            replace(BACKUP, restored=RESTORED),
            LOOK,
            "restored at 22:52 UTC; what was accepted after 22:51 UTC is missing",
        ),
        (replace(BACKUP, restored=replace(RESTORED, at_ns=NOW - 61 * MINUTE)), GOOD, "Batches are taken"),
    ],
)
def test_the_verdict_of_a_copy(backup: BackupStatistics, level: VerdictLevel, text: str) -> None:
    found = verdict(calm(backup))
    assert found.level is level
    assert text in found.text


def test_the_status_of_a_copy() -> None:
    found = status.document(calm(replace(BACKUP, restored=RESTORED)))["backup"]
    assert (found["age_seconds"], found["complete"], found["state"]) == (4.25, "2023-11-14T22:13:20Z", "copying")
    assert found["restored"]["gaps"] == [{"cluster": "prod", "first_sequence": 10, "last_sequence": 19}]


def test_the_metrics_of_a_copy() -> None:
    text = metrics.render(calm(BACKUP), metrics.PLAIN)
    samples = {
        one.name: one.value for family in text_string_to_metric_families(text.decode()) for one in family.samples
    }
    assert samples["auditsink_backup_age_seconds"] == 4.25
    assert samples["auditsink_backup_up"] == 1
    assert samples["auditsink_backup_uploaded_bytes_total"] == 1200
    text = metrics.render(calm(replace(BACKUP, age_seconds=None, state=BackupState.FAILING)), metrics.PLAIN)
    assert b"auditsink_backup_age_seconds +Inf" in text
    assert b"auditsink_backup_up 0.0" in text
    text = metrics.render(moment(), metrics.PLAIN)
    assert b"auditsink_backup" not in text

"""A backlog that a migration cannot deliver: into a bucket, and out of it in the new seed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gardenerkit import NAMESPACE, OWN, Seed, pending, seed
from running import Sink

from auditsink.cli.gardener import command

BUCKET: dict[str, Any] = {
    "type": "s3", "bucket": "rescue", "region": "eu", "access_key_id": "${resource:lake/token}",
    "secret_access_key_file": "resource:lake/token",
}  # fmt: skip
CONFIG = {**OWN, "evacuation": BUCKET, "replicas": 1}


def jobs_end(it: Seed, condition: str) -> list[dict[str, Any]]:
    """As kube-controller-manager would have it; the Jobs that there were."""
    seen: list[dict[str, Any]] = []

    def told(what: str, key: tuple[str, str, str, str], thing: dict[str, Any]) -> None:
        if key[1] == "jobs" and what == "ADDED":
            seen.append(thing)
            it.api.put("jobs", {**thing, "status": {"conditions": [{"type": condition, "status": "True"}]}})

    it.api.on_change.append(told)
    return seen


def volume(it: Seed) -> None:
    labels = {"app.kubernetes.io/name": "auditsink", "app.kubernetes.io/instance": "gardener"}
    metadata = {"name": "data-auditsink-0", "namespace": NAMESPACE, "labels": labels}
    it.api.put("persistentvolumeclaims", {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata})


async def test_a_migration_leaves_what_it_cannot_deliver_in_the_bucket() -> None:
    async with seed() as it:
        it.fill(CONFIG)
        await it.reconcile()
        volume(it)
        seen = jobs_end(it, "Complete")
        it.run_sinks(pending(7, "siem"))
        it.ask("migrate")
        assert await it.reconcile()
        (job,) = seen
        pod = job["spec"]["template"]["spec"]
        assert pod["containers"][0]["args"][:2] == ["gardener", "evacuate"]
        assert f"{NAMESPACE}/data-auditsink-0" in pod["containers"][0]["args"]
        assert {one["name"] for one in pod["volumes"]} == {"data", "work", "config", "references"}
        assert it.last["description"] == (
            "Migrated; 7 events were not delivered to siem and lie in the bucket of `evacuation` for the new seed"
        )
        assert not it.api.all("jobs")
        assert not it.api.all("persistentvolumeclaims")


async def test_a_bucket_that_takes_nothing_stops_the_migration_and_keeps_the_volumes() -> None:
    async with seed() as it:
        it.fill(CONFIG)
        await it.reconcile()
        volume(it)
        jobs_end(it, "Failed")
        it.run_sinks(pending(7, "siem"))
        it.ask("migrate")
        assert not await it.reconcile()
        assert "Job shoot--p--n/auditsink-evacuate-0 failed" in it.extension["status"]["lastError"]["description"]
        assert it.api.all("persistentvolumeclaims")
        assert it.api.all("managedresources")


async def test_a_restore_takes_it_up_before_the_sink_starts() -> None:
    async with seed() as it:
        it.fill(CONFIG)
        seen = jobs_end(it, "Complete")
        it.ask("restore")
        assert await it.reconcile()
        (job,) = seen
        assert job["spec"]["template"]["spec"]["containers"][0]["args"][:2] == ["gardener", "take-up"]
        (claim,) = it.api.all("persistentvolumeclaims")
        assert claim["metadata"]["name"] == "data-auditsink-0"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"evacuation": {"type": "splunk"}}, "evacuation.type: must be one of s3"),
        ({"evacuation": {**BUCKET, "bucket": "not a name"}}, "destinations[0].bucket"),
        ({"sink": {**OWN["sink"], "spool": {"encryption": {"key_file": "resource:lake/token"}}}}, "is not encrypted"),
    ],
)
async def test_what_cannot_be_a_bucket_is_told(change: dict[str, Any], why: str) -> None:
    async with seed() as it:
        it.fill({**CONFIG, **change})
        assert not await it.reconcile()
        assert why in it.extension["status"]["lastError"]["description"]


async def test_a_real_spool_goes_through_a_bucket_and_every_event_arrives(tmp_path: Path) -> None:
    nowhere = {"name": "siem", "type": "http", "url": "http://127.0.0.1:9/", "backoff": {"initial": "1h", "max": "1h"}}
    events = [{"auditID": f"{number}", "stage": "ResponseComplete", "level": "Metadata"} for number in range(30)]
    kind = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1"}
    async with Sink(tmp_path / "old", [nowhere]) as sink:
        for start in range(0, 30, 10):
            status, _ = await sink.post(json.dumps({**kind, "items": events[start : start + 10]}).encode())
            assert status == 200
        await sink.stop()
    bucket = {"name": "evacuation", "type": "local", "path": str(tmp_path / "bucket")}
    (tmp_path / "bucket").mkdir()

    def on(spool: Path, what: str) -> str:
        file = tmp_path / "evacuation.yaml"
        file.write_text(json.dumps({"spool": {"path": str(spool)}, "destinations": [bucket]}))
        words = [what, "-c", str(file), "--name", "ns/data-auditsink-0", "--work", str(tmp_path)]
        result = CliRunner().invoke(command, words)
        assert result.exit_code == 0, result.output
        return result.output

    assert on(tmp_path / "old" / "spool", "evacuate") == "30 events lie in the bucket\n"
    assert on(tmp_path / "new" / "spool", "take-up") == "30 events were taken up\n"
    assert on(tmp_path / "new" / "spool", "take-up") == "0 events were taken up\n"
    disk = {"name": "siem", "type": "file", "path": str(tmp_path / "out.ndjson")}
    async with Sink(tmp_path / "new", [disk]) as sink:
        await sink.delivered()
    arrived = [json.loads(line)["auditID"] for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert arrived == [str(number) for number in range(30)]


async def test_what_every_destination_has_is_not_carried(tmp_path: Path) -> None:
    disk = {"name": "disk", "type": "file", "path": str(tmp_path / "out.ndjson")}
    body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"1","level":"Metadata"}]}'
    async with Sink(tmp_path / "old", [disk]) as sink:
        await sink.post(body)
        await sink.delivered()
        await sink.stop()
    (tmp_path / "bucket").mkdir()
    bucket = {"name": "evacuation", "type": "local", "path": str(tmp_path / "bucket")}
    file = tmp_path / "evacuation.yaml"
    file.write_text(json.dumps({"spool": {"path": str(tmp_path / "old" / "spool")}, "destinations": [bucket]}))
    result = CliRunner().invoke(command, ["evacuate", "-c", str(file), "--name", "n", "--work", str(tmp_path)])
    assert result.output == "0 events lie in the bucket\n"

"""Objects in a real S3 API server's bucket, and in a directory."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from s3server import BUCKET, S3Server, unpacked

from auditsink import load
from auditsink.audit.eventlist import Mark
from auditsink.common.clock import SystemClock
from auditsink.config import ObjectConfig
from auditsink.delivery.destination import Batch, Destination, DestinationError
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause
from auditsink.destinations import build
from auditsink.destinations.objects import compressed, path_of

ACCEPTED_NS = 1795383230_000000042  # 2026-11-22T21:33:50Z
NAME = "audit/c1/2026-11-22/20261122T213350.000000042Z-00000000000000000007"
EVENTS = [b'{"a":1}', b'{"b": 2,\n"c":"\xff"}', b'{"d":3}']
BATCH = Batch("c1", "", EVENTS, range(7, 10), ACCEPTED_NS, Mark.NOT_UTF8, origin=lambda _: None)
KEYS = "region: us-east-1, access_key_id: key, secret_access_key: CANARY"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


def made(text: str) -> Destination:
    config = load.parse(f"destinations: [{{name: lake, {text}}}]".encode(), "f", {})
    return build(config.destinations[0], clock=SystemClock())


def configured(text: str) -> ObjectConfig:
    config = load.parse(f"destinations: [{{name: lake, {text}}}]".encode(), "f", {}).destinations[0]
    assert isinstance(config, ObjectConfig)
    return config


def s3(server: S3Server, more: str = "") -> Destination:
    return made(f"type: s3, bucket: {BUCKET}, endpoint: '{server.url}', {KEYS} {more}")


async def delivered(destination: Destination, batch: Batch = BATCH) -> Outcome:
    outcome = await (await destination.prepare(batch))()
    await destination.close()
    return outcome


@pytest.mark.parametrize(("how", "suffix"), [("zstd", "zst"), ("gzip", "gz")])
async def test_a_batch_is_an_object(server: S3Server, how: str, suffix: str) -> None:
    destination = s3(server, f", compression: {how}, encryption: AES256, storage_class: STANDARD_IA")
    assert await delivered(destination) == Delivered()
    found = server.client.get_object(Bucket=BUCKET, Key=f"{NAME}.ndjson.{suffix}")
    assert unpacked(f".{suffix}", found["Body"].read()) == b'{"a":1}\n{"b": 2, "c":"\xff"}\n{"d":3}\n'
    assert found["Metadata"] == {"cluster": "c1", "events": "3", "first": "7", "last": "9"}
    assert (found["ServerSideEncryption"], found["StorageClass"]) == ("AES256", "STANDARD_IA")
    assert found["ContentType"] == f"application/{how}"


async def test_a_longer_batch_from_the_same_event_takes_the_place_of_a_shorter_one(server: S3Server) -> None:
    prefix = ", prefix: 'again/{cluster}'"
    for batch in (BATCH.part(0, 1), BATCH, BATCH):
        assert await delivered(s3(server, prefix), batch) == Delivered()
    found = {key: lines for key, lines in server.objects().items() if key.startswith("again/")}
    assert [len(lines) for lines in found.values()] == [3]


async def test_a_replay_never_takes_the_place_of_anything(server: S3Server) -> None:
    prefix = ", prefix: 'replayed/{cluster}'"
    await delivered(s3(server, prefix))
    await delivered(s3(server, prefix), replace(BATCH, origin=None).part(0, 1))
    found = {key: lines for key, lines in server.objects().items() if key.startswith("replayed/")}
    assert sorted(len(lines) for lines in found.values()) == [1, 3]


def test_names_sort_by_time_and_tell_the_hour() -> None:
    config = configured(f"type: s3, bucket: {BUCKET}, prefix: 'a b/{{cluster}}/{{date}}/{{hour}}', compression: gzip")
    assert path_of(config, BATCH) == NAME.replace("audit/c1/2026-11-22/", "a b/c1/2026-11-22/21/") + ".ndjson.gz"
    later = replace(BATCH, received_ns=ACCEPTED_NS + 1, sequences=range(10, 13))
    assert path_of(config, BATCH) < path_of(config, later)


def test_the_same_lines_make_the_same_bytes() -> None:
    for how in ("zstd", "gzip"):
        assert compressed(EVENTS * 100, how) == compressed(EVENTS * 100, how)


async def test_what_could_not_be_split_travels_in_a_document_that_says_so(server: S3Server) -> None:
    whole = replace(BATCH, events=[b"\x00 no list"], sequences=[7], marks=Mark.UNSPLIT)
    await delivered(s3(server, ", prefix: 'unsplit/{cluster}'"), whole)
    (lines,) = [lines for key, lines in server.objects().items() if key.startswith("unsplit/")]
    assert lines[0].startswith(b'{"auditsink.io/unsplit"')


async def test_a_probe_needs_no_more_than_to_write(server: S3Server) -> None:
    assert await s3(server).probe() == Delivered()
    assert server.client.get_object(Bucket=BUCKET, Key="auditsink-probe")["Body"].read()


async def test_a_bucket_that_is_not_there_is_a_misconfiguration(server: S3Server) -> None:
    outcome = await delivered(made(f"type: s3, bucket: nobody, endpoint: '{server.url}', {KEYS}"))
    assert isinstance(outcome, Misconfigured)
    assert "NoSuchBucket" in outcome.why


async def test_a_server_that_is_not_there_is_asked_again() -> None:
    outcome = await delivered(made(f"type: s3, bucket: trail, endpoint: 'http://127.0.0.1:1', {KEYS}"))
    assert isinstance(outcome, Retry)
    assert "CANARY" not in outcome.why
    assert outcome.cause is RetryCause.ELSEWHERE, "obstore tells that there was no connection"


async def test_a_server_that_stalls_is_given_up_in_time(server: S3Server) -> None:
    with server.stalled():
        outcome = await delivered(s3(server, ", timeout: 200ms"))
    assert isinstance(outcome, Retry)


async def test_a_secret_file_is_read_again(server: S3Server, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s\n")
    text = f"type: s3, bucket: {BUCKET}, endpoint: '{server.url}', region: us-east-1, access_key_id: key"
    assert await delivered(made(f"{text}, secret_access_key_file: {file}")) == Delivered()
    with pytest.raises(DestinationError, match=r"destinations\[lake\].secret_access_key_file"):
        made(f"{text}, secret_access_key_file: {tmp_path}/none")


async def test_a_directory_is_a_store_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    destination = made(f"type: local, path: {tmp_path}/store")
    assert await destination.probe() == Delivered()
    synced.clear()
    assert await delivered(destination) == Delivered()
    file = tmp_path / "store" / f"{NAME}.ndjson.zst"
    assert unpacked(file.name, file.read_bytes()).count(b"\n") == 3
    assert synced == [str(one) for one in (file, *file.parents) if one.is_relative_to(tmp_path / "store")]


async def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match=r"destinations\[lake\].path: .*file/below"):
        made(f"type: local, path: {tmp_path}/file/below")
    destination = made(f"type: local, path: {tmp_path}/store")
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("")
    outcome = await delivered(destination)
    assert isinstance(outcome, Retry)
    assert "store" in outcome.why


def test_clients_of_the_other_clouds_are_built_without_asking_anybody(tmp_path: Path) -> None:
    for text in (
        "type: azure, account: a, container: trail, access_key: aGVsbG8=, endpoint: 'http://127.0.0.1:1/a'",
        "type: s3, bucket: trail",
    ):
        assert made(text).limits.in_flight == 1
    with pytest.raises(DestinationError, match=r"service_account_file: .*No such file"):
        made(f"type: gcs, bucket: trail, service_account_file: {tmp_path}/none")
    (tmp_path / "odd").write_text("{}")
    with pytest.raises(DestinationError, match="refuses these settings"):
        made(f"type: gcs, bucket: trail, service_account_file: {tmp_path}/odd")
    with pytest.raises(DestinationError, match=r"ca_file: .*holds no certificate"):
        made(f"type: s3, bucket: trail, ca_file: {tmp_path}/odd")


MISTAKES = {
    "type: s3, bucket: 's3://x/y'": "bucket: is no name",
    "type: s3, bucket: abc, prefix: audit": "prefix: lacks {cluster}",
    "type: s3, bucket: abc, prefix: '/{cluster}'": "prefix: write parts",
    "type: s3, bucket: abc, prefix: '{cluster}/../x'": "prefix: write parts",
    "type: s3, bucket: abc, prefix: '{cluster}/{year}'": "prefix: write parts",
    "type: s3, bucket: abc, access_key_id: a": "secret_access_key_file: is missing",
    "type: s3, bucket: abc, secret_access_key: CANARY": "access_key_id: is missing",
    "type: s3, bucket: abc, kms_key_id: k": "kms_key_id: needs encryption",
    "type: s3, bucket: abc, endpoint: 'minio:9000'": "endpoint: is no URL",
    "type: azure, account: a, container: '-', access_key: CANARY": "container: is no name",
    "type: gcs, bucket: a": "bucket: is no name",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_by_its_key(text: str) -> None:
    with pytest.raises(load.ConfigError) as caught:
        configured(text)
    assert MISTAKES[text] in str(caught.value)
    assert "CANARY" not in str(caught.value)

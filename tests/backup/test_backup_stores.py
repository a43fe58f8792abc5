"""Copies in a bucket of moto's S3 server, and stores that are away, slow, full, wrong or may only be read."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backupkit import Copied, check_return, everything, meanwhile, restarted, whole
from s3server import BUCKET, S3Server
from smallstore import BUCKET as SMALL
from smallstore import SmallStore

from auditsink.backup import BackupError
from auditsink.backup.statistics import BackupState
from auditsink.backup.store import CopyStore, MissingError, StoreError, TakenError
from auditsink.backup.uploader import SURVEY_SECONDS
from auditsink.common.secret import Secret
from auditsink.common.units import Duration
from auditsink.config import S3Backup
from auditsink.testing.scripted import Received, Reply, ScriptedServer

PAGE = Reply(200, b"<html>log in</html>", {"ETag": '"1"', "Last-Modified": "Sun, 29 Nov 2026 01:00:00 GMT"})
"""Reads as a success, and as an empty list."""
XML = '<?xml version="1.0"?><Error><Code>{}</Code><Message>CANARY</Message></Error>'


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


def bucket(url: str, **changes: Any) -> S3Backup:
    given = {
        "bucket": BUCKET, "endpoint": url, "region": "us-east-1", "access_key_id": "key", "every": Duration(10),
        "timeout": Duration(60), **changes,
    }  # fmt: skip
    return S3Backup(secret_access_key=Secret("CANARY"), **given)


async def test_a_spool_goes_to_a_bucket_and_comes_back(server: S3Server, tmp_path: Path) -> None:
    sink = Copied(tmp_path, config=bucket(server.url, name="round"))
    await sink.start()
    sink.add(100)
    await sink.round()
    sink.add(20)
    await sink.round()
    events = everything(sink)
    sink.stop()
    other = await restarted(sink)
    assert everything(other) == events
    await other.round()
    other.stop()
    whole(other)


async def test_a_bucket_with_versions(server: S3Server, tmp_path: Path) -> None:
    server.client.create_bucket(Bucket="versions")
    server.client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    sink = Copied(tmp_path, config=bucket(server.url, bucket="versions"))
    await sink.start()
    for _ in range(10):
        sink.add(10)
        await sink.round()
    await check_return(sink)


async def test_calls_of_a_store(server: S3Server) -> None:
    store = CopyStore(bucket(server.url, name="calls"))
    await store.put("manifests/1", b"one", create=True)
    with pytest.raises(TakenError):
        await store.put("manifests/1", b"two", create=True)
    await store.put("data/x", b"0123456789")
    assert await store.read("data/x", 2, 3) == b"234"
    assert len(await store.read("data/x", 8, 5)) < 5
    assert await store.read("data/x", 20, 5) == b""
    with pytest.raises(MissingError):
        await store.get("data/y", 100)
    with pytest.raises(StoreError, match="larger than any of ours"):
        await store.get("data/x", 5)
    assert [one.name for one in await store.names("data")] == ["x"]
    await store.delete(["data/x", "data/never"])
    assert await store.names("data") == []
    store.close()


class Hostile(ScriptedServer):
    """Answers everything alike."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self._reply = reply

    async def respond(self, request: Received) -> Reply:
        return self._reply


def refusal(status: int, code: str) -> Reply:
    return Reply(status, XML.format(code).encode(), {"Content-Type": "application/xml"})


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (refusal(403, "AccessDenied"), "they need to list, read, write and delete"),
        (refusal(503, "SlowDown"), "SlowDown"),
        (refusal(507, "InsufficientStorage"), "full"),
        (refusal(404, "NoSuchBucket"), "there is no such bucket"),
        (Reply(200, b"<html>please log in</html>"), "store"),
        (Reply(500, b"x" * 100_000), "500"),
    ],
    ids=["denied", "busy", "full", "no bucket", "a page", "broken"],
)
async def test_a_store_that_will_not_is_told_in_a_sentence(tmp_path: Path, reply: Reply, says: str) -> None:
    async with Hostile(reply) as hostile:
        sink = Copied(tmp_path, config=bucket(hostile.url))
        sink.path.mkdir()
        first = Copied(tmp_path)  # a spool that is there, so that the start asks nothing of the store
        await first.start()
        first.add(3)
        first.stop()
        await sink.start()
        with pytest.raises(BackupError) as caught:
            await sink.round()
        assert says in str(caught.value)
        assert "CANARY" not in str(caught.value)
        sink.stop()


async def test_a_store_that_hangs_is_given_up_at_its_deadline(server: S3Server, tmp_path: Path) -> None:
    sink = Copied(tmp_path, config=bucket(server.url, name="hangs"))
    await sink.start()
    sink.add(3)
    await sink.round()
    store = sink.prepared.store
    patient = store._config
    with server.stalled():
        sink.add(3)
        store._config = bucket(server.url, name="hangs", timeout=Duration(1))  # only what is to fail is hurried
        with pytest.raises(StoreError, match="did not answer within 1s"):
            await sink.round()
    store._config = patient
    await sink.round()
    await check_return(sink)


async def test_a_store_that_ignores_conditions_is_refused(tmp_path: Path) -> None:
    async with SmallStore() as store:
        store.conditions = False
        sink = Copied(tmp_path, config=small(store))
        await sink.start()
        sink.add(1)
        with pytest.raises(BackupError, match="does not keep to conditional writes"):
            await sink.round()
        with pytest.raises(BackupError, match="does not keep to conditional writes"):
            await sink.round()
        assert store.names("data") == []
        sink.stop()


async def test_an_answer_that_got_lost_is_no_other_writer(server: S3Server, tmp_path: Path) -> None:
    sink = Copied(tmp_path, config=bucket(server.url, name="lost-answer"))
    await sink.start()
    sink.add(1)
    await sink.round()
    store = sink.prepared.store
    put, lost = store.put, 0

    async def losing(name: str, content: bytes, *, create: bool = False) -> None:
        nonlocal lost
        await put(name, content, create=create)
        if create and not lost:
            lost += 1
            raise StoreError("the store did not answer")

    store.put = losing  # type: ignore[method-assign]
    sink.add(1)
    with pytest.raises(StoreError):
        await sink.round()
    await sink.round()
    assert (lost, sink.uploader.statistics().state.value) == (1, "copying")
    await check_return(sink)


async def test_uploads_that_fail_in_the_middle_are_caught_up_and_sent_once(server: S3Server, tmp_path: Path) -> None:
    sink = Copied(tmp_path, config=bucket(server.url, name="middle"))
    await sink.start()
    sink.add(400)
    store = sink.prepared.store
    put, count = store.put, 0

    async def failing(name: str, content: bytes, *, create: bool = False) -> None:
        nonlocal count
        count += 1
        if count % 3 == 0:
            raise StoreError("the store is away")
        await put(name, content, create=create)

    store.put = failing  # type: ignore[method-assign]
    for _ in range(20):
        try:
            await sink.round()
        except StoreError:
            continue
        break
    events = everything(sink)
    sink.stop()
    store.put = put  # type: ignore[method-assign]
    other = await restarted(sink)
    assert everything(other) == events
    other.stop()
    await asyncio.sleep(0)


def small(store: SmallStore, **changes: Any) -> S3Backup:
    return bucket(store.url, bucket=SMALL, **changes)


async def test_what_may_not_be_deleted_is_told_and_goes_as_soon_as_it_may(tmp_path: Path) -> None:
    async with SmallStore() as store:
        sink = Copied(tmp_path, config=small(store, keep=Duration(60)))
        await sink.start()
        sink.add(200)
        await sink.round()
        store.denied.add("delete")
        sink.deliver(200)
        await sink.round()
        sink.clock.jump(120)
        for _ in range(8):
            sink.add(1)
            await sink.round()
        found = sink.uploader.statistics()
        assert (found.state, found.problem) == (BackupState.COPYING, None)
        assert found.undeleted > 0
        assert "needed no longer cannot be deleted" in str(found.note)
        assert "AccessDenied" in str(found.note)
        assert "CANARY" not in str(found.note)
        held, manifests = store.names("data"), store.names("manifests")
        store.denied.clear()
        await sink.round()
        found = sink.uploader.statistics()
        assert (found.undeleted, found.note) == (0, None)
        assert len(store.names("data")) < len(held)
        assert len(store.names("manifests")) < len(manifests)
        await check_return(sink, newest=8)


async def test_a_full_store_loses_first_what_nobody_needs_and_then_takes_again(tmp_path: Path) -> None:
    async with SmallStore() as store:
        sink = Copied(tmp_path, config=small(store, keep=Duration(60)))
        await sink.start()
        for _ in range(10):  # objects of their own
            sink.add(15)
            await sink.round()
        sink.deliver(150)
        await sink.round()
        store.room = store.used + 20_000  # for manifests, and not for what is new
        sink.add(30)
        with pytest.raises(StoreError, match="is full; make room there"):
            await sink.round()
        sink.clock.jump(120)
        with pytest.raises(StoreError, match="is full; make room there"):
            await sink.round()  # and what is delivered goes
        await sink.round()
        assert sink.uploader.statistics().state is BackupState.COPYING
        await check_return(sink, newest=30)


async def test_garbage_from_a_store_that_was_good_changes_nothing_and_is_caught_up(tmp_path: Path) -> None:
    async with SmallStore() as store:
        sink = Copied(tmp_path, config=small(store))
        await sink.start()
        for reply in (PAGE, Reply(200, b"<html>log in</html>"), Reply(204), Reply(302), Reply(200, b"[]"), Reply(404)):
            sink.add(5)
            await sink.round()
            store.refuses = reply
            sink.add(5)
            with pytest.raises(BackupError):
                await sink.round()
            store.refuses = None
        await sink.round()
        await check_return(sink)


@pytest.mark.parametrize("how", ["in an hour", "at a restart"])
async def test_what_somebody_deleted_from_the_copy_is_told_and_uploaded_again(tmp_path: Path, how: str) -> None:
    async with SmallStore() as store:
        sink = Copied(tmp_path, config=small(store))
        await sink.start()
        for _ in range(5):
            sink.add(20)
            await sink.round()
        for name in store.names("data")[1:3]:  # as a bucket's lifecycle rule does, or a person
            del store.objects[name]
        if how == "at a restart":
            sink.stop()
            sink = Copied(tmp_path, "spool", sink.section, sink.clock)
            await sink.start()
        else:
            sink.clock.jump(0)
            await sink.clock.advance(SURVEY_SECONDS)
        await sink.round()
        assert "2 objects of the copy were gone" in str(sink.uploader.statistics().note)
        events = everything(sink)
        sink.stop()
        other = await restarted(sink)
        assert everything(other) == events
        assert other.prepared.restored is not None
        assert other.prepared.restored.problems == ()
        other.stop()


async def test_a_page_to_log_in_is_no_store_without_a_copy(tmp_path: Path) -> None:
    async with SmallStore() as store:
        store.refuses = PAGE
        sink = Copied(tmp_path, config=small(store, timeout=Duration(1)))
        with pytest.raises(BackupError, match=r"holds no spool and the copy .* cannot be read"):
            await meanwhile(sink.clock, sink.start())


@pytest.mark.parametrize("reply", [PAGE, Reply(404, b"default backend - 404")], ids=["page", "404"])
async def test_what_another_answers_in_the_middle_of_a_restore_is_no_loss(tmp_path: Path, reply: Reply) -> None:
    async with SmallStore() as store:
        sink = Copied(tmp_path, config=small(store))
        await sink.start()
        for _ in range(3):
            sink.add(5)
            await sink.round()
        events = everything(sink)
        sink.stop()
        store.instead = dict.fromkeys(store.names("data")[1:], reply)
        other = Copied(tmp_path, "other", sink.section, sink.clock)
        starting = asyncio.create_task(other.start())
        while not any(name in request.path for name in store.instead for request in store.requests):
            await asyncio.sleep(0.005)
            await sink.clock.advance(1.0)
        store.instead = {}
        await meanwhile(sink.clock, starting)
        assert other.prepared.restored is not None
        assert other.prepared.restored.problems == ()
        assert everything(other) == events
        other.stop()

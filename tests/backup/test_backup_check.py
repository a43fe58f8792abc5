"""`auditsink check` and the store of the copy: which right is missing, or why there is no talking to it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from backupkit import Copied
from click.testing import CliRunner, Result
from smallstore import BUCKET, SmallStore, refusal

from auditsink.backup.store import CopyStore
from auditsink.cli import commands
from auditsink.testing.scripted import Received, Reply


def written(place: Path, backup: dict[str, Any]) -> Path:
    document = {
        "receive": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        "spool": {"path": str(place / "spool"), "max_bytes": "64MiB", "backup": backup},
        "destinations": [{"name": "out", "type": "file", "path": str(place / "out.ndjson")}],
    }
    path = place / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def s3(url: str, **more: str) -> dict[str, Any]:
    return {
        "type": "s3", "bucket": BUCKET, "endpoint": url, "region": "us-east-1", "access_key_id": "key",
        "secret_access_key": "CANARY", "timeout": "2s", **more,
    }  # fmt: skip


async def checked(path: Path, *options: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, commands, ["check", "-c", str(path), *options])


async def test_a_store_that_does_what_the_copy_needs_is_told_and_nothing_is_left_there(tmp_path: Path) -> None:
    async with SmallStore() as store:
        said = await checked(written(tmp_path, s3(store.url)), "--connect")
        assert store.objects == {}
        assert any(one.headers.get("if-none-match") == "*" for one in store.requests)
    assert said.exit_code == 0, said.output
    assert "Backup\n  auditsink-backup/auditsink" in said.output
    assert "can be listed, written to (one writer at a time), read and deleted from" in said.output
    assert "holds no copy of auditsink yet" in said.output
    assert "CANARY" not in said.output


async def test_without_connect_the_store_is_not_asked(tmp_path: Path) -> None:
    async with SmallStore() as store:
        said = await checked(written(tmp_path, s3(store.url)))
        assert (said.exit_code, store.requests) == (0, [])


def denied(*rights: str) -> Callable[[SmallStore], None]:
    return lambda store: store.denied.update(rights)


def always(reply: Reply) -> Callable[[SmallStore], None]:
    return lambda store: setattr(store, "refuses", reply)


def full(store: SmallStore) -> None:
    store.room = 10


def careless(store: SmallStore) -> None:
    store.conditions = False


def forgetful(store: SmallStore) -> None:
    store.deletes = False


def slow(store: SmallStore) -> None:
    store.slow = 30.0


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        pytest.param(denied("write"), "may list, read, delete, but not write below", id="no write"),
        pytest.param(denied("delete"), "may list, write, read, but not delete below", id="no delete"),
        pytest.param(denied("list"), "may write, read, delete, but not list below", id="no list"),
        pytest.param(denied("read"), "may list, write, delete, but not read below", id="no read"),
        pytest.param(denied("write", "delete"), "may list, read, but not write or delete below", id="only reads"),
        pytest.param(denied("list", "read", "write", "delete"), "may do nothing below", id="nothing"),
        pytest.param(careless, "two sinks could share a copy", id="no conditions"),
        pytest.param(forgetful, "was deleted and is there still", id="no deletes"),
        pytest.param(full, "is full; make room there", id="full"),
        pytest.param(slow, "did not answer", id="slow"),
        pytest.param(always(refusal(403, "RequestTimeTooSkewed")), "this machine's clock is wrong", id="clock"),
        pytest.param(always(refusal(403, "InvalidAccessKeyId")), "does not know these credentials", id="credentials"),
        pytest.param(always(Reply(200, b"<html>log in</html>")), "no object store", id="a page"),
        pytest.param(always(refusal(503, "SlowDown")), "503 SlowDown", id="busy"),
    ],
)
async def test_what_a_store_does_not_do_is_told(tmp_path: Path, harm: Callable[[SmallStore], None], says: str) -> None:
    async with SmallStore() as store:
        harm(store)
        said = await checked(written(tmp_path, s3(store.url)), "--connect")
        left = len(store.objects)
    assert said.exit_code == 1
    assert "spool.backup: " in said.output
    assert says in said.output
    assert "out: takes events" in said.output  # the destinations are told all the same
    assert "CANARY" not in said.output
    assert left == int(harm is forgetful or "may list, write, read" in says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bucket": "another"}, "there is no such bucket"),
        ({"endpoint": "http://127.0.0.1:9"}, "refuses the connection"),
        ({"endpoint": "http://nobody.invalid"}, "cannot be resolved"),
        ({"endpoint": "TLS"}, "does not speak TLS"),
    ],
    ids=["bucket", "refused", "name", "tls"],
)
async def test_a_store_that_is_elsewhere_is_told(tmp_path: Path, change: dict[str, str], says: str) -> None:
    async with SmallStore() as store:
        if change.get("endpoint") == "TLS":
            change = {"endpoint": store.url.replace("http:", "https:")}
        said = await checked(written(tmp_path, s3(store.url) | change), "--connect")
    assert said.exit_code == 1
    assert says in said.output


async def test_a_condition_that_is_answered_with_501_is_one_that_the_store_does_not_know(tmp_path: Path) -> None:
    class Older(SmallStore):
        def _put(self, name: str, request: Received) -> Reply:
            return refusal(501, "NotImplemented") if "if-none-match" in request.headers else super()._put(name, request)

    async with Older() as store:
        said = await checked(written(tmp_path, s3(store.url)), "--connect")
    assert said.exit_code == 1
    assert "does not keep to conditional writes" in said.output


async def test_a_copy_that_is_there_is_told_with_its_age_and_so_are_those_that_wait(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    sink.add(5)
    await sink.round()
    sink.stop()
    place = tmp_path / "copy" / sink.section.root
    (place / "kept").mkdir()
    newest = max((place / "manifests").iterdir())
    (place / "kept" / newest.name).write_bytes(newest.read_bytes())
    before = sorted(tmp_path.joinpath("copy").rglob("*"))
    said = await checked(written(tmp_path, {"type": "local", "path": str(tmp_path / "copy")}), "--connect")
    assert said.exit_code == 0, said.output
    assert "holds a copy of auditsink, complete 20" in said.output
    assert "older copies that wait for a person: 1" in said.output
    assert [one for one in sorted(tmp_path.joinpath("copy").rglob("*")) if one.name != "probe"] == before


@pytest.mark.parametrize("options", [(), ("--connect",)], ids=["check", "connect"])
async def test_a_directory_that_is_a_file_fails_the_check(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "copy").write_text("no directory")
    said = await checked(written(tmp_path, {"type": "local", "path": str(tmp_path / "copy")}), *options)
    assert said.exit_code == 1
    assert f"spool.backup.path: {tmp_path}/copy: is no directory; name another path" in said.output


async def test_a_probe_is_no_part_of_any_copy(tmp_path: Path) -> None:
    sink = Copied(tmp_path)
    await sink.start()
    store = CopyStore(sink.section)
    await store.put(f"probe/{32 * 'a'}", b"left by somebody")
    sink.add(5)
    await sink.round()
    await sink.round()
    assert [one.name for one in await store.names("probe")] == [32 * "a"]
    sink.stop()
    store.close()

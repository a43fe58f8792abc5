"""What object stores ask for, files that change under them, names and disks that hang: on scripted servers."""

import base64
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import obstore
import orjson
import pytest
import trustme
from destinationkit import batch, event

from auditsink import load
from auditsink.common import resolver
from auditsink.common.clock import SystemClock
from auditsink.delivery.destination import Destination
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry
from auditsink.destinations import build, object_stores
from auditsink.testing.scripted import Received, Reply, ScriptedServer

S3 = "type: s3, bucket: trail, region: r, access_key_id: key, secret_access_key: CANARY"
AZURE = "type: azure, account: a, container: trail, access_key: aGVsbG8="
XML = '<?xml version="1.0"?><Error><Code>{}</Code><Message>CANARY</Message></Error>'


class Store(ScriptedServer):
    """Takes every object; with `locked`, none without a checksum; with `retained`, none a second time."""

    locked = False
    retained = ""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.names: list[str] = []

    async def respond(self, request: Received) -> Reply:
        sums = {name for name in request.headers if name.startswith("x-amz-checksum-") or name == "content-md5"}
        if self.locked and not sums:
            return refusal(400, "InvalidRequest")
        name = request.path.rpartition("/")[2]
        if self.retained and name in self.names:
            return refusal(409, self.retained)
        self.names.append(name)
        return Reply(200, headers={"ETag": '"x"'})


def refusal(status: int, code: str) -> Reply:
    return Reply(status, XML.format(code).encode(), {"Content-Type": "application/xml"})


def configured(text: str) -> Any:
    return load.parse(f"destinations: [{{name: lake, {text}}}]".encode(), "f", {}).destinations[0]


def made(text: str) -> Destination:
    return build(configured(text), clock=SystemClock())


async def put(destination: Destination, number: int = 0) -> Outcome:
    held = replace(batch([event(number)], first=number), origin=lambda _: None)
    return await (await destination.prepare(held))()


async def test_a_bucket_with_a_default_retention_takes_the_objects() -> None:
    async with Store() as store:
        store.locked = True
        assert await put(made(f"{S3}, endpoint: '{store.url}'")) == Delivered()
        request = store.requests[-1]
        digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        assert request.headers["x-amz-checksum-sha256"] == digest
        refused = await put(made(f"{S3}, endpoint: '{store.url}', checksum: none"))
        assert isinstance(refused, Misconfigured)
        assert "checksum" in refused.why


@pytest.mark.parametrize("code", ["BlobImmutableDueToPolicy", "RetentionPolicyNotMet", "LeaseIdMissing"])
async def test_an_object_that_must_not_be_replaced_stays_and_the_repeat_gets_a_name_of_its_own(code: str) -> None:
    async with Store() as store:
        store.retained = code
        destination = made(f"{S3}, endpoint: '{store.url}'")
        assert await put(destination) == Delivered()
        assert await put(destination) == Delivered()
        assert len(store.names) == 2
        assert "again" in store.names[1]
        third = await put(destination)
        assert isinstance(third, Misconfigured)
        assert "retention" in third.why


async def test_what_answers_and_is_no_store_is_told() -> None:
    async with Store() as store:
        store.script = [Reply(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})]
        outcome = await put(made(f"{S3}, endpoint: '{store.url}'"))
        assert isinstance(outcome, Misconfigured)
        assert "no object store" in outcome.why


@pytest.fixture(scope="module")
def private_key() -> str:
    return trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.bytes().decode()


def gcs(place: Path, private_key: str, key_id: str = "first") -> str:
    named = {"private_key": private_key, "private_key_id": key_id, "client_email": "a@b", "disable_oauth": False}
    (place / "new.json").write_bytes(orjson.dumps({**named, "gcs_base_url": "https://storage.googleapis.com"}))
    (place / "new.json").replace(place / "account.json")
    return f"type: gcs, bucket: trail, service_account_file: {place}/account.json"


def shown(store: Store) -> str:
    """Which key signed what was shown with the last request."""
    head = store.requests[-1].headers["authorization"].removeprefix("Bearer ").partition(".")[0]
    return str(orjson.loads(base64.urlsafe_b64decode(head + "=="))["kid"])


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
async def test_a_ca_that_is_replaced_is_trusted_and_the_old_one_no_more(
    tmp_path: Path, private_key: str, kind: str
) -> None:
    old, new = trustme.CA(), trustme.CA()
    old.cert_pem.write_to_path(tmp_path / "ca.pem")
    contexts = []
    for ca in (old, new):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        contexts.append(context)
    async with Store(tls=contexts[0]) as before, Store(tls=contexts[1]) as after:
        await after.stop()
        url = before.url + ("/a" if kind == "azure" else "")
        text = {"s3": S3, "azure": AZURE, "gcs": gcs(tmp_path, private_key)}[kind]
        destination = made(f"{text}, endpoint: '{url}', ca_file: {tmp_path}/ca.pem")
        assert await put(destination) == Delivered()
        await before.stop()
        await after.start(before.port)
        assert isinstance(await put(destination), Retry)
        (tmp_path / "half").write_text("half written")
        (tmp_path / "half").replace(tmp_path / "ca.pem")
        assert isinstance(await put(destination), Retry)
        new.cert_pem.write_to_path(tmp_path / "next.pem")
        (tmp_path / "next.pem").replace(tmp_path / "ca.pem")
        assert await put(destination) == Delivered()
        assert len(after.names) == 1


async def test_an_account_that_is_replaced_is_used(
    tmp_path: Path, private_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Store() as store:
        destination = made(f"{gcs(tmp_path, private_key)}, endpoint: '{store.url}'")
        assert await put(destination) == Delivered()
        assert shown(store) == "first"
        (tmp_path / "account.json").write_text("{")
        assert await put(destination) == Delivered()
        assert "service_account_file" in caplog.text
        gcs(tmp_path, private_key, "second")
        assert await put(destination) == Delivered()
        assert shown(store) == "second"


def test_a_client_is_made_anew_every_few_minutes_so_that_changed_addresses_are_seen() -> None:
    seconds = 0.0
    config = configured(f"{S3}, endpoint: 'http://127.0.0.1:1'")
    client = object_stores.StoreClient(config, now=lambda: seconds, random=lambda: 0.5)
    first = client.store()
    seconds = 299.0
    assert client.store() is first
    seconds = 300.0
    second = client.store()
    assert second is not first
    seconds = 301.0
    assert client.store() is second


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_name_whose_look_up_hangs_is_told_and_nothing_is_asked_of_the_store(
    monkeypatch: pytest.MonkeyPatch, hanging: threading.Event
) -> None:
    asked: list[Any] = []
    reached = threading.Event()

    def slow(host: str, *_: Any) -> None:
        asked.append(host)
        reached.set()
        hanging.wait(60)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(resolver, "LOOK_UP_SECONDS", 0.01)
    monkeypatch.setattr(obstore, "put_async", lambda *_, **__: pytest.fail("asked the store"))

    async def attempts() -> list[Outcome]:
        destination = made(f"{S3}, endpoint: 'http://store.test:9000'")
        return [await put(destination) for _ in range(3)]

    for outcome in resolver.run(attempts()):
        assert isinstance(outcome, Retry)
        assert "look-up" in outcome.why
    assert reached.wait(60)
    assert asked == ["store.test"]


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (S3, ("s3.r.amazonaws.com", 443)),
        (f"{S3}, path_style: false", ("trail.s3.r.amazonaws.com", 443)),
        (f"{S3}, endpoint: 'http://minio'", ("minio", 80)),
        (f"{S3}, endpoint: 'https://minio:9000'", ("minio", 9000)),
        ("type: s3, bucket: trail", None),
        ("type: gcs, bucket: trail", ("storage.googleapis.com", 443)),
        (AZURE, ("a.blob.core.windows.net", 443)),
        ("type: local, path: /tmp/x", None),
    ],
)
def test_whose_name_is_looked_up(text: str, host: tuple[str, int] | None) -> None:
    assert object_stores.host(configured(text)) == host


async def test_a_directory_on_a_disk_that_hangs_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hanging: threading.Event
) -> None:
    real, calls = obstore.put, 0
    reached = threading.Event()

    def slow(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        reached.set()
        hanging.wait(60)
        return real(*arguments, **named)

    destination = made(f"type: local, path: {tmp_path}/store, timeout: 50ms")
    monkeypatch.setattr(obstore, "put", slow)
    for _ in range(3):
        assert isinstance(await put(destination), Retry)
    assert reached.wait(60)
    assert calls == 1
    hanging.set()
    while await put(destination) != Delivered():
        pass
    await destination.close()

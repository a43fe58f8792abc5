"""The sink in fluent-bit's place: started as the extension of today starts its container, with what that renders."""

import asyncio
import gzip
import json
import os
import shutil
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anybody
import corpus
import pytest
import trustme
from fluentbitkit import RELEASES, Rendered
from running import LIVE, Sink, eventually
from s3server import BUCKET, S3Server

from auditsink.testing.collector import Collector
from auditsink.testing.fluentd import ForwardServer
from auditsink.testing.hec import HecServer, reply

RECORDED = Path(__file__).parents[1] / "data" / "fluentbit" / "http.0-4.0.5.flb"
UID = 10001
TOKEN = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def volume() -> Iterator[Path]:
    """A directory that everybody may walk to, as a volume in a container is."""
    place = Path(tempfile.mkdtemp(prefix="auditsink-volume-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


class Place(Sink):
    """The container: its volume, its configuration, its arguments and no command."""

    def __init__(self, volume: Path, rendered: Rendered, *arguments: str, user: int | None = None) -> None:
        super().__init__(volume / "work", [])
        self.user = user
        self.data = volume / "data"
        self.data.mkdir(exist_ok=True)
        rendered.service |= {"http_listen": "127.0.0.1", "http_port": "0"}
        rendered.input |= {"listen": "127.0.0.1", "port": "0"}
        self.main = rendered.write(volume / "config")
        self.environment = {"SPLUNK_HEC_TOKEN": TOKEN, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        self.output = b""
        self.program = anybody.command()
        self._arguments = arguments

    async def launch(self) -> None:
        self._ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self.program, f"--storage_path={self.data}", f"--config={self.main}", *self._arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=2**24,
            env=os.environ | self.environment, user=self.user, group=self.user,
            extra_groups=None if self.user is None else [],
        )  # fmt: skip
        LIVE.add(self._process.pid)
        self._listener = asyncio.create_task(self._listen())
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while piece := await self._process.stdout.read(65536):
            self.output += piece

    async def ended(self) -> int:
        code = await super().ended()
        await self._reading
        return code

    def said(self, message: str) -> dict[str, Any]:
        """The one line of the log with this message."""
        (line,) = [line for line in self.lines if message in line["message"]]
        return line

    async def ask(self, path: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session, session.get(self.admin + path) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if "json" in answer.content_type else text


def only(rendered: Rendered, *names: str) -> Rendered:
    rendered.backends = {name: rendered.backends[name] for name in (*names, "null")}
    return rendered


def to_hec(rendered: Rendered, hec: HecServer) -> Rendered:
    splunk = rendered.backends["splunk"]
    for key in ("tls", "tls.verify", "tls.verify_hostname", "tls.vhost"):
        splunk.pop(key, None)
    splunk |= {"host": "127.0.0.1", "port": str(hec.port)}
    return rendered


def events_of(name: str, count: int) -> tuple[list[bytes], list[bytes]]:
    bodies = [*corpus.bodies(name)][:count]
    return [body.data for body in bodies], [event for body in bodies for event in body.events]


def named(event: dict[str, Any]) -> tuple[str, str]:
    return event["auditID"], event["stage"]


def with_data(event: bytes, **more: str) -> dict[str, Any]:
    return {"region": "eu-1", "stage": json.loads(event)["stage"], **more, **json.loads(event)}


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
async def test_what_every_release_renders_delivers_to_splunk(release: Any, volume: Path) -> None:
    posted, events = events_of("batch100-metadata-mtls-h2", 3)
    async with (
        HecServer(token=TOKEN) as hec,
        Place(volume, to_hec(only(Rendered(release), "log", "splunk"), hec)) as place,
    ):
        await place.apiserver(posted, at_once=1)
        status = await place.delivered()
        await place.stop()

    assert {one["name"] for one in status["destinations"]} == {"log", "splunk"}
    assert [json.loads(bytes(one.event)) for one in hec.events] == [with_data(event) for event in events]
    assert {(one.host, one.index, one.sourcetype) for one in hec.events} == {
        ("shoot--p--n", "k8s", "kube:apiserver:auditlog")
    }
    assert [json.loads(line) for line in place.output.splitlines()] == [with_data(event) for event in events]
    shown = place.said("was translated")["configuration"]
    assert "${SPLUNK_HEC_TOKEN}" in shown
    assert TOKEN not in json.dumps(place.lines)


async def test_all_backends_at_once(volume: Path) -> None:
    posted, events = events_of("batch100-metadata-mtls-h2", 4)
    authority = trustme.CA()
    certs = volume / "certs"
    certs.mkdir()
    authority.cert_pem.write_to_path(str(certs / "ca.crt"))
    client = authority.issue_cert("fluent-bit")
    client.private_key_pem.write_to_path(str(certs / "tls.key"))
    client.cert_chain_pems[0].write_to_path(str(certs / "tls.crt"))
    for file in certs.iterdir():
        file.chmod(0o644)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("audittailer").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    rendered = Rendered()
    async with HecServer(token=TOKEN) as hec, ForwardServer(tls=context) as tailer, Collector() as loki:
        with S3Server() as s3:
            to_hec(rendered, hec)
            rendered.backends["cluster-forwarding"] |= {
                "host": "127.0.0.1", "port": str(tailer.port),
                **{f"tls.{key}_file": str(certs / name)
                   for key, name in (("ca", "ca.crt"), ("crt", "tls.crt"), ("key", "tls.key"))},
            }  # fmt: skip
            rendered.backends["s3"] |= {"endpoint": s3.url, "bucket": BUCKET, "region": "us-east-1", "tls": "Off",
                                        "upload_timeout": "1s"}  # fmt: skip
            rendered.backends["custom-forwarding"] = {
                "Name": "http", "Match": "audit", "host": "127.0.0.1", "port": str(loki.port), "uri": "/in",
                "format": "json_lines",
            }  # fmt: skip
            async with Place(volume, rendered) as place:
                await place.apiserver(posted, at_once=1)
                await place.delivered()
                code, metrics = await place.ask("/api/v1/metrics")
                await place.stop()
            listed = s3.client.list_objects_v2(Bucket=BUCKET)["Contents"]
            objects = {one["Key"]: s3.client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed}

    assert code == 200
    assert list(metrics["output"]) == ["forward.0", "http.1", "stdout.2", "null.3", "s3.4", "splunk.5"]
    assert {one["proc_records"] for one in metrics["output"].values()} == {len(events)}
    expected = [with_data(event) for event in events]
    assert tailer.records == expected
    assert {message.tag for message in tailer.messages} == {"audit"}
    assert all(message.option["compressed"] == "gzip" for message in tailer.messages)
    assert [json.loads(bytes(one.event)) for one in hec.events] == expected
    stored = [json.loads(line) for key in objects for line in gzip.decompress(objects[key]).splitlines()]
    assert sorted(stored, key=named) == sorted(
        ({"timestamp": event["stageTimestamp"], **event} for event in expected), key=named
    )
    assert all(key.startswith("audit-logs/20") and key.count("/") == 7 for key in objects)
    assert [json.loads(line) for request in loki.requests for line in request.body.splitlines()] == expected


async def test_records_stay_lists_for_who_asks_for_it_in_the_custom_data(volume: Path) -> None:
    posted, events = events_of("batch100-metadata-mtls-h2", 3)
    rendered = only(Rendered(data={"region": "eu-1", "auditsink.record": "batch"}), "splunk")
    async with HecServer(token=TOKEN) as hec, Place(volume, to_hec(rendered, hec)) as place:
        await place.apiserver(posted, at_once=1)
        await place.delivered()
        await place.stop()

    lists = [json.loads(bytes(one.event)) for one in hec.events]
    assert len(lists) < len(events)
    assert {(one["kind"], one["region"]) for one in lists} == {("EventList", "eu-1")}
    assert [item for one in lists for item in one["items"]] == [json.loads(event) for event in events]


async def test_one_bad_event_of_a_list_costs_one_event(volume: Path) -> None:
    posted, events = events_of("batch100-metadata-mtls-h2", 1)
    bad = json.loads(events[7])["auditID"].encode()
    rendered = only(Rendered(data={"auditsink.record": "batch"}), "splunk")
    async with (
        HecServer(token=TOKEN, refuse=lambda event: 6 if bad in event else None) as hec,
        Place(volume, to_hec(rendered, hec)) as place,
    ):
        await place.apiserver(posted, at_once=1)
        (one,) = (await place.delivered())["destinations"]
        await place.stop()

    refused = sum(bad in event for event in events)
    assert (one["dead_lettered"], one["delivered"]) == (refused, len(events) - refused)
    arrived = [item["auditID"] for envelope in hec.events for item in json.loads(bytes(envelope.event))["items"]]
    assert sorted(arrived) == sorted(json.loads(event)["auditID"] for event in events if bad not in event)


async def test_health_is_red_while_a_destination_is_paused_and_green_over_one_retry(volume: Path) -> None:
    posted, _ = events_of("batch100-metadata-mtls-h2", 2)
    async with (
        HecServer(token=TOKEN, script=[reply(9)]) as hec,
        Place(volume, to_hec(only(Rendered(), "splunk"), hec)) as place,
    ):
        await place.apiserver(posted[:1], at_once=1)
        await place.delivered()
        _, before = await place.ask("/api/v1/metrics")
        assert before["output"]["splunk.1"] | {"proc_bytes": 0, "proc_records": 0} == {
            "proc_records": 0, "proc_bytes": 0, "errors": 0, "retries": 0, "retries_failed": 0,
            "dropped_records": 0, "retried_records": 1,
        }  # fmt: skip
        assert await place.ask("/api/v1/health") == (200, "ok\n")

        hec.script.append(reply(4))
        await place.apiserver(posted[1:], at_once=1)
        await place.until(lambda status: status["destinations"][0]["state"] == "misconfigured")
        await eventually_async(lambda: red(place))
        _, paused = await place.ask("/api/v1/metrics")
        assert paused["output"]["splunk.1"]["retries"] >= 1
        assert paused["output"]["splunk.1"]["errors"] >= 1
        await place.stop()


async def red(place: Place) -> bool:
    return await place.ask("/api/v1/health") == (500, "error\n")


async def eventually_async(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - what is waited for is another process's doing
            await asyncio.sleep(0.05)


async def test_the_paths_that_probes_scrapers_and_people_ask(volume: Path) -> None:
    async with Place(volume, only(Rendered(), "log")) as place:
        code, about = await place.ask("/")
        prometheus = [await place.ask(f"/api/v{number}/metrics/prometheus") for number in (1, 2)]
        uptime, storage = [(await place.ask(f"/api/v1/{name}"))[1] for name in ("uptime", "storage")]
        async with (
            aiohttp.ClientSession() as session,
            session.get(place.admin + "/", headers={"Accept": "text/html,*/*"}) as answer,
        ):
            page = await answer.text()
        assert (await place.status())["state"] == "running"
        await place.stop()

    assert (code, about["fluent-bit"]["edition"]) == (200, "auditsink")
    for answered, text in prometheus:
        assert answered == 200
        assert 'fluentbit_output_retries_total{name="stdout.0"} 0.0' in text
    assert uptime["uptime_sec"] >= 0
    assert storage["storage_layer"]["chunks"]["mem_chunks"] == 0
    assert "<html" in page


async def test_chunks_that_fluent_bit_left_arrive_once_over_restarts(volume: Path) -> None:
    (volume / "data" / "http.0").mkdir(parents=True)
    (volume / "data" / "lost+found").mkdir(mode=0o700)
    (volume / "data" / "http.0" / "28159-1795883845.391741469.flb").write_bytes(RECORDED.read_bytes())
    async with HecServer(token=TOKEN) as hec, Place(volume, to_hec(only(Rendered(), "splunk"), hec)) as place:
        await eventually(lambda: len(hec.events) == 6)
        taken = place.said("are taken over")
        await place.kill()
        await place.start()
        await place.delivered()
        await place.stop()

    assert (taken["chunks"], taken["bytes"]) == (1, 4096)
    assert [json.loads(bytes(one.event))["auditID"] for one in hec.events] == ["a1", "b1", "a2", "b2", "a3", "b3"]
    assert json.loads(bytes(hec.events[0].event)) == {
        "region": "eu-1", "stage": "prod", "kind": "Event", "auditID": "a1", "n": 9007199254740993, "x": None,
        "stageTimestamp": "2026-11-28T16:00:00.000000Z",
    }  # fmt: skip
    assert sorted(one.name for one in (volume / "data").iterdir()) == ["auditsink", "http.0", "lost+found"]
    assert list((volume / "data" / "http.0").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_root_becomes_nobody_before_a_port_opens(volume: Path) -> None:
    (volume / "data" / "http.0").mkdir(parents=True)
    (volume / "data").chmod(0o755)
    (volume / "data" / "http.0" / "28159-1795883845.391741469.flb").write_bytes(RECORDED.read_bytes())
    async with Place(volume, only(Rendered(), "log")) as place:
        status = await asyncio.to_thread(Path(f"/proc/{place.pid}/status").read_text)
        await eventually(lambda: b"b3" in place.output)
        owners = {one.stat().st_uid for one in (volume / "data" / "auditsink").rglob("*")}
        await place.stop()

    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(UID)] * 4
    assert fields["Gid"].split() == [str(UID)] * 4
    assert fields["Groups"].split() == []
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
    assert owners == {UID}
    assert (volume / "data").stat().st_uid == (volume / "data" / "http.0").stat().st_uid == 0
    assert not stat.S_IMODE((volume / "data" / "auditsink" / "rings").stat().st_mode) & stat.S_IRWXO


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_a_program_that_only_root_may_read_is_named(volume: Path) -> None:
    place = Place(volume, only(Rendered(), "log"))
    (volume / "closed").mkdir(mode=0o700)
    place.program = anybody.copied(volume / "closed")
    await place.launch()

    assert await place.ended() == 1
    (line,) = place.lines
    assert f"{volume}/closed" in line["message"]
    assert "user 10001, who runs the sink from here on, may not read it; install Python" in line["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as somebody else")
async def test_who_may_not_write_is_told_what_to_do(volume: Path) -> None:
    place = Place(volume, only(Rendered(), "log"), user=UID)
    place.data.chmod(0o755)
    await place.launch()

    assert await place.ended() == 1
    (line,) = place.lines
    assert "auditsink: Permission denied; start the container as root, or set fsGroup: 10001" in line["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as somebody else")
async def test_a_volume_that_belongs_to_the_user_needs_no_root(volume: Path) -> None:
    posted, events = events_of("batch100-metadata-mtls-h2", 1)
    (volume / "data" / "http.0").mkdir(parents=True)
    (volume / "data" / "http.0" / "1-1795883845.391741469.flb").write_bytes(RECORDED.read_bytes())
    os.chown(volume / "data", UID, UID)
    (volume / "data" / "http.0").chmod(0o755)
    async with Place(volume, only(Rendered(), "log"), user=UID) as place:
        await place.apiserver(posted, at_once=1)
        await place.delivered()
        left = place.said("is left alone")
        await place.stop()

    assert place.output.count(b"\n") == len(events)
    assert "1-1795883845.391741469.flb (4,096 bytes): Permission denied" in left["message"]
    assert left["level"] == "error"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"nonsense": "1"}, "nonsense: is not known for splunk"),
        ({"splunk_send_raw": "on"}, "splunk_send_raw: cannot be kept"),
        ({"splunk_token": "${NOT_SET}"}, "the environment variable NOT_SET is not set"),
    ],
)
async def test_what_cannot_be_kept_ends_with_one_line(change: dict[str, str], expected: str, volume: Path) -> None:
    rendered = only(Rendered(), "splunk")
    for key in [key for key in rendered.backends["splunk"] if key.startswith("tls")]:
        del rendered.backends["splunk"][key]
    rendered.backends["splunk"] |= change
    place = Place(volume, rendered)
    await place.launch()

    assert await place.ended() == 1
    (line,) = place.lines
    assert expected in line["message"]
    assert not (place.data / "auditsink").exists()


async def test_print_only_translates(volume: Path) -> None:
    place = Place(volume, Rendered(), "--print")
    place.environment = {}
    await place.launch()

    assert await place.ended() == 0
    text = place.output.decode()
    assert text.startswith("# Without meaning here:\n")
    assert "token: ${SPLUNK_HEC_TOKEN}" in text
    assert list(place.data.iterdir()) == []

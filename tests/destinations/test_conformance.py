"""Our own destinations keep what `auditsink.testing.conformance` asks of every destination."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
import zstandard
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer

from auditsink.audit.eventlist import split
from auditsink.common.secret import Secret
from auditsink.config import (
    DestinationSection,
    FileConfig,
    ForwardConfig,
    HttpAuth,
    HttpConfig,
    KafkaConfig,
    LocalConfig,
    SplunkConfig,
)
from auditsink.config.http import HttpFormat
from auditsink.testing import hec
from auditsink.testing.collector import Collector
from auditsink.testing.conformance import Behaviour, DestinationConformance, Rig
from auditsink.testing.fluentd import Act, ForwardServer
from auditsink.testing.hec import HecServer
from auditsink.testing.scripted import Reply, ScriptedServer

ALL = frozenset(Behaviour)
FOREVER = 100
PROBE = "auditsink-probe"
"""What `check --connect` leaves in an object store."""


class _Scripted:
    """A rig around a scripted server: each behaviour is an answer to all that comes."""

    behaviours = ALL
    forms = True

    def __init__(self, server: ScriptedServer, answers: dict[Behaviour, Reply]) -> None:
        self._server = server
        self._answers = answers
        self._silence = asyncio.Event()

    async def behave(self, behaviour: Behaviour) -> None:
        self._silence.set()
        self._silence = asyncio.Event()
        common = {Behaviour.BREAKS: Reply(cut="before"), Behaviour.SILENT: Reply(503, hold=self._silence)}
        answer = (common | self._answers).get(behaviour)
        self._server.script = [] if answer is None else [answer] * FOREVER


class _Collecting(_Scripted):
    def __init__(self, server: Collector, form: HttpFormat) -> None:
        answers = {
            Behaviour.BUSY: Reply(503),
            Behaviour.UNAUTHORIZED: Reply(401),
            Behaviour.TOO_LARGE: Reply(413),
        }
        super().__init__(server, answers)
        self._collector = server
        self._form = form

    def section(self, **changes: Any) -> DestinationSection:
        auth = HttpAuth(bearer=Secret("sword-of-the-fish"))
        return HttpConfig(name="hook", url=self._collector.url, format=self._form, auth=auth, **changes)

    async def taken(self) -> Sequence[bytes]:
        return self._collector.events


@pytest.mark.parametrize("form", ["ndjson", "json_array", "event_list"])
class TestHttp(DestinationConformance):
    @pytest.fixture
    async def rig(self, form: HttpFormat) -> AsyncIterator[Rig]:
        async with Collector(refuse=lambda event: b"BAD" in event) as server:
            yield _Collecting(server, form)


class _Hec(_Scripted):
    def __init__(self, server: HecServer) -> None:
        answers = {
            Behaviour.BUSY: hec.reply(9),
            Behaviour.UNAUTHORIZED: hec.reply(4),
            Behaviour.TOO_LARGE: hec.html(413),
        }
        super().__init__(server, answers)
        self._hec = server

    def section(self, **changes: Any) -> DestinationSection:
        token = Secret("11111111-2222-3333-4444-555555555555")
        return SplunkConfig(name="siem", url=self._hec.url, token=token, **changes)

    async def taken(self) -> Sequence[bytes]:
        return [bytes(envelope.event) for envelope in self._hec.events]


class TestSplunk(DestinationConformance):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        async with HecServer(refuse=lambda event: 6 if b"BAD" in event else None) as server:
            yield _Hec(server)


class _Forward:
    """The protocol has no way to say busy, too large or bad: a receiver closes the connection."""

    behaviours = frozenset({Behaviour.TAKES, Behaviour.BREAKS, Behaviour.SILENT, Behaviour.UNAUTHORIZED})
    forms = False

    def __init__(self, server: ForwardServer) -> None:
        self._server = server

    def section(self, **changes: Any) -> DestinationSection:
        address = f"127.0.0.1:{self._server.port}"
        return ForwardConfig(name="tailer", address=address, shared_key=Secret("sword-of-the-fish"), **changes)

    async def behave(self, behaviour: Behaviour) -> None:
        acts: dict[Behaviour, Act] = {Behaviour.BREAKS: "close", Behaviour.SILENT: "nothing"}
        self._server.script = [acts[behaviour]] * FOREVER if behaviour in acts else []
        self._server.shared_key = "another" if behaviour is Behaviour.UNAUTHORIZED else "sword-of-the-fish"

    async def taken(self) -> Sequence[bytes]:
        return [orjson.dumps(record) for record in self._server.records]


class TestForward(DestinationConformance):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        async with ForwardServer(shared_key="sword-of-the-fish") as server:
            yield _Forward(server)


class _Calm:
    """What only takes."""

    behaviours = frozenset({Behaviour.TAKES})
    forms = True

    async def behave(self, behaviour: Behaviour) -> None:
        assert behaviour in (*self.behaviours, Behaviour.TAKES)


class _File(_Calm):
    def __init__(self, path: Path) -> None:
        self._path = path

    def section(self, **changes: Any) -> DestinationSection:
        return FileConfig(name="disk", path=self._path, **changes)

    async def taken(self) -> Sequence[bytes]:
        return self._path.read_bytes().splitlines() if self._path.exists() else []


class TestFile(DestinationConformance):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        return _File(tmp_path / "audit.ndjson")


class _Objects(_Calm):
    def __init__(self, path: Path, how: Literal["zstd", "gzip", "none"]) -> None:
        self._path = path
        self._how = how

    def section(self, **changes: Any) -> DestinationSection:
        return LocalConfig(name="store", path=self._path, compression=self._how, **changes)

    async def taken(self) -> Sequence[bytes]:
        unpack = gzip.decompress if self._how == "gzip" else _unzstd
        objects = sorted(path for path in self._path.rglob("*") if path.is_file() and path.name != PROBE)
        return [line for path in objects for line in unpack(path.read_bytes()).splitlines()]


def _unzstd(content: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(content)


@pytest.mark.parametrize("how", ["zstd", "gzip"])
class TestObjects(DestinationConformance):
    @pytest.fixture
    def rig(self, tmp_path: Path, how: Literal["zstd", "gzip"]) -> Rig:
        return _Objects(tmp_path, how)


class _Kafka(_Calm):
    def __init__(self, servers: list[str], topic: str) -> None:
        self._servers = servers
        self._topic = topic

    def section(self, **changes: Any) -> DestinationSection:
        return KafkaConfig(name="lake", bootstrap_servers=self._servers, topic=self._topic, **changes)

    async def taken(self) -> Sequence[bytes]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [
                TopicPartition(self._topic, at) for at in await consumer._client._wait_on_metadata(self._topic)
            ]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            return [(await consumer.getone()).value for _ in range(sum(ends.values()))]
        finally:
            await consumer.stop()


@pytest.fixture(scope="module")
def servers() -> Iterator[list[str]]:
    """Librdkafka's mock broker."""
    mock = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    yield [f"{broker.host}:{broker.port}" for broker in mock.list_topics(timeout=60).brokers.values()]
    del mock


class TestKafka(DestinationConformance):
    @pytest.fixture
    def rig(self, servers: list[str], request: pytest.FixtureRequest) -> Rig:
        return _Kafka(servers, f"conformance-{abs(hash(request.node.nodeid))}")


def test_an_event_list_is_what_an_auditsink_takes() -> None:
    """The rig of `event_list` reads what the sink's own splitter reads."""
    assert split(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{}]}\n').events == [b"{}"]

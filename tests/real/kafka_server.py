"""Apache Kafka in KRaft mode, from Maven Central: brokers in processes of their own, which tests start, stop and kill.

Each node is broker and controller, so three of them go on when one is lost.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from ground import CACHE, PATIENCE, free_port, running, tool

VERSION = "4.1.1"
SERVER = f"Apache Kafka {VERSION}"
_CLUSTER = "4L6g3nShT-eMCtK--X86sw"  # a cluster id is 16 bytes in base64; any will do
_JAVA = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>real</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version>
  </dependency></dependencies>
</project>
"""


def jars() -> Path:
    """The directory with Kafka and all it needs; fetched once."""
    home = CACHE / f"kafka-{VERSION}"
    if not (home / "whole").exists():
        maven = tool("mvn", "it fetches Apache Kafka from Maven Central")
        home.mkdir(parents=True, exist_ok=True)
        (home / "pom.xml").write_text(_POM.format(version=VERSION))
        command = [maven, "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=jars"]
        fetched = subprocess.run(command, cwd=home, check=False, capture_output=True, text=True, timeout=600)
        if fetched.returncode:
            pytest.skip(f"{SERVER} cannot be fetched: {fetched.stdout.strip()[:300]}")
        (home / "whole").touch()
    return home / "jars"


class Host(NamedTuple):
    """Where a node runs: its name or address, and what stands before a command to have it run there."""

    name: str
    command: tuple[str, ...] = ()


class Kafka:
    """`async with Kafka(place, nodes=3) as kafka`: a cluster that runs, reached at `kafka.servers`.

    `listeners` are further ones by name, each with its protocol (`{"SASL": "SASL_PLAINTEXT"}`), found in `ports`;
    `settings` go into every server's properties; `scram` are `storage format --add-scram` arguments; `disks`: where
    nodes keep their data that have a disk of their own; `hosts`: where nodes run that are not on loopback.
    """

    def __init__(
        self,
        place: Path,
        nodes: int = 1,
        *,
        listeners: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
        scram: Sequence[str] = (),
        disks: Mapping[int, Path] | None = None,
        hosts: Mapping[int, Host] | None = None,
    ) -> None:
        self._place = place
        self._java = (tool("java", "Apache Kafka runs on it"), *_JAVA, "-cp", f"{jars()}/*")
        self._listeners = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **(listeners or {})}
        self.nodes = range(1, nodes + 1)
        self._ports = {node: {name: free_port() for name in self._listeners} for node in self.nodes}
        self._settings = settings or {}
        self._scram = scram
        self._disks = disks or {}
        self._hosts = dict.fromkeys(self.nodes, Host("localhost")) | {**(hosts or {})}
        self._running: dict[int, contextlib.AsyncExitStack] = {}
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    @property
    def servers(self) -> list[str]:
        """Where clients that need no credentials connect to."""
        return self.at("PLAINTEXT")

    def at(self, listener: str) -> list[str]:
        """The servers' addresses at that listener. By name, so that a certificate can be checked."""
        return [f"{self._hosts[node].name}:{ports[listener]}" for node, ports in self._ports.items()]

    async def __aenter__(self) -> Self:
        self._place.mkdir(parents=True, exist_ok=True)
        for node in self.nodes:
            properties = self._file(node)
            properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties(node).items()))
            scram = [part for one in self._scram for part in ("--add-scram", one)]
            command = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(properties), *scram]
            await asyncio.to_thread(subprocess.run, [*self._java, *command], check=True, capture_output=True)
        try:
            await asyncio.gather(*map(self.start, self.nodes))
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        for node in tuple(self._running):
            await self.kill(node)

    async def start(self, node: int) -> None:
        """Start a node and wait until it serves."""
        command = [*self._hosts[node].command, *self._java, "kafka.Kafka", str(self._file(node))]
        log = self._place / f"{node}.log"
        stack = contextlib.AsyncExitStack()
        self._running[node] = stack
        self._processes[node] = await stack.enter_async_context(running(command, log, lambda: self._serves(node)))

    async def kill(self, node: int) -> None:
        """No chance to do anything more."""
        await self._running.pop(node).aclose()

    def data(self, node: int) -> Path:
        """Where it keeps its logs."""
        return self._disks.get(node, self._place) / f"{node}.data"

    def runs(self, node: int) -> bool:
        """Whether its process is there."""
        return self._processes[node].returncode is None

    def signal(self, node: int, number: signal.Signals) -> None:
        """Send a node a signal."""
        self._processes[node].send_signal(number)

    async def stop(self, node: int) -> None:
        """An orderly end: leadership is handed over first."""
        process = self._processes[node]
        process.terminate()
        await process.wait()
        await self.kill(node)

    async def in_sync(self) -> None:
        """Wait until each partition has all its replicas again: who takes a broker away before takes a second one."""
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(self._in_sync):  # noqa: ASYNC110 - the brokers' doing
                await asyncio.sleep(0.2)

    def _in_sync(self) -> bool:
        try:
            topics = self.admin().list_topics(timeout=5).topics.values()
        except KafkaException:
            return False
        partitions = [one for topic in topics for one in topic.partitions.values()]
        return all(one.leader >= 0 and len(one.isrs) == len(one.replicas) for one in partitions)

    def _serves(self, node: int) -> bool:
        try:
            admin = AdminClient({"bootstrap.servers": self.servers[node - 1], "log_level": 0})
            return node in admin.list_topics(timeout=1).brokers
        except KafkaException:
            return False

    def admin(self) -> AdminClient:
        """For those who need no credentials."""
        return AdminClient({"bootstrap.servers": ",".join(self.servers), "log_level": 0})

    async def create(self, topic: str, partitions: int = 1, **config: object) -> None:
        """Make a topic, a replica of it on each node; `max_message_bytes=...` is `max.message.bytes`."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin = self.admin()  # it must live until it is answered
        new = NewTopic(topic, partitions, len(self.nodes), config=settings)
        await asyncio.to_thread(admin.create_topics([new])[topic].result, 30)

    def leader(self, topic: str, partition: int = 0) -> int:
        """The node that leads it now."""
        return int(self.admin().list_topics(topic, timeout=10).topics[topic].partitions[partition].leader)

    def _file(self, node: int) -> Path:
        return self._place / f"{node}.properties"

    def _properties(self, node: int) -> dict[str, object]:
        ports = self._ports[node]
        replicas = len(self.nodes)
        voters = [f"{one}@{self._hosts[one].name}:{names['CONTROLLER']}" for one, names in self._ports.items()]
        return {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": ",".join(voters),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(f"{name}://{self._hosts[node].name}:{ports[name]}" for name in self._listeners),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in self._listeners.items()),
            "log.dirs": self.data(node),
            "auto.create.topics.enable": "false",
            "min.insync.replicas": min(2, replicas),
            "offsets.topic.num.partitions": 3,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": 3,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min(2, replicas),
            "group.initial.rebalance.delay.ms": 0,
            # A killed node is noticed in seconds; Kafka's default of 9 s only makes the tests longer.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            **self._settings,
        }


async def _serve(nodes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kafka-") as place:
        async with Kafka(Path(place), nodes) as kafka:
            print(",".join(kafka.servers), flush=True)  # noqa: T201 - it is a command here
            told = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, told.set)
            await told.wait()


if __name__ == "__main__":  # for people and for benchmarks: says where they are, and ends when it is told to
    asyncio.run(_serve(int(sys.argv[1])))

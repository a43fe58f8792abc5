"""Reservations of clusters with a topic as the spool: what is reserved for one is left by all others."""

import asyncio
import itertools
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from kafka_server import SERVER, Kafka
from rows import Rows
from running import PATIENCE, Sink, check_accounts

from auditsink.audit.eventlist import joined
from auditsink.testing.collector import Collector
from auditsink.testing.scripted import Received, Reply

pytestmark = pytest.mark.quick
MIB = 2**20
MAX, RESERVED = 24 * MIB, 8 * MIB
PAYLOAD = MIB // 8
"""Bytes of one batch that do not compress."""
RECORD = range(132_300, 132_700)
"""Bytes of a record of it, as zstd packs them: so 126 fit into what is shared, and 63 into what is reserved."""


class Away(Collector):
    """A destination that is down until it is not."""

    away = True

    async def respond(self, request: Received) -> Reply:
        return Reply(503) if self.away else await super().respond(request)


class Posts:
    """Batches that do not compress. `answered`: the ids of what was answered 200, by cluster."""

    def __init__(self, *sinks: Sink) -> None:
        self.answered: defaultdict[str, set[str]] = defaultdict(set)
        self._sinks = sinks
        self._numbers = itertools.count()

    async def one(self, sink: Sink, cluster: str) -> bool:
        """Whether it was taken; what was taken before has been counted by this receiver."""
        await used(sink, cluster, len(self.answered[cluster]) * PAYLOAD)
        return await self.soon(sink, cluster)

    async def soon(self, sink: Sink, cluster: str) -> bool:
        """Whether it was taken, whatever this receiver knows by now."""
        name = f"{cluster}-{next(self._numbers)}"
        event = f'{{"auditID":"{name}","requestObject":"{os.urandom(PAYLOAD).hex()}"}}'
        status, headers = await sink.post(joined([event.encode()]), f"/{cluster}")
        assert (status, "retry-after" in headers) in {(200, False), (503, True)}
        if status == 200:
            self.answered[cluster].add(name)
        return status == 200

    async def until_full(self, cluster: str, room: int) -> None:
        """Post to one receiver after the other, again where one refuses, until there is no room for one more."""
        deadline = time.monotonic() + PATIENCE
        while (len(self.answered[cluster]) + 1) * RECORD.stop <= room:
            if any([await self.one(sink, cluster) for sink in self._sinks]):
                deadline = time.monotonic() + PATIENCE
                continue
            said = [await sink.get("/reservations") for sink in self._sinks]
            assert time.monotonic() < deadline, (len(self.answered[cluster]), *said)
            await asyncio.sleep(0.2)
        assert len(self.answered[cluster]) * RECORD.start <= room
        for sink in self._sinks:
            assert not await self.one(sink, cluster)

    async def until_taken(self, sink: Sink, cluster: str) -> None:
        """As an apiserver does: again, until there is room."""
        async with asyncio.timeout(2 * PATIENCE):
            while not await self.soon(sink, cluster):  # noqa: ASYNC110 - the sink's doing
                await asyncio.sleep(0.2)


async def used(sink: Sink, cluster: str, least: int, most: int = MAX) -> dict[str, Any]:
    """The cluster's row of `/reservations` when it has so many bytes there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        several = json.loads(await sink.get("/reservations"))["clusters"]
        found: dict[str, Any] = next(one for one in several if one["cluster"] == cluster)
        if least <= found["used_bytes"] <= most:
            return found
        assert time.monotonic() < deadline, several
        await asyncio.sleep(0.05)


async def test_a_noisy_cluster_is_refused_and_a_reserved_one_gets_all_of_its_own(tmp_path: Path, rows: Rows) -> None:
    settings = {"log.retention.check.interval.ms": 500}
    clusters = [{"name": "quiet", "anonymous": True, "reservation": "8MiB"}, {"name": "noisy", "anonymous": True}]
    async with Kafka(tmp_path / "kafka", settings=settings) as kafka, Away() as away:
        sections: dict[str, Any] = {
            "spool": {
                "type": "kafka", "bootstrap_servers": kafka.servers, "partitions": 2, "replication_factor": 1,
                "accept_loss": True, "max_bytes": "24MiB",
            },
            "receive": {"max_body": "1MiB"},
            "clusters": clusters,
        }  # fmt: skip
        retrying = {"initial": "100ms", "max": "500ms"}
        hook = [{"name": "hook", "type": "http", "url": away.url, "backoff": retrying, "compression": "none"}]
        async with (
            Sink(tmp_path / "both", hook, **sections) as both,
            Sink(tmp_path / "receiver", hook, roles=["receive"], **sections) as receiver,
        ):
            posts = Posts(both, receiver)
            await posts.until_full("noisy", MAX - RESERVED)
            assert (await used(receiver, "quiet", 0))["state"] == "ok"

            await receiver.kill()
            await receiver.start()
            assert not await posts.soon(receiver, "noisy")  # although it has read nothing yet

            await posts.until_full("quiet", RESERVED)
            for sink in (both, receiver):
                found = await used(sink, "quiet", len(posts.answered["quiet"]) * PAYLOAD)
                assert (found["reserved_bytes"], found["shared_bytes"]) == (RESERVED, 0)
            taken = {cluster: len(several) for cluster, several in posts.answered.items()}

            away.away = False
            for sink in (both, receiver):
                await used(sink, "noisy", 0, 4 * MIB)
            await posts.until_taken(receiver, "noisy")
            check_accounts(await both.delivered())
        arrived = [event.decode().split('"')[3] for event in away.events]
        assert set(arrived) == set().union(*posts.answered.values())
    rows(
        server=f"{SERVER}, 1 node, as the spool",
        thrown=f"24 MiB, 8 reserved, destination down: taken {taken['noisy']} of the noisy one, {taken['quiet']}",
        into=sum(taken.values()) + 1,
        out=len(set(arrived)),
        repeated=len(arrived) - len(set(arrived)),
    )

"""A period of the topic: what lies in it, once and in order, and what cannot be had."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.structs import TopicPartition
from topickit import EPOCH, SECOND, body, names, packer, posted

from auditsink.config import Spool
from auditsink.kafka_spool.place import GroupPlace, Reached
from auditsink.kafka_spool.scanning import AROUND_MS, PeriodScan, TopicScan, verified
from auditsink.spool.types import Account, Record, Tally

MINUTE = 60 * SECOND


@dataclass(frozen=True)
class FetchedRecord:
    """As aiokafka gives it, as far as it is looked at."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class ScriptedScan(TopicScan):
    """Partitions in memory, some of whose first records are deleted."""

    def __init__(self, *partitions: list[tuple[str, int, int]], first: int = 0) -> None:
        """Each record is (cluster, number, minute). `first`: the first offset that is left in each partition."""
        super().__init__("t", None, None)
        self._first = first
        self.places: dict[tuple[str, int], GroupPlace] = {}
        self.log = [[self._record(number, *one) for number, one in enumerate(several)] for several in partitions]

    def _record(self, offset: int, cluster: str, number: int, minute: int) -> FetchedRecord:
        request, packing = posted(cluster, body(cluster, number, 2), EPOCH + minute * MINUTE), packer()
        packing.digest(request)
        ((encoded, _),) = packing.pack([request])
        at = request.received_ns // 10**6
        return FetchedRecord("t", 0, offset, at, encoded.key, encoded.value, list(encoded.headers))

    async def partitions(self) -> list[TopicPartition]:
        return [TopicPartition("t", number) for number in range(len(self.log))]

    async def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        return self._first, len(self.log[partition.partition])

    async def since(self, partition: TopicPartition, at_ms: int) -> int | None:
        left = self.log[partition.partition][self._first :]
        return next((one.offset for one in left if one.timestamp >= at_ms), None)

    async def place(self, destination: str, partition: TopicPartition, start: int) -> GroupPlace:
        return self.places.get((destination, partition.partition), GroupPlace(start, start))

    async def records(self, partition: TopicPartition, at: int, end: int) -> AsyncIterator[list[Any]]:
        for start in range(at, end, 7):
            yield list(self.log[partition.partition][start : min(end, start + 7)])


async def read(
    scan: TopicScan, start: int, stop: int, cluster: str | None = None
) -> tuple[dict[str, list[Record]], list[str], int]:
    """What minutes from `start` to `stop` hold, what was told, and how many records were looked at."""
    told: list[str] = []
    period = range(EPOCH + start * MINUTE, EPOCH + stop * MINUTE)
    held = PeriodScan(Spool(type="kafka", bootstrap_servers=["k:1"]), period, cluster, told.append)
    size, looked = await held.look(scan), [0]
    found: dict[str, list[Record]] = {}
    async for name, records in held.read(scan, looked.append):
        found.setdefault(name, []).extend(records)
    assert sum(looked) == size
    return found, told, size


async def test_a_period_is_read_once_and_in_order() -> None:
    twice = [("a", number, number) for number in range(30) for _ in range(2)]  # a retry that another receiver took
    found, told, size = await read(ScriptedScan(twice, [("b", 1, 11), ("c", 1, 3)]), 10, 13)
    assert {cluster: [name for one in records for name in names(one.events)] for cluster, records in found.items()} == {
        "a": [f"a-{number}-{index}" for number in (10, 11, 12) for index in range(2)],
        "b": ["b-1-0", "b-1-1"],
    }
    assert [one.first_sequence for one in found["a"]] == [0, 2, 4]
    assert (told, size < 15) == ([], True)


async def test_one_cluster_alone_can_be_had() -> None:
    found, _, _ = await read(ScriptedScan([("a", 1, 5), ("b", 1, 5)]), 0, 10, "b")
    assert list(found) == ["b"]


async def test_records_out_of_the_order_of_their_times_are_found() -> None:
    late = AROUND_MS // 60_000
    found, _, _ = await read(ScriptedScan([("a", 1, 5 - late), ("a", 2, 5), ("a", 3, 5 - late), ("a", 4, 5)]), 5, 6)
    assert [name for one in found["a"] for name in names(one.events)] == ["a-2-0", "a-2-1", "a-4-0", "a-4-1"]


async def test_what_is_deleted_is_told_and_only_then() -> None:
    log = [("a", number, number) for number in range(30)]
    found, told, _ = await read(ScriptedScan(log, first=20), 10, 25)
    assert len(found["a"]) == 5
    assert len(told) == 1
    assert told[0].startswith("1 partitions do not reach back so far, one of them only to 2023-11-14T22:33:20Z")
    assert (await read(ScriptedScan(log, first=20), 22, 25))[1] == []
    assert (await read(ScriptedScan(log), 10, 25))[1] == []


async def test_what_cannot_be_read_is_told_and_passed_over() -> None:
    scan = ScriptedScan([("a", 1, 5), ("a", 2, 6)])
    broken = scan.log[0][0]
    scan.log[0][0] = FetchedRecord("t", 0, 0, broken.timestamp, None, b"x", [])
    found, told, _ = await read(scan, 0, 10)
    assert (len(found["a"]), told) == (1, ["t/0/0 cannot be read: it was not written by auditsink"])


async def test_all_of_a_topic_is_counted_and_the_accounts_add_up() -> None:
    scan = ScriptedScan([("a", number, 1) for number in range(10)] + [("b", 1, 1), ("b", 1, 1)], [("c", 1, 1)])
    # All up to offset 8 is done but for a's, which is at the second event of the fourth record; some is older still.
    scan.places["siem", 0] = GroupPlace(3, 8, -1, {"a": Reached(3, 1)}, {"a": Tally(delivered=7)}, Tally(filtered=4))
    looked: list[int] = []
    report = await verified(scan, ["siem", "new"], None, looked.append)
    assert (sum(looked), report.partitions, report.problems) == (13, 2, [])
    assert {name: (one.events, one.requests) for name, one in report.clusters.items()} == {
        "a": (20, 10), "b": (4, 2), "c": (2, 1),
    }  # fmt: skip
    assert report.account("siem") == Account(11 + 17, 7, 4, 0, 0, 13 + 2 + 2)  # b's repeat counts once
    assert report.account("new") == Account(24, 0, 0, 0, 0, 24)


async def test_what_is_wrong_with_a_topic_is_named() -> None:
    scan = ScriptedScan([("a", number, 1) for number in range(9)], first=2)
    scan.places["siem", 0] = GroupPlace(1, 1)
    for offset, change in ((3, {"key": None}), (4, {"value": b"x" * 80})):
        scan.log[0][offset] = replace(scan.log[0][offset], **change)
    del scan.log[0][6]
    report = await verified(scan, ["siem"], None, lambda _: None)
    assert report.problems == [
        "t/0: offsets 1 to 1 were deleted before siem had them",
        "t/0/3 cannot be read: it was not written by auditsink",
        "t/0/4 cannot be read: its checksum does not hold",
        "t/0: offsets 6 to 6 are missing",
    ]

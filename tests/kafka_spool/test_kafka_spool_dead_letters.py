"""Dead letters in a topic, over librdkafka's mock cluster: kept, listed, taken away, and bounded for all forwarders."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest
import pytest_asyncio
from confluent_kafka import Producer

from auditsink.audit.eventlist import Mark
from auditsink.config import Spool
from auditsink.delivery.destination import Batch
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letter_count import DeadLetterCount
from auditsink.forward.dead_letters import DeadLettersFullError
from auditsink.kafka.brokers import Brokers, BrokerSettings
from auditsink.kafka_spool import dead_letters, topic
from auditsink.kafka_spool.dead_letters import DeadLetterTopic, KnownLetters, TopicDeadLetters, all_letters
from auditsink.kafka_spool.topic import TopicFacts

AT_NS = 1_795_388_400_123_456_000
LETTERS = "spool.dead"


def letter(number: int, event: bytes = b'{"a":"\xc3\xbc"}', reason: str = "no") -> DeadLetter:
    return DeadLetter.of("siem", Batch("c1", "CN=api", [event], [number], AT_NS, Mark(0)), 0, reason, AT_NS)


@pytest.fixture
def servers() -> Iterator[list[str]]:
    """One broker."""
    mock = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    found = mock.list_topics(LETTERS, timeout=60).brokers.values()
    yield [f"{one.host}:{one.port}" for one in found]
    del mock


@pytest_asyncio.fixture
async def forwarders(servers: list[str]) -> AsyncIterator[list[DeadLetterTopic]]:
    """Two sinks' views of the topic."""
    config = Spool(type="kafka", bootstrap_servers=servers)
    several = [
        DeadLetterTopic(Brokers(BrokerSettings("spool", servers, config.security, 20.0)), LETTERS) for _ in range(2)
    ]
    yield several
    for one in several:
        await one.close()


def of(topic: DeadLetterTopic, destination: str = "siem", max_bytes: int | None = 10**6) -> TopicDeadLetters:
    loop = asyncio.get_running_loop()

    def run(wanted: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(wanted, loop).result()

    return TopicDeadLetters(topic, destination, run, max_bytes)


async def test_what_one_forwarder_keeps_another_lists_and_takes_away(forwarders: list[DeadLetterTopic]) -> None:
    first, second = of(forwarders[0]), of(forwarders[1])
    letters = [letter(number, b"\xff" * number, reason=f"code {number % 2}") for number in range(5)]
    assert await asyncio.to_thread(first.append, letters) == 0
    assert await asyncio.to_thread(second.append, [letters[2], letter(5)]) == 0  # a restart refuses one again
    assert await asyncio.to_thread(list, second) == [*letters, letter(5)]
    assert await asyncio.to_thread(second.get, letters[3].id) == letters[3]
    assert await asyncio.to_thread(second.remove, {letters[1].id, letters[3].id, "none"}) == 2
    assert await asyncio.to_thread(list, first) == [letters[0], letters[2], letters[4], letter(5)]
    assert await asyncio.to_thread(first.get, letters[3].id) is None
    assert await asyncio.to_thread(first.append, [letters[3]]) == 0  # refused once more, after it was replayed
    assert (await asyncio.to_thread(list, second))[-1] == letters[3]
    assert await asyncio.to_thread(second.clear) == 5
    assert await asyncio.to_thread(list, first) == []


async def test_they_are_counted_as_on_a_disk(forwarders: list[DeadLetterTopic]) -> None:
    siem, other = of(forwarders[0]), of(forwarders[0], "other")
    count = DeadLetterCount(of(forwarders[1]))
    await asyncio.to_thread(count.look)
    assert count.waiting.total == 0
    await asyncio.to_thread(siem.append, [letter(1), letter(2), letter(3, reason="else")])
    await asyncio.to_thread(other.append, [letter(1)])
    await asyncio.to_thread(count.look)
    assert {(one.reason, one.count) for one in count.waiting.reasons} == {("no", 2), ("else", 1)}
    await asyncio.to_thread(siem.remove, {letter(1).id})
    await asyncio.to_thread(count.look)
    await asyncio.to_thread(siem.append, [letter(4)])
    await asyncio.to_thread(count.look)
    assert (count.waiting.total, count.waiting.by_cluster) == (3, {"c1": 3})
    assert list(await asyncio.to_thread(all_letters, forwarders[1], of(forwarders[1])._run)) == ["other", "siem"]


async def test_no_room_is_no_room_for_all_forwarders(forwarders: list[DeadLetterTopic]) -> None:
    room = len(letter(1).encode()) * 3
    first, second = (of(one, max_bytes=room) for one in forwarders)
    await asyncio.to_thread(first.append, [letter(1), letter(2)])
    with pytest.raises(DeadLettersFullError, match=r"'siem' are full .* in topic spool\.dead"):
        await asyncio.to_thread(second.append, [letter(3), letter(4)])
    assert await asyncio.to_thread(list, second) == [letter(1), letter(2)]
    await asyncio.to_thread(second.remove, {letter(1).id})
    assert await asyncio.to_thread(second.append, [letter(3), letter(4)]) == 0


async def test_what_is_no_dead_letter_is_passed_over(forwarders: list[DeadLetterTopic], servers: list[str]) -> None:
    stranger = Producer({"bootstrap.servers": ",".join(servers)})
    for key, value in ((None, b"x"), (b"siem", b"x"), (b"siem/zz", b"x"), (b"siem/0123456789ab", b"[]")):
        stranger.produce(LETTERS, key=key, value=value, partition=0)
    assert await asyncio.to_thread(stranger.flush, 60) == 0
    siem = of(forwarders[0])
    await asyncio.to_thread(siem.append, [letter(1)])
    assert await asyncio.to_thread(list, siem) == [letter(1)]


async def test_brokers_that_are_away_are_an_error_with_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "READ_SECONDS", 0.5)
    config = Spool(type="kafka", bootstrap_servers=["127.0.0.1:1"])
    away = DeadLetterTopic(Brokers(BrokerSettings("spool", ["127.0.0.1:1"], config.security, 1.0)), LETTERS)
    with pytest.raises(OSError, match=r"Kafka, topic spool\.dead: 127\.0\.0\.1:1: "):
        await asyncio.to_thread(of(away).append, [letter(1)])
    await away.close()


def test_a_record_that_comes_twice_counts_once_and_its_last_place_holds() -> None:
    known = KnownLetters()
    for offset in (3, 7):
        known.note(b"a", offset, 100)
    known.note(b"b", 8, 50)
    assert (known.size, known.last, known.holds(b"a", 3), known.holds(b"a", 7)) == (150, 9, False, True)
    known.note(b"a", 9, None)
    known.note(b"c", 10, None)
    assert (known.size, known.removals, known.holds(b"a", 7)) == (50, 2, False)


def test_what_the_topic_is_made_with_is_what_is_asked_of_one() -> None:
    plan = topic.dead_letter_topic(Spool(type="kafka", bootstrap_servers=["k:1"], replication_factor=3), 2**31)
    facts = TopicFacts(1, 3, plan.settings)
    assert (plan.name, plan.partitions, plan.replication_factor) == ("auditsink.spool.dead", 1, 3)
    assert list(topic.broken_promises(facts, "compact")) == []
    assert [said.partition(",")[0] for said in topic.broken_promises(facts)] == ["has cleanup.policy=compact"]

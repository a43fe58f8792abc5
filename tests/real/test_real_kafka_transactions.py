"""The cursor that Kafka keeps with the events: what is believed of it, and who may write it."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import corpus
import pytest
from kafka_reading import read, values
from kafka_secured import PASSWORD, USER, Secured
from kafka_server import SERVER
from kafkarig import figures, lake, trouble
from rows import Rows
from running import Sink

pytestmark = pytest.mark.asyncio(loop_scope="session")


def posts(name: str, count: int = 10) -> list[corpus.Body]:
    return [corpus.plain_body(f"{name}-{number}", count=30) for number in range(count)]


async def life(place: Path, broker: Secured, topic: str, bodies: Sequence[corpus.Body]) -> dict[str, object]:
    """A sink runs, takes all that, delivers it, stops."""
    async with Sink(place, [lake(broker.servers, topic=topic, transactional_id=topic)]) as sink:
        for body in bodies:
            assert (await sink.post(body.data))[0] == 200
        status = await sink.delivered()
        assert (await sink.stop())[0] == 0
    return status


def events(bodies: Sequence[corpus.Body]) -> list[bytes]:
    return [event for body in bodies for event in body.events]


async def test_a_cursor_that_fell_behind_repeats_nothing(broker: Secured, tmp_path: Path, rows: Rows) -> None:
    """What a power loss does to a cursor that was not synced: Kafka knows better."""
    await broker.create("behind")
    first, second = posts("first"), posts("second")
    cursor = tmp_path / "sink" / "spool" / "rings" / "default" / "cursors" / "lake.cursor"
    await life(tmp_path / "sink", broker, "behind", first)
    await asyncio.to_thread(shutil.copy, cursor, tmp_path / "older")
    await life(tmp_path / "sink", broker, "behind", second)
    await asyncio.to_thread(shutil.copy, tmp_path / "older", cursor)
    status = await life(tmp_path / "sink", broker, "behind", [])

    found = await read(broker.servers, "behind")
    assert values(found) == events([*first, *second])
    rows(server=SERVER, thrown="a cursor file set back by 300 events, transactions", **figures(found, status))


async def test_an_older_copy_of_the_spool_loses_nothing(broker: Secured, tmp_path: Path, rows: Rows) -> None:
    """Its next events get sequences that Kafka's position has passed: they are other events, and are all sent."""
    await broker.create("older")
    spool, copy = tmp_path / "sink" / "spool", tmp_path / "copy"
    first, lost, later = posts("first"), posts("lost"), posts("later")
    await life(tmp_path / "sink", broker, "older", first)
    await asyncio.to_thread(shutil.copytree, spool, copy)
    await life(tmp_path / "sink", broker, "older", lost)
    await asyncio.to_thread(shutil.rmtree, spool)
    await asyncio.to_thread(shutil.copytree, copy, spool)
    await life(tmp_path / "sink", broker, "older", later)

    found = await read(broker.servers, "older")
    assert values(found) == events([*first, *lost, *later])
    rows(
        server=SERVER, thrown="the spool set back to an older copy, transactions",
        into=900, out=len(set(values(found))), repeated=len(found) - len(set(values(found))),
    )  # fmt: skip


async def test_a_new_spool_loses_nothing(broker: Secured, tmp_path: Path, rows: Rows) -> None:
    """Its sequences begin at 0 again."""
    await broker.create("new")
    first, second = posts("first"), posts("second", 5)
    await life(tmp_path / "one", broker, "new", first)
    await life(tmp_path / "two", broker, "new", second)

    found = await read(broker.servers, "new")
    assert values(found) == events([*first, *second])
    rows(
        server=SERVER, thrown="a new spool under the same transactional_id",
        into=450, out=len(set(values(found))), repeated=len(found) - len(set(values(found))),
    )  # fmt: skip


async def test_of_two_sinks_with_one_id_the_older_is_fenced(broker: Secured, tmp_path: Path, rows: Rows) -> None:
    """It pauses and says why instead of fighting; what it holds arrives when it is alone."""
    await broker.create("two")
    own = lake(broker.servers, topic="two", transactional_id="two")
    first, second, third = posts("first", 2), posts("second", 2), posts("third", 2)
    async with Sink(tmp_path / "old", [own]) as old:
        for body in first:
            assert (await old.post(body.data, "/old"))[0] == 200
        await old.delivered()
        async with Sink(tmp_path / "new", [own]) as new:
            for body in second:
                assert (await new.post(body.data, "/new"))[0] == 200
            await new.delivered()
            for body in third:
                assert (await old.post(body.data, "/old"))[0] == 200
            status = await trouble(old, "misconfigured", "another sink uses the same transactional_id")
            assert status["pending"] == 60
        assert (await old.stop())[0] == 0
        await old.start()
        status = await old.delivered()

    found = await read(broker.servers, "two")
    assert corpus.digests(values(found)) == corpus.digests(events([*first, *second, *third]))
    rows(
        server=SERVER, thrown="two sinks with one transactional_id",
        into=180, out=len(set(values(found))), repeated=len(found) - len(set(values(found))),
    )  # fmt: skip


async def test_a_refused_event_is_a_dead_letter_also_in_a_transaction(
    broker: Secured, tmp_path: Path, rows: Rows
) -> None:
    """Its neighbours go once, in order."""
    await broker.create("limited", max_message_bytes=50_000)
    sizes = [1000] * 40 + [100_000] + [1000] * 40
    sent = [corpus.event(f"e{number}", b'"' + b"x" * size + b'"') for number, size in enumerate(sizes)]
    own = lake(broker.servers, topic="limited", transactional_id="limited", compression="none")
    async with Sink(tmp_path / "sink", [own]) as sink:
        assert (await sink.post(corpus.event_list(sent)))[0] == 200
        status = await sink.delivered()

    found = await read(broker.servers, "limited")
    assert values(found) == sent[:40] + sent[41:]
    assert status["destinations"][0]["dead_lettered"] == 1
    rows(server=SERVER, thrown="1 of 81 events over the limit, transactions", **figures(found, status))


async def test_the_rights_that_transactions_need(broker: Secured, tmp_path: Path, rows: Rows) -> None:
    """Without them the destination pauses and says which; with those of the documentation it goes on."""
    await broker.create("rights")
    await broker.grant(USER, "rights")
    security = {"mechanism": "PLAIN", "username": USER, "password": PASSWORD}
    own = lake(broker.at("SASL"), topic="rights", transactional_id="rights", security=security)
    (body,) = posts("rights", 1)
    async with Sink(tmp_path / "sink", [own]) as sink:
        assert (await sink.post(body.data))[0] == 200
        status = await trouble(sink, "misconfigured", "describe the transactional_id", "read groups")
        assert status["pending"] == 30
        await broker.grant_transactions(USER, "rights", "rights")
        status = await sink.delivered()

    found = await read(broker.servers, "rights")
    assert values(found) == body.events
    rows(server=SERVER, thrown="no right to use the transactional_id, then granted", **figures(found, status))

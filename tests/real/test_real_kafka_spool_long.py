"""A topic as the spool, for long: everything that may go wrong with three brokers, three receivers, two forwarders.

`make torture` runs it. AUDITSINK_KAFKA_MINUTES: how long processes are killed at random, a quarter of an hour unless it
says otherwise; AUDITSINK_SEED: which ones and when.
"""

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import MIB, blank, loop_refusal, mounted
from kafka_landscape import (
    Destinations,
    Fault,
    Landscape,
    Posting,
    fill_a_disk,
    hang_a_forwarder,
    kill_any,
    restart_all,
    seed,
    throw,
)
from kafka_network import Network, network_refusal
from kafka_server import Kafka
from ledger import Ledger
from rows import Rows
from running import Sink

pytestmark = pytest.mark.skipif(
    os.environ.get("AUDITSINK_TORTURE", "") in ("", "0"), reason="one of the long forms: make torture"
)
MINUTES = float(os.environ.get("AUDITSINK_KAFKA_MINUTES") or 15)
TIMES = 6
"""How often the other faults are thrown."""
PAUSE = 0.2
"""Seconds between two batches of a client: what arrives is held by the event, and that for all of the time."""
CLIENTS = 6
DISK = 192 * MIB


def for_minutes(fault: Fault, minutes: float) -> Iterator[Fault]:
    """The same fault until the time is over."""
    ends = time.monotonic() + 60 * minutes
    return itertools.takewhile(lambda _: time.monotonic() < ends, itertools.repeat(fault))


async def test_any_process_is_killed_at_random(tmp_path: Path, rows: Rows) -> None:
    """Brokers, receivers, forwarders, one at a time, for a quarter of an hour."""
    async with Kafka(tmp_path / "kafka", 3) as kafka:
        faults = for_minutes(kill_any, MINUTES)
        await throw(tmp_path, kafka, faults, rows, "kill -9 of any process", pause=PAUSE)


async def test_everything_is_restarted_in_turn(tmp_path: Path, rows: Rows) -> None:
    """Rolling restarts of all sinks and all brokers."""
    async with Kafka(tmp_path / "kafka", 3) as kafka:
        faults = [restart_all] * (TIMES // 2)
        await throw(tmp_path, kafka, faults, rows, "rolling restart", pause=PAUSE)


async def test_a_forwarder_hangs_and_wakes_after_its_partitions_are_others(tmp_path: Path, rows: Rows) -> None:
    """Again and again: what it was in the middle of is delivered by both, and no place moves back."""
    async with Kafka(tmp_path / "kafka", 3) as kafka:
        faults = [hang_a_forwarder] * TIMES
        await throw(tmp_path, kafka, faults, rows, "SIGSTOP, SIGCONT", pause=PAUSE)


async def test_a_brokers_disk_is_full(tmp_path: Path, rows: Rows) -> None:
    """Each broker has an ext4 of its own; one of them has no room left, then it has again."""
    if (why := loop_refusal()) is not None:
        pytest.skip(why)
    with contextlib.ExitStack() as mounts:
        disks = {node: tmp_path / f"disk-{node}" for node in (1, 2, 3)}
        for node, place in disks.items():
            mounts.enter_context(mounted(blank(tmp_path / f"disk-{node}.img", DISK), place))
        async with Kafka(tmp_path / "kafka", 3, disks=disks) as kafka:
            faults = [fill_a_disk] * TIMES
            await throw(tmp_path, kafka, faults, rows, "full disk", pause=PAUSE)


async def test_the_network_drops_a_broker(tmp_path: Path, rows: Rows) -> None:
    """Nobody is told: packets to and from it are gone, and then they are not."""
    if (why := network_refusal()) is not None:
        pytest.skip(why)
    with Network(3) as network:

        async def cut_off(landscape: Landscape, chance: random.Random) -> None:
            node = chance.choice(landscape.kafka.nodes)
            landscape.ends += 1
            network.cut(node)
            await asyncio.sleep(chance.uniform(5.0, 25.0))
            network.join(node)
            await landscape.kafka.in_sync()

        async with Kafka(tmp_path / "kafka", 3, hosts=network.hosts) as kafka:
            faults = [cut_off] * TIMES
            await throw(tmp_path, kafka, faults, rows, "cut off", pause=PAUSE)


async def test_one_sink_with_a_disk_is_killed_as_often(tmp_path: Path, rows: Rows) -> None:
    """What availability is compared with: killed at random and started again at once, for a third of the time."""
    chance = random.Random(seed())
    ledger = Ledger(tmp_path / "ledger")
    there = Destinations()
    kills = 0
    async with there.running() as destinations, Sink(tmp_path / "sink", destinations) as sink:
        async with Posting(sink, ledger, CLIENTS, seed=seed(), pause=PAUSE) as storm:
            for kills, _ in enumerate(for_minutes(kill_any, MINUTES / 3), 1):  # noqa: B007 - the last one is how many
                await asyncio.sleep(chance.uniform(0.5, 3.0))
                await sink.kill()
                await sink.start()
        await there.all_of(ledger)
        await sink.delivered()
    there.note(rows, ledger, "one sink with a disk", f"{kills} x kill -9 (seed {seed()})", storm.said())

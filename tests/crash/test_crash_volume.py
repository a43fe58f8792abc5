"""The volume is deleted under load, again and again, and a sink is started elsewhere: what the copy held arrives.

Times of day are compared, of this machine alone: the moment before which all is in the copy is one of them.
"""

import asyncio
import io
import itertools
import os
import random
import re
import shutil
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import corpus
import orjson
import pytest
from click.testing import CliRunner
from effort import Effort, Report, only_long
from running import Sink, check_accounts

from auditsink.cli import commands
from auditsink.spool.offline import inspect
from auditsink.testing.collector import Collector

NOBODY = "http://127.0.0.1:9"
LONGEST_AGE = 15.0
POSTERS = 3
EVERY = "2s"
_NAMED = re.compile(r"missing: events? (\d+)(?: to (\d+))?")
_NOTED = re.compile(r"events (\d+) to (\d+) are missing: the copy that was restored")


@dataclass
class Taken:
    """Events that were answered 200, with the time of day right after the answer."""

    answered: dict[bytes, float] = field(default_factory=dict)
    posts: int = 0
    unanswered: int = 0


async def posting(sink: Sink, taken: Taken, numbers: "itertools.count[int]") -> None:
    """Post until the sink is gone. A batch without an answer is not tried again: nothing is promised for it."""
    async with aiohttp.ClientSession() as session:
        while True:
            number = next(numbers)
            body = corpus.plain_body(f"volume-{number}", 20, 200)
            try:
                async with session.post(sink.receive, data=io.BytesIO(body.data)) as answer:
                    await answer.read()
                    if answer.status == 200:
                        now = time.time()
                        taken.answered.update((event, now) for event in body.events)
                        taken.posts += 1
            except (aiohttp.ClientError, OSError):
                taken.unanswered += 1
                return
            await asyncio.sleep(0.002)


def backup(place: Path, every: str) -> dict[str, Any]:
    return {"max_bytes": "256MiB", "segment_bytes": "256KiB",
            "backup": {"type": "local", "path": str(place / "copy"), "every": every}}  # fmt: skip


def hook(url: str) -> dict[str, Any]:
    return {"name": "hook", "type": "http", "url": url, "backoff": {"initial": "50ms", "max": "200ms"},
            "batch": {"max_wait": "50ms"}}  # fmt: skip


def verified(spool: Path, checkpoints: Path) -> str:
    """What `auditsink verify` says."""
    words = ["verify", "--spool", str(spool), "--checkpoints", str(checkpoints), "--mismatches", "100000"]
    return CliRunner().invoke(commands, words).output


def spool_verified(spool: Path) -> set[int]:
    """The sequences that `auditsink spool verify` notes as missing; it finds nothing else."""
    said = CliRunner().invoke(commands, ["spool", "verify", "--path", str(spool)])
    assert said.exit_code == 0, said.output
    return ranges(_NOTED.findall(said.output))


def ranges(found: list[tuple[str, str]]) -> set[int]:
    """Sequences, of the first and the last of each range as text."""
    return {at for first, last in found for at in range(int(first), int(last or first) + 1)}


def held(spool: Path, since: int) -> dict[int, bytes]:
    """The events of a spool by their sequence, from one on."""
    several = (record.since(since) for record in inspect.records(spool, "default"))
    return {record.first_sequence + at: event for record in several for at, event in enumerate(record.events)}


def stated(checkpoints: Path) -> int:
    """The sequence after the last one that a checkpoint states: the next volume's sink knows of it."""
    lines = checkpoints.read_bytes().splitlines() if checkpoints.exists() else []
    return max((orjson.loads(line)["checkpoint"]["next"] for line in lines), default=0)


@pytest.mark.parametrize("every", ["2s", pytest.param("10s", marks=only_long)])
async def test_what_is_older_than_the_copy_arrives_and_verify_names_the_rest(
    tmp_path: Path, effort: Effort, report: Report, every: str
) -> None:
    rounds = effort.of(3, 50)
    longest = LONGEST_AGE if effort.long else 10 * LONGEST_AGE  # the quick form runs beside other tests
    chance = random.Random(effort.seed)
    numbers, taken = itertools.count(), Taken()
    checkpoints = tmp_path / "checkpoints.ndjson"
    evidence = {"path": str(checkpoints), "every": "1s"}
    shown: list[float] = []  # ages, as the sink tells them
    ages: list[float] = []  # of the copy that was restored, when the volume was deleted
    losses: list[tuple[float, float]] = []  # from when what was answered may be missing, until the volume was gone
    named: set[int] = set()
    lost: set[bytes] = set()
    younger = begin = 0
    answered_at: float | None = None  # the first of them, or a little later
    copied = False  # since then: before there is no ring that could come back
    async with Collector() as collector:
        sink = Sink(tmp_path / "volume-0", [hook(NOBODY)], spool=backup(tmp_path, every), evidence=evidence)
        await sink.start()
        for turn in range(1, rounds + 1):
            posters = [asyncio.create_task(posting(sink, taken, numbers)) for _ in range(POSTERS)]
            end = time.monotonic() + chance.uniform(0.5, 5.0 if every == EVERY else 15.0)
            while (now := time.monotonic()) < end or not copied:
                if answered_at is None and taken.answered:
                    answered_at = now
                age = (await sink.status())["backup"]["age_seconds"]
                if age is not None:
                    shown.append(age)
                    copied = copied or (answered_at is not None and now - age > answered_at)
                await asyncio.sleep(0.25)
            await sink.kill()
            await asyncio.gather(*posters)  # an answer that was on its way is read
            gone = time.time()
            before, known = held(sink.spool, begin), stated(checkpoints)
            shutil.rmtree(sink.spool)
            there = chance.random() < 0.5 or turn == rounds
            sink = Sink(
                tmp_path / f"volume-{turn}", [hook(collector.url if there else NOBODY)],
                spool=backup(tmp_path, every), evidence=evidence,
            )  # fmt: skip
            if chance.random() < 0.3:  # killed while it waits or restores
                await sink.launch()
                await asyncio.sleep(chance.uniform(0.2, 6.0))
                await sink.kill()
            await sink.start()
            status = await sink.status()
            check_accounts(status)
            restored = status["backup"]["restored"]
            assert restored is None or restored["problems"] == []
            if restored is not None and restored["complete"] is not None:
                complete = datetime.fromisoformat(restored["complete"]).timestamp()
                losses.append((complete, gone))
                ages.append(gone - complete)
            else:
                # Restored by the start that was killed after its rename: what was missing was counted there.
                losses.append((gone - longest, gone))
            # Exactly what the volume held and the next one does not is named, as far as anybody knows of it.
            there_now = held(sink.spool, begin)
            gap = spool_verified(sink.spool)
            new, named = gap - named, named | gap
            missing = set(before) - set(there_now)
            stop = max(new, default=max(there_now, default=begin - 1)) + 1
            assert stop >= known, f"sequences {stop} to {known - 1} are stated in a checkpoint, and are given out again"
            assert new == {at for at in missing if at < stop}, f"turn {turn}"
            lost |= {before[at] for at in missing}
            younger += len([at for at in missing if at >= stop])
            begin = stop
        status = await sink.delivered()
        await sink.stop()
        arrived = set(collector.events)
        repeated = len(collector.events) - len(arrived)
    not_there = {event: at for event, at in taken.answered.items() if event not in arrived}
    unexplained = [at for at in not_there.values() if not any(begin <= at <= end for begin, end in losses)]
    assert unexplained == [], f"{len(unexplained)} events that were in the copy did not arrive"
    assert set(not_there) <= lost
    assert max(ages, default=0.0) < longest
    assert spool_verified(sink.spool) == named
    said = verified(sink.spool, checkpoints)
    report.row(
        rounds, "volumes deleted", every=every, answered=len(taken.answered), unanswered_posts=taken.unanswered,
        arrived=len(arrived), missing=len(not_there), repeated=repeated,
        oldest_copy_seconds=round(max(ages, default=0.0), 1), oldest_shown_seconds=round(max(shown, default=0.0), 1),
        sequences_named_by_verify=len(named), younger_than_the_last_checkpoint=younger, cores=os.cpu_count(),
    )  # fmt: skip
    known = stated(checkpoints)
    assert {at for at in named if at < known} == ranges(_NAMED.findall(said))

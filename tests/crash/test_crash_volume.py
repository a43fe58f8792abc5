"""The volume is deleted under load, again and again, and a sink is started elsewhere: what the copy held arrives.

Times of day are compared, of this machine alone: the moment before which all is in the copy is one of them.
"""

import asyncio
import contextlib
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
from click.testing import CliRunner
from effort import Effort, Report
from running import Sink, check_accounts

from auditsink.cli import commands
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


def backup(place: Path) -> dict[str, Any]:
    return {"max_bytes": "256MiB", "segment_bytes": "256KiB",
            "backup": {"type": "local", "path": str(place / "copy"), "every": EVERY}}  # fmt: skip


def hook(url: str) -> dict[str, Any]:
    return {"name": "hook", "type": "http", "url": url, "backoff": {"initial": "50ms", "max": "200ms"},
            "batch": {"max_wait": "50ms"}}  # fmt: skip


def verified(spool: Path, checkpoints: Path) -> str:
    """What `auditsink verify` says."""
    words = ["verify", "--spool", str(spool), "--checkpoints", str(checkpoints)]
    return CliRunner().invoke(commands, words).output


def ranges(found: list[tuple[str, str]]) -> set[int]:
    """Sequences, of the first and the last of each range as text."""
    return {at for first, last in found for at in range(int(first), int(last or first) + 1)}


async def test_what_is_older_than_the_copy_arrives_and_verify_names_the_rest(
    tmp_path: Path, effort: Effort, report: Report
) -> None:
    rounds = effort.of(3, 50)
    chance = random.Random(effort.seed)
    numbers, taken = itertools.count(), Taken()
    evidence = {"path": str(tmp_path / "checkpoints.ndjson"), "every": "1s"}
    ages: list[float] = []
    losses: list[tuple[float, float]] = []  # from when what was answered may be missing, until the volume was gone
    gaps: set[int] = set()
    async with Collector() as collector:
        sink = Sink(tmp_path / "volume-0", [hook(NOBODY)], spool=backup(tmp_path), evidence=evidence)
        await sink.start()
        for turn in range(1, rounds + 1):
            posters = [asyncio.create_task(posting(sink, taken, numbers)) for _ in range(POSTERS)]
            await asyncio.sleep(chance.uniform(0.5, 5.0))
            with contextlib.suppress(aiohttp.ClientError):
                age = (await sink.status())["backup"]["age_seconds"]
                if age is not None:
                    ages.append(age)
            await sink.kill()
            gone = time.time()
            await asyncio.gather(*posters)
            shutil.rmtree(sink.spool)
            there = chance.random() < 0.5 or turn == rounds
            sink = Sink(
                tmp_path / f"volume-{turn}", [hook(collector.url if there else NOBODY)],
                spool=backup(tmp_path), evidence=evidence,
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
                losses.append((datetime.fromisoformat(restored["complete"]).timestamp(), gone))
                for gap in restored["gaps"]:
                    gaps.update(range(gap["first_sequence"], gap["last_sequence"] + 1))
            else:
                # Restored by the start that was killed after its rename: what was missing was counted there.
                losses.append((gone - LONGEST_AGE, gone))
        status = await sink.delivered()
        await sink.stop()
        arrived = set(collector.events)
        repeated = len(collector.events) - len(arrived)
    missing = {event: at for event, at in taken.answered.items() if event not in arrived}
    unexplained = [at for at in missing.values() if not any(begin <= at <= end + 0.1 for begin, end in losses)]
    assert unexplained == [], f"{len(unexplained)} events that were in the copy did not arrive"
    assert max(ages, default=0.0) < LONGEST_AGE
    code = CliRunner().invoke(commands, ["spool", "verify", "--path", str(sink.spool)])
    assert code.exit_code == 0, code.output
    noted = ranges(_NOTED.findall(code.output))
    named = ranges(_NAMED.findall(verified(sink.spool, tmp_path / "checkpoints.ndjson")))
    assert named == noted
    assert gaps - noted == set()
    assert len(named) <= len(missing) + len(collector.events)
    report.row(
        volumes_deleted=rounds, answered=len(taken.answered), unanswered_posts=taken.unanswered, arrived=len(arrived),
        missing=len(missing), repeated=repeated, oldest_copy_seconds=round(max(ages, default=0.0), 1),
        sequences_named_by_verify=len(named), sequences_noted_by_spool_verify=len(noted), cores=os.cpu_count(),
    )  # fmt: skip

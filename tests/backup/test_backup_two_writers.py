"""Two sinks of one name, a store that fails before or after it did what was asked: every copy stays whole."""

import random
from pathlib import Path

import pytest
from backupkit import Copied, everything, meanwhile, section, whole

from auditsink.backup import BackupError
from auditsink.backup.lease import KEPT, MANIFESTS, LostError, find, numbers, read_manifest
from auditsink.backup.store import CopyStore, FullError, StoreError
from auditsink.common.units import Duration
from auditsink.testing.clock import FakeClock

STEPS = 120


class Trouble:
    """Stands in a store's way: a call fails before it does anything, or after."""

    def __init__(self, store: CopyStore, chance: random.Random) -> None:
        self._chance = chance
        self._put, self._delete = store.put, store.delete
        store.put, store.delete = self.put, self.delete  # type: ignore[method-assign, assignment]

    async def put(self, name: str, content: bytes, *, create: bool = False) -> None:
        self._perhaps()
        await self._put(name, content, create=create)
        self._perhaps()

    async def delete(self, names: list[str]) -> None:
        self._perhaps()
        await self._delete(names[: self._chance.randrange(len(names) + 1)] if self._chance.random() < 0.1 else names)
        self._perhaps()

    def _perhaps(self) -> None:
        dice = self._chance.random()
        if dice < 0.05:
            raise FullError("it is full") if dice < 0.02 else StoreError("it broke off")


@pytest.mark.parametrize("seed", range(6))
async def test_every_copy_stays_whole_whoever_writes(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    clock = FakeClock()
    config = section(tmp_path, keep=Duration(60))
    looking = CopyStore(config)
    sinks: list[Copied | None] = [None, None]
    made = 0

    async def start(which: int, *, same_volume: bool) -> None:
        nonlocal made
        old = sinks[which]
        if not same_volume or old is None:
            made += 1
        name = old.path.name if same_volume and old is not None else f"volume-{made}"
        sink = Copied(tmp_path, name, config, clock)
        try:
            await meanwhile(clock, sink.start())
        except BackupError:  # the other one is writing
            sinks[which] = None
            return
        Trouble(sink.prepared.store, chance)
        sinks[which] = sink

    for _ in range(STEPS):
        which = chance.randrange(2)
        sink = sinks[which]
        dice = chance.random()
        if sink is None:
            await start(which, same_volume=False)
        elif dice < 0.45:
            sink.add(chance.randrange(1, 30))
            if chance.random() < 0.5:
                ring = sink.spool.rings["prod"]
                cursor = ring.cursor("siem")
                sink.deliver(chance.randrange(ring.durable - max(cursor.position, ring.floor) + 1))
        elif dice < 0.9:
            try:
                await meanwhile(clock, sink.round())
            except LostError:  # it writes no more, as `Uploader.run` sees to
                sink.stop()
                sinks[which] = None
            except BackupError:
                pass
        elif dice < 0.95:
            await clock.advance(chance.uniform(1, 100))
        else:
            sink.stop()
            await start(which, same_volume=chance.random() < 0.5)
        # What is stated is there, of the newest copy and of those that wait.
        there = {one.name for one in await looking.names("data")}
        found = await find(looking, config)
        stated = [found.newest] if found.newest is not None else []
        stated += [await read_manifest(looking, config, KEPT, number) for number in await numbers(looking, KEPT)]
        for one in stated:
            assert one.objects() <= there, (seed, one.number)
    assert await numbers(looking, MANIFESTS) != []
    for sink in sinks:
        if sink is not None:
            sink.stop()
    last = Copied(tmp_path, "last", config, clock)
    await meanwhile(clock, last.start())
    assert last.prepared.restored is None or last.prepared.restored.problems == ()
    if "prod" in last.spool.rings:
        everything(last)
    last.stop()
    whole(last)
    looking.close()

"""What the tests of the copy share: a spool and its copy in a directory, moved by a clock that stands still."""

import asyncio
import uuid
from collections.abc import Awaitable, Sequence
from pathlib import Path

from spoolkit import body_of, read_all, submit_all

from auditsink.backup.restore import RestoreTarget
from auditsink.backup.start import Prepared, prepare
from auditsink.backup.uploader import Uploader
from auditsink.common.disk import RealDisk
from auditsink.common.units import Duration, Size
from auditsink.config import LocalBackup
from auditsink.config import Spool as SpoolConfig
from auditsink.config.backup import BackupSection
from auditsink.spool import Spool
from auditsink.spool.offline import inspect
from auditsink.spool.types import Tally
from auditsink.testing.clock import FakeClock

KEEP = 3600.0


def section(place: Path, **changes: object) -> LocalBackup:
    """A copy in a directory."""
    given: dict[str, object] = {"path": place / "copy", "every": Duration(10), "keep": Duration(KEEP), **changes}
    return LocalBackup(**given)  # type: ignore[arg-type] # settings by name


class Copied:
    """A spool in `place/name` with its writer of the copy: `await round()` copies once."""

    def __init__(
        self,
        place: Path,
        name: str = "spool",
        config: BackupSection | None = None,
        clock: FakeClock | None = None,
        *,
        encryption: object = None,
        destinations: Sequence[str] = ("siem",),
    ) -> None:
        self.path = place / name
        self.section = config or section(place)
        self.clock = clock or FakeClock()
        self.config = SpoolConfig(
            path=self.path,
            max_bytes=Size(2**20),
            segment_bytes=Size(2**16),
            encryption=encryption,  # type: ignore[arg-type]
        )
        self.checkpoints = place / name / "checkpoints.ndjson"
        self.destinations = destinations
        self.prepared: Prepared
        self.spool: Spool
        self.uploader: Uploader

    async def start(self) -> Prepared:
        """As a sink starts: restore if need be, open, begin to copy."""
        target = RestoreTarget(self.path, self.config.max_bytes, self.checkpoints, RealDisk())
        self.prepared = await prepare(self.section, target, clock=self.clock)
        self.spool = Spool.open(self.config, destinations=self.destinations, clock=self.clock)
        self.spool.start(lambda call: call())
        self.uploader = Uploader(
            self.section,
            lambda: list(self.spool.rings.values()),
            self.path,
            self.checkpoints,
            self.prepared,
            clock=self.clock,
        )
        return self.prepared

    async def round(self) -> None:
        """Copy what is new. Raises what the store raises."""
        await self.uploader._step()

    def add(self, count: int = 1, cluster: str = "prod", size: int = 2000) -> None:
        """So many batches of one event each, hardly compressible."""
        ring = self.spool.ring(cluster)
        for destination in self.destinations:
            ring.cursor(destination)
        bodies = [
            body_of(uuid.uuid4().hex + "".join(uuid.uuid4().hex for _ in range(size // 32))) for _ in range(count)
        ]
        submit_all(self.spool, ring, bodies)

    def deliver(self, count: int, cluster: str = "prod") -> None:
        """The destinations have so many more."""
        for destination in self.destinations:
            self.spool.rings[cluster].cursor(destination).advance(Tally(delivered=count))

    def data(self) -> set[str]:
        """Names of the data objects."""
        return {path.name for path in self.section.objects().path.glob(f"{self.section.root}/data/*")}  # type: ignore[union-attr]

    def manifests(self) -> list[int]:
        """Numbers of the manifests."""
        place: Path = self.section.objects().path  # type: ignore[union-attr]
        return sorted(int(path.name) for path in place.glob(f"{self.section.root}/manifests/*"))

    def stop(self) -> None:
        """Without a last round."""
        self.spool.stop()


async def meanwhile(clock: FakeClock, call: Awaitable[object]) -> None:
    """Let time pass until it is done."""
    task = asyncio.ensure_future(call)
    while not task.done():
        await asyncio.sleep(0.005)
        await clock.advance(1.0)
    await task


async def restarted(sink: Copied) -> Copied:
    """The same sink on another volume, after the old one's lease has run out."""
    other = Copied(
        sink.path.parent,
        f"{sink.path.name}-again",
        sink.section,
        sink.clock,
        encryption=sink.config.encryption,
        destinations=sink.destinations,
    )
    await meanwhile(sink.clock, other.start())
    return other


def everything(sink: Copied, cluster: str = "prod") -> list[bytes]:
    """The events of a ring, in order."""
    return read_all(sink.spool.rings[cluster], sink.spool.rings[cluster].floor, 100_000)[0]


async def check_return(sink: Copied, newest: int | None = None) -> None:
    """What the sink holds, or the newest of it, is there again on another volume. Ends both."""
    events = everything(sink)
    assert newest is None or len(events) >= newest
    sink.stop()
    other = await restarted(sink)
    start = 0 if newest is None else -newest
    assert everything(other)[start:] == events[start:]
    other.stop()


def whole(sink: Copied) -> None:
    """Nothing in the spool's directory is damaged."""
    for cluster in inspect.clusters(sink.path):
        problems = inspect.verify(sink.path, cluster).problems
        assert problems == [], problems

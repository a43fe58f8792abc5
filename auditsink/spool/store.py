"""The spool as the rest of the sink sees it: rings by cluster, `submit` on one side, readers on the other."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from auditsink.clock import Clock, SystemClock
from auditsink.config import Spool as SpoolConfig
from auditsink.events import Split
from auditsink.spool import identity, recovery, segment
from auditsink.spool.budget import Budget
from auditsink.spool.disk import Disk, File, RealDisk, read_around, write_all
from auditsink.spool.errors import SpoolError
from auditsink.spool.identity import Identity
from auditsink.spool.log import Link, Log
from auditsink.spool.recent import MIN_ENTRIES, TOTAL_ENTRIES, Recent
from auditsink.spool.ring import Ring
from auditsink.spool.slots import SlotFile
from auditsink.spool.statistics import RingStatistics, SpoolStatistics
from auditsink.spool.tail import Tails
from auditsink.spool.types import Done, Refusal
from auditsink.spool.writer import Append, Shelf, Writer

log = logging.getLogger("auditsink.spool")

VERSION_LINE = b"auditsink spool 1\n"


class Spool:
    """All rings of one sink. Methods belong to the loop's thread unless they say otherwise."""

    def __init__(self, config: SpoolConfig, disk: Disk, clock: Clock, lock: File, max_rings: int) -> None:
        self.rings: dict[str, Ring] = {}
        self._path = config.path
        self._config = config
        self._disk = disk
        self._clock = clock
        self._lock = lock
        self._max_rings = max_rings
        self._shelves: dict[str, Shelf] = {}
        self._metas: dict[str, SlotFile] = {}
        self._listeners: list[Callable[[Ring], None]] = []
        self._stopping = False
        self._budget = Budget(
            config.max_bytes, config.when_full, disk, lambda: list(self.rings.values()), self._save_floor
        )
        self._tails = Tails()
        self._writer = Writer(durability=config.durability, clock=clock, tails=self._tails, moved=self._budget.moved)

    def __repr__(self) -> str:
        return f"<Spool {self._path}: {list(self.rings.values())}>"

    @classmethod
    def open(
        cls,
        config: SpoolConfig,
        *,
        disk: Disk | None = None,
        clock: Clock | None = None,
        max_rings: int = 1000,
    ) -> "Spool":
        """Take the lock and recover every ring. Raises SpoolError with a sentence for the operator."""
        disk, clock = disk or RealDisk(), clock or SystemClock()
        path = config.path
        try:
            disk.make_directory(path / "rings")
            lock = take_lock(disk, path)
            try:
                check_version(disk, path)
                spool = cls(config, disk, clock, lock, max_rings)
                for cluster in disk.names(path / "rings"):
                    spool._load(cluster)  # a second constructor
            except BaseException:
                lock.close()
                raise
        except OSError as problem:
            raise SpoolError(
                f"spool.path {path}: {problem.strerror or problem}"
                f"{f' ({problem.filename})' if problem.filename else ''}; "
                "the directory must be on a working disk and writable for the user that runs auditsink"
            ) from problem
        return spool

    def start(self, notify: Callable[[Callable[[], None]], object]) -> None:
        """Start the writer. `notify` brings a call into the loop's thread (`loop.call_soon_threadsafe`)."""
        self._writer.start(notify)

    @property
    def problem(self) -> str | None:
        """Why nothing can be taken, while the disk fails."""
        return self._writer.problem

    def ring(self, cluster: str) -> Ring:
        """The ring of a cluster, made if it is new.

        Raises SpoolError past the allowed number and when the disk fails.
        """
        if cluster not in self.rings:
            if len(self.rings) >= self._max_rings:
                raise SpoolError(
                    f"cluster {cluster!r} is one more than receive.max_clusters ({self._max_rings}) allows; "
                    "raise it, or remove the rings of clusters that are gone"
                )
            try:
                ring = self._load(cluster)
            except OSError as problem:
                raise SpoolError(
                    f"the ring of cluster {cluster!r} cannot be made: {problem}; check the disk"
                ) from problem
            for listener in self._listeners:
                listener(ring)
        return self.rings[cluster]

    def on_new_ring(self, callback: Callable[[Ring], None]) -> None:
        """Have `callback` called for each ring made from now on, before anything is stored in it."""
        self._listeners.append(callback)

    def refusal(self, ring: Ring) -> Refusal | None:
        """Why a request that begins now would be refused, as far as that is known; cheap."""
        if self._stopping or ring.cluster not in self.rings:
            return Refusal.STOPPING
        return self._writer.refusal(self._shelves[ring.cluster])

    def submit(self, ring: Ring, body: bytes, split: Split, source: str, done: Done) -> None:
        """Store a request. `done` is called later in the loop's thread, when the result holds; never from within.

        `split` is what `events.split` made of `body`, with at least one event.
        """
        shelf = self._shelves[ring.cluster]
        self._writer.submit(Append(shelf, body, split, source, self._clock.wall_ns(), done))

    def stop(self) -> None:
        """Finish what waits, seal, sync the cursors, let go of the lock. Blocks; run it off the loop."""
        self._stopping = True
        self._writer.stop()
        for shelf in self._shelves.values():
            for close in (shelf.log.seal, *(cursor.sync for cursor in shelf.ring.cursors.values())):
                try:
                    close()
                except OSError as problem:
                    extra = {"cluster": shelf.ring.cluster, "error": str(problem)}
                    log.warning("a ring could not be closed cleanly; the next start repairs it", extra=extra)
            shelf.ring.close()
            self._metas[shelf.ring.cluster].close()
        self._lock.close()

    def statistics(self) -> SpoolStatistics:
        """What is held right now."""
        now = self._clock.wall_ns()
        rings = tuple(
            RingStatistics(
                ring.cluster,
                ring.size,
                len(ring.segments),
                0.0 if (oldest := ring.oldest_ns) is None else max(0.0, (now - oldest) / 1e9),
                ring.floor,
                ring.durable,
                ring.damaged_bytes,
            )
            for ring in self.rings.values()
        )
        times = self._writer.sync_times
        return SpoolStatistics(self._config.max_bytes, rings, tuple(times.counts), times.total, self.problem)

    def _load(self, cluster: str) -> Ring:
        """Open or make one ring."""
        path = self._path / "rings" / cluster
        self._disk.make_directory(path / "cursors")
        meta = SlotFile.open(self._disk, path / identity.FILE)
        if meta.payload is None:
            meta.write(Identity(_ring_id(self._disk, path), 0).encode())
            meta.sync()
        assert meta.payload is not None
        ring_id, floor = Identity.decode(meta.payload)
        ring = Ring(cluster, path, ring_id, self._disk, floor=floor)
        link: Link = recovery.recover(ring)
        ring_log = Log(
            ring, self._disk, self._budget, clock=self._clock, segment_bytes=self._config.segment_bytes, link=link
        )
        recent = Recent()
        self.rings[cluster] = ring
        self._metas[cluster] = meta
        self._shelves[cluster] = Shelf(ring, ring_log, recent)
        for shelf in self._shelves.values():
            shelf.recent.limit = max(MIN_ENTRIES, TOTAL_ENTRIES // len(self._shelves))
        recovery.remember(ring, recent, wall_ns=self._clock.wall_ns(), monotonic=self._clock.monotonic())
        return ring

    def _save_floor(self, ring: Ring, floor: int) -> None:
        meta = self._metas[ring.cluster]
        meta.write(Identity(ring.ring_id, floor).encode())
        meta.sync()


def take_lock(disk: Disk, path: Path) -> File:
    """The spool is ours until the file is closed or the process ends. Raises SpoolError when another has it."""
    try:
        lock = disk.lock(path / "lock")
    except BlockingIOError as problem:
        raise SpoolError(
            f"spool.path {path} is in use by another auditsink (its pid is in {path / 'lock'}); "
            "stop that one, or give this one a directory of its own"
        ) from problem
    lock.truncate(0)
    write_all(lock, [f"{os.getpid()}\n".encode()], 0)
    return lock


def check_version(disk: Disk, path: Path) -> None:
    """Refuse a spool in another format (SpoolError); mark a new one with ours."""
    name = path / "version"
    try:
        file = disk.open(name)
    except FileNotFoundError:
        file = disk.create(name)
        write_all(file, [VERSION_LINE], 0)
        file.sync()
        disk.sync_directory(path)
    found = file.read(64, 0)
    file.close()
    if found not in (VERSION_LINE, b""):
        raise SpoolError(
            f"{name} says {found.decode(errors='replace').strip()!r}, this auditsink reads "
            f"{VERSION_LINE.decode().strip()!r}: run the auditsink that wrote it, or give this one an empty directory"
        )


def _ring_id(disk: Disk, path: Path) -> bytes:
    """A new ring's id; that of its segments when only `ring.meta` was lost."""
    for name in disk.names(path):
        if name.endswith(".seg"):
            file = disk.open(path / name)
            header = segment.decode_header(read_around(file, segment.DATA_START, 0))
            file.close()
            if header is not None:
                return header.ring_id
    return os.urandom(16)

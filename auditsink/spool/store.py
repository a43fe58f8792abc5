"""The spool as the rest of the sink sees it: rings by cluster, `submit` on one side, readers on the other."""

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from auditsink.audit.eventlist import Split
from auditsink.common.blocking import BlockingCalls
from auditsink.common.clock import Clock, SystemClock
from auditsink.common.disk import Disk, File, RealDisk, closed_on_error
from auditsink.config import Spool as SpoolConfig
from auditsink.spool import recovery
from auditsink.spool.commit import Append
from auditsink.spool.dedup import MIN_ENTRIES, TOTAL_ENTRIES, recall
from auditsink.spool.errors import SpoolError, TooManyRingsError
from auditsink.spool.identity import Identity
from auditsink.spool.keys import Keyring
from auditsink.spool.lock import check_version, take_lock
from auditsink.spool.log import INITIAL_BYTES, RingLog
from auditsink.spool.opening import RING_NAME, OpenedRing, open_if_ours, open_ring
from auditsink.spool.quota import DiskQuota
from auditsink.spool.record_cache import RecordCaches
from auditsink.spool.recovery import Abandoned
from auditsink.spool.ring import Ring
from auditsink.spool.shares import Shares
from auditsink.spool.slots import SlotFile
from auditsink.spool.statistics import RingStatistics, SpoolStatistics
from auditsink.spool.types import SpoolRejection, SubmitCallback
from auditsink.spool.writer import Call, Writer

log = logging.getLogger("auditsink.spool")

RINGS_PER_OPENER = 8
MOST_MAKERS = 4
"""Threads that make the rings of new clusters."""
MOST_OPENERS = 32
"""Threads that open rings at a start. They wait for syncs nearly all of the time, and a disk takes many together."""


RingCallback = Callable[[Ring | SpoolError], None]
"""Told of a ring that was made, or why there is none."""


class _Making(NamedTuple):
    """A ring that is being made, and who waits for it, in order."""

    opening: "Future[OpenedRing]"
    callbacks: list[RingCallback]


class Spool:
    """All rings of one sink. Methods belong to the loop's thread unless they say otherwise."""

    def __init__(
        self, config: SpoolConfig, disk: Disk, clock: Clock, lock: File, *, max_rings: int, keys: Keyring | None
    ) -> None:
        self.rings: dict[str, Ring] = {}
        self._path = config.path
        self._config = config
        self._disk = disk
        self._clock = clock
        self._lock = lock
        self._max_rings = max_rings
        self._keys = keys
        self._logs: dict[str, RingLog] = {}
        self._metas: dict[str, SlotFile] = {}
        self._listeners: list[Callable[[Ring], None]] = []
        self._read_for: dict[str, None] = {}  # destinations
        self._making: dict[str, _Making] = {}
        self._makers = BlockingCalls("ring", MOST_MAKERS)
        self._stopping = False
        self._abandoned = Abandoned([], ())
        self._quota = DiskQuota(
            Shares(config.max_bytes),
            config.when_full,
            disk,
            rings=lambda: list(self.rings.values()),
            save_floor=self._save_floor,
            wall_ns=clock.wall_ns,
        )
        self._caches = RecordCaches()
        self._writer = Writer(
            durability=config.durability, clock=clock, caches=self._caches, moved=self._quota.moved, keys=keys
        )

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
        destinations: Iterable[str] = (),
    ) -> "Spool":
        """Take the lock and recover every ring. Raises SpoolError with a sentence for the operator.

        The cursors of `destinations` are opened on the way, which is faster than later and one by one.
        """
        disk, clock = disk or RealDisk(), clock or SystemClock()
        path = config.path
        keys = None if config.encryption is None else Keyring.load(config.encryption.key_file)
        try:
            disk.make_directory(path / "rings")
            lock = take_lock(disk, path)
            with closed_on_error(lock):
                check_version(disk, path)
                spool = cls(config, disk, clock, lock, max_rings=max_rings, keys=keys)
                spool._recover(tuple(destinations))  # a second constructor
        except OSError as problem:
            raise SpoolError(
                f"spool.path {path}: {problem.strerror or problem}"
                f"{f' ({problem.filename})' if problem.filename else ''}; "
                "the directory must be on a working disk and writable for the user that runs auditsink"
            ) from problem
        return spool

    def start(self, notify: Callable[[Call], object], soon: Callable[[Call], object] | None = None) -> None:
        """Start the writer. `notify` brings a call into the loop's thread (`loop.call_soon_threadsafe`).

        `soon` (`loop.call_soon`), if it is given, gathers what is submitted in one turn of the loop.
        """
        self._writer.start(notify, soon)

    @property
    def problem(self) -> str | None:
        """Why nothing can be taken, while the disk fails."""
        return self._writer.problem

    def ring(self, cluster: str) -> Ring:
        """The ring of a cluster, made if it is new.

        Raises SpoolError past the allowed number and when the disk fails.
        """
        if cluster not in self.rings:
            making = self._making.get(cluster)
            if making is None:
                self._check_new(cluster)
                self._new(cluster, partial(self._open, cluster))
            else:
                self._new(cluster, making.opening.result)
        return self.rings[cluster]

    def make_ring(self, cluster: str, made: RingCallback) -> None:
        """Have the ring of a new cluster made in a thread, for it takes a disk a dozen syncs.

        `made` is told later, in the loop's thread.
        """
        making = self._making.get(cluster)
        if making is not None:
            making.callbacks.append(made)
            return
        try:
            self._check_new(cluster)
        except SpoolError as problem:
            self._writer.in_loop(partial(made, problem))
            return
        opening = self._makers.begin(self._open, cluster, tuple(self._read_for))
        self._making[cluster] = _Making(opening, [made])
        opening.add_done_callback(lambda _: self._writer.in_loop(partial(self._made, cluster)))

    def _check_new(self, cluster: str) -> None:
        """Whether it may have a ring. Raises SpoolError."""
        if not RING_NAME.match(cluster):
            raise SpoolError(f"{cluster[:64]!r} is no name for a cluster: it is to be a directory's name")
        if len(self.rings.keys() | self._making.keys()) >= self._max_rings:
            raise TooManyRingsError(
                f"cluster {cluster!r} is one more than receive.max_clusters ({self._max_rings}) allows; "
                "raise it, or remove the rings of clusters that are gone"
            )

    def _new(self, cluster: str, opened: Callable[[], OpenedRing]) -> None:
        """Take a new ring in, and tell whoever wants to know of it. Raises SpoolError."""
        try:
            found = opened()
            if self._stopping:
                found.close()
                raise SpoolError(f"the ring of cluster {cluster!r} is not made any more: the sink is stopping")
            for destination in found.ring.cursors.keys() - self._read_for.keys():  # removed meanwhile
                found.ring.forget(destination)
            ring = self._take_in(found)
        except OSError as problem:
            raise SpoolError(f"the ring of cluster {cluster!r} cannot be made: {problem}; check the disk") from problem
        for listener in self._listeners:
            listener(ring)

    def _made(self, cluster: str) -> None:
        """In the loop's thread: what was being made is there, or not."""
        opening, callbacks = self._making[cluster]
        found: Ring | SpoolError
        try:
            if cluster not in self.rings:
                self._new(cluster, opening.result)
            found = self.rings[cluster]
        except SpoolError as problem:
            found = problem
        except Exception as bug:
            log.exception("a ring could not be made; the requests that waited for it were refused")
            found = SpoolError(
                f"the ring of cluster {cluster!r} cannot be made: {bug!r}; report it with the sink's log"
            )
        del self._making[cluster]
        for callback in callbacks:
            callback(found)

    def on_new_ring(self, callback: Callable[[Ring], None]) -> Callable[[], None]:
        """Have `callback` called for each ring made from now on, before anything is stored in it; ends when called."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    @property
    def unfetched(self) -> None:
        """The rings know all: see `forward.source.Source`."""

    def on_lost_ring(self, callback: Callable[[Ring], None]) -> Callable[[], None]:  # noqa: ARG002 - see below
        """Never: what lies on this disk is ours for good."""
        return lambda: None

    def source(self, destination: str) -> "Spool":
        """What is read for a destination: the same rings for all of them."""
        self._read_for[destination] = None
        return self

    def forget(self, destination: str) -> None:
        """Nobody reads for this destination any more."""
        self._read_for.pop(destination, None)
        for ring in self.rings.values():
            ring.forget(destination)

    def reserve(self, reserved: Mapping[str, int]) -> None:
        """From now on these bytes are reserved for these clusters. Any thread."""
        self._quota.shares = Shares(self._config.max_bytes, reserved)

    def refusal(self, ring: Ring) -> SpoolRejection | None:
        """Why a request that begins now would be refused, as far as that is known; cheap."""
        ring_log = self._logs.get(ring.cluster)
        if self._stopping or ring_log is None:
            return SpoolRejection.STOPPING
        until, why = ring_log.refusing
        return why if until and self._clock.monotonic() < until else None

    def submit(self, ring: Ring, body: bytes, split: Split, source: str, done: SubmitCallback) -> None:
        """Store a request. `done` is called later in the loop's thread, when the result holds; never from within.

        `split` is what `audit.eventlist` made of `body`, with at least one event.
        """
        ring_log = self._logs[ring.cluster]
        self._writer.submit(Append(ring_log, body, split, source, self._clock.wall_ns(), done))

    def stop(self) -> None:
        """Finish what waits, seal, sync the cursors, let go of the lock. Blocks; run it off the loop."""
        self._stopping = True
        self._writer.stop()
        self._makers.close()
        for ring_log in self._logs.values():
            for close in (ring_log.seal, *(cursor.sync for cursor in ring_log.ring.cursors.values())):
                try:
                    close()
                except OSError as problem:
                    extra = {"cluster": ring_log.ring.cluster, "error": str(problem)}
                    log.warning("a ring could not be closed cleanly; the next start repairs it", extra=extra)
            ring_log.close()
        self._release()

    def statistics(self) -> SpoolStatistics:
        """What is held right now."""
        now = self._clock.wall_ns()
        shares, wanted = self._quota.shares, {ring.cluster: ring.wanted for ring in self.rings.values()}
        rooms = shares.rooms(wanted)
        rings = tuple(
            RingStatistics(
                ring.cluster,
                ring.size,
                wanted[ring.cluster],
                shares.of(ring.cluster),
                self._usable(ring, rooms[ring.cluster]),
                len(ring.segments),
                0.0 if (oldest := ring.oldest_ns) is None else max(0.0, (now - oldest) / 1e9),
                min(ring.floor, ring.durable),
                ring.durable,
                ring.damaged_bytes,
                ring.drops,
            )
            for ring in self.rings.values()
        )
        times = self._writer.sync_times
        return SpoolStatistics(
            self._config.max_bytes,
            rings,
            tuple(times.counts),
            times.total,
            self.problem,
            self._abandoned.events,
        )

    def _usable(self, ring: Ring, room: int) -> int:
        """What of the room can be used: none of it when it has become too small for a segment."""
        largest = self._quota.shares.segment_bytes(ring.cluster, len(self.rings))
        least = min(INITIAL_BYTES, self._config.segment_bytes, largest)
        return room if room >= least else 0

    def _recover(self, destinations: tuple[str, ...]) -> None:
        """Open all rings there are."""
        for directory in (self._path, self._path / "rings"):  # a start that was killed may not have come to it
            self._disk.sync_directory(directory)
        try:
            self._open_all(self._disk.names(self._path / "rings"), destinations)
            recovery.check_keys(self.rings.values(), self._keys)
            wall_ns, monotonic = self._clock.wall_ns(), self._clock.monotonic()
            for ring_log in self._logs.values():  # now that each one's share of the memory is known
                recall(ring_log.ring, ring_log.dedup, wall_ns=wall_ns, monotonic=monotonic)
            if destinations:
                self._abandoned = Abandoned(self.rings.values(), destinations)
                self._abandoned.tell(self._path)
        except BaseException:
            self._release()
            raise

    def _open_all(self, names: list[str], destinations: tuple[str, ...]) -> None:
        """The rings of these names. Raises what the first that failed raised; then the others are still ours."""
        openers = min(1 + len(names) // RINGS_PER_OPENER, MOST_OPENERS)
        rings = self._path / "rings"
        with ThreadPoolExecutor(openers, thread_name_prefix="auditsink-open") as pool:
            several = [pool.submit(open_if_ours, self._disk, rings, name, self._keys, destinations) for name in names]
        for one in several:
            if one.exception() is None and (opened := one.result()) is not None:
                self._take_in(opened)
        for one in several:
            one.result()

    def _open(self, cluster: str, destinations: tuple[str, ...] = ()) -> OpenedRing:
        """Open or make one ring. Any thread."""
        return open_ring(self._disk, self._path / "rings", cluster, self._keys, destinations)

    def _take_in(self, opened: OpenedRing) -> Ring:
        """Give an opened ring its log, and have it among the rings from now on."""
        ring, cluster = opened.ring, opened.ring.cluster
        ring_log = RingLog(
            ring,
            self._disk,
            self._quota,
            clock=self._clock,
            segment_bytes=self._config.segment_bytes,
            link=opened.link,
            zeros=self._config.durability == "fsync",
        )
        self._metas[cluster] = opened.meta
        self._logs[cluster] = ring_log
        self.rings[cluster] = ring  # last: the writer's thread goes through these
        for one in self._logs.values():
            one.dedup.limit = max(MIN_ENTRIES, TOTAL_ENTRIES // len(self._logs))
        return ring

    def _release(self) -> None:
        """Let go of all files."""
        for ring_log in self._logs.values():
            ring_log.ring.close()
            self._metas[ring_log.ring.cluster].close()
        self._lock.close()

    def _save_floor(self, ring: Ring, floor: int) -> None:
        meta = self._metas[ring.cluster]
        meta.write(Identity(ring.ring_id, floor).encode())
        meta.sync()

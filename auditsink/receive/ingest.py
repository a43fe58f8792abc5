"""From a complete body to the answer: unpack, split, hand to the spool, and wait for its promise.

Independent of the connection: when the client is gone, its batch stays accepted all the same. What msgspec cannot
split, and gzip, goes through `WORKERS` threads: hostile bodies wait for each other and not the others for them.
"""

import asyncio
import codecs
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from isal import isal_zlib

from auditsink import config
from auditsink.audit.eventlist import Mark, NotAnEventListError, Split, split_fast, split_slow
from auditsink.common.clock import Clock
from auditsink.receive.cluster import Admitted, PostingCluster, PostingClusters
from auditsink.receive.limits import PER_EVENT, MemoryLimit
from auditsink.receive.responses import OVERLOAD, SPOOL_REFUSED, STOPPING, HttpRejection, RejectionReason, Repeated
from auditsink.receive.statistics import ReceiveCounters
from auditsink.receive.store import Store
from auditsink.spool import SpoolError
from auditsink.spool.errors import TooManyRingsError
from auditsink.spool.types import Receipt, SpoolRejection

log = logging.getLogger("auditsink.receive")

WORKERS = 2
"""Threads for slow bodies: one may be busy for some 4 s with 32 MiB of brackets while the other goes on."""
LARGE_BODY = 2**16
"""Bytes from which a body waits for its turn: splitting it takes longer than all else that a turn of the loop does."""

Answered = Callable[[int | HttpRejection], None]
"""Called once, in the loop's thread, never from within `take`: the number of events accepted, or why not."""

_CLUSTERS = HttpRejection(
    RejectionReason.CLUSTERS,
    "receive.max_clusters is reached, and this cluster is a new one; raise it, or remove the rings of clusters gone",
)
_UNSPLIT = (
    "a batch could not be split into its events and is kept as one: filters cannot look into it, and destinations get "
    "it in base64; find out what posts it (see /metrics for how many come; only a cluster's first is told)"
)
_RATE = "this cluster posts more events than its rate allows; repeat the request later"
_GZIP = 31  # window bits: a gzip header and trailer around deflate, RFC 1952
_MOST_MEMBERS = 1000  # each costs an inflate state of some 100 kB, which is made anew
_PIECE = 2**16  # bytes of later members given at once: what is left of them behind a member is copied each time


class PendingBatch:
    """One batch between its last byte and its answer."""

    __slots__ = ("_answered", "_began", "_body_size", "_charged", "_cluster", "_held", "_ingest", "_source", "_unsplit")

    def __init__(self, ingest: "Ingest", admitted: Admitted, held: int, answered: Answered) -> None:
        self._ingest = ingest
        self._cluster, self._source = admitted
        self._began = ingest.clock.monotonic()
        self._body_size = 0
        self._charged = 0
        self._held = held
        self._unsplit = False
        self._answered = answered

    def submit(self, body: bytes, split: Split) -> None:
        """Hand the batch to the spool."""
        ingest = self._ingest
        self._body_size = len(body)
        self._unsplit = bool(split.marks) and Mark.UNSPLIT in split.marks
        extra = self._body_size + PER_EVENT * len(split.events)
        if not split.events:
            ingest.soon(self.finish, 0)
        elif not ingest.memory.take(extra, self._held):
            ingest.soon(self.finish, OVERLOAD)
        else:
            self._held += extra
            if self._cluster.bucket is not None:
                if (limited := ingest.limited(self._cluster)) is not None:
                    ingest.soon(self.finish, limited)
                    return
                self._charge(len(split.events))
            if self._cluster.ring is None:
                ingest.clusters.make_ring(self._cluster, partial(self._store, body, split))
            else:
                self._store(body, split, self._cluster.ring)

    def _store(self, body: bytes, split: Split, ring: Any) -> None:
        if isinstance(ring, SpoolError):
            self._charge(0)
            self.finish(no_ring(ring))
        else:
            self._ingest.spool.submit(ring, body, split, self._source, self._done)

    def grow(self, body: bytes) -> bool:
        """The body is larger than its request; False when there is no room for it."""
        extra = max(0, len(body) - self._held)
        if not self._ingest.memory.take(extra, self._held):
            return False
        self._held += extra
        return True

    def _done(self, result: Receipt | SpoolRejection) -> None:
        ingest = self._ingest
        if self._charged and (isinstance(result, SpoolRejection) or result.duplicate):
            self._charge(0)
        if isinstance(result, SpoolRejection):
            self.finish(SPOOL_REFUSED[result])
            return
        counted = self._cluster.counters
        assert counted is not None  # it has a ring
        if result.duplicate:
            counted.duplicates += 1
        else:
            counted.batches += 1
            counted.events += result.count
            counted.bytes += self._body_size
            if self._unsplit:
                counted.unsplit += 1
                if counted.unsplit == 1:
                    log.warning(_UNSPLIT, extra={"cluster": self._cluster.name, "bytes": self._body_size})
        counted.requests += 1
        ingest.counters.acknowledged(ingest.clock.monotonic() - self._began)
        self.finish(Repeated(result.count) if result.duplicate else result.count)

    def _charge(self, events: int) -> None:
        """Take these events out of the cluster's rate; 0 gives back what was taken: nothing was stored."""
        if self._cluster.bucket is not None:
            self._cluster.bucket.take(events - self._charged, self._ingest.clock.monotonic())
        self._charged = events

    def finish(self, result: int | HttpRejection) -> None:
        """Let go of the memory and tell whoever waits."""
        self._ingest.memory.give(self._held)
        self._answered(result)


def no_ring(problem: SpoolError) -> HttpRejection:
    """Why a cluster gets no ring. The disk's trouble is logged; made-up names must not fill the log."""
    if isinstance(problem, TooManyRingsError):
        return _CLUSTERS
    log.warning("a batch was refused: %s", problem)
    return SPOOL_REFUSED[SpoolRejection.UNAVAILABLE]


class Ingest:
    """Takes complete bodies. Belongs to the loop's thread; only `_prepare` runs in others."""

    def __init__(
        self,
        settings: config.Receive,
        spool: Store,
        clusters: PostingClusters,
        counters: ReceiveCounters,
        clock: Clock,
    ) -> None:
        self.spool = spool
        self.clusters = clusters
        self.counters = counters
        self.clock = clock
        self.memory = MemoryLimit(settings.max_in_flight)
        self._max_body = settings.max_body
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="auditsink-split")
        self._large: deque[tuple[PendingBatch, bytes]] = deque()
        self._loop = asyncio.get_running_loop()
        self.soon = self._loop.call_soon

    def take(self, admitted: Admitted, body: bytes, held: int, answered: Answered, *, packed: bool = False) -> None:
        """A request is complete; `held` bytes of `memory` come with it. `packed`: the body is gzip."""
        batch = PendingBatch(self, admitted, held, answered)
        if packed:
            self._split_slowly(batch, body, self._max_body)
        elif len(body) >= LARGE_BODY:
            self._large.append((batch, body))
            if len(self._large) == 1:
                self.soon(self._next_large)
        elif (split := split_fast(body)) is not None:
            batch.submit(body, split)
        else:
            self._split_slowly(batch, body, None)

    def adopt(self, settings: config.Receive) -> None:
        """Hold to other limits from now on."""
        self.memory.limit = settings.max_in_flight
        self._max_body = settings.max_body

    def refusal(self, cluster: PostingCluster) -> HttpRejection | None:
        """Why a batch of this cluster would be refused now, before its body is read; a guess that costs little."""
        if cluster.bucket is not None and (limited := self.limited(cluster)) is not None:
            return limited
        refusal = None if cluster.ring is None else self.spool.refusal(cluster.ring)
        return None if refusal is None else SPOOL_REFUSED[refusal]

    def limited(self, cluster: PostingCluster) -> HttpRejection | None:
        """The refusal of a cluster that is past its rate."""
        wait = cluster.wait(self.clock.monotonic())
        return None if wait is None else HttpRejection(RejectionReason.RATE, _RATE, wait)

    def close(self) -> None:
        """Let the threads go; what waits for one, or for its turn, is not begun any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while self._large:
            self._large.popleft()[0].finish(STOPPING)

    def _next_large(self) -> None:
        """One in each turn of the loop: when many clients post at full speed, delivery gets its turns in between.

        It would else fall behind the fresh records that memory holds, and then everything is read and split again.
        """
        if self._large:
            self._split(*self._large.popleft())
        if self._large:
            self.soon(self._next_large)

    def _split(self, batch: PendingBatch, body: bytes) -> None:
        split = split_fast(body)
        if split is not None:
            batch.submit(body, split)
        else:
            self._split_slowly(batch, body, None)

    def _split_slowly(self, batch: PendingBatch, body: bytes, most: int | None) -> None:
        work = self._loop.run_in_executor(self._threads, _prepare, body, most)
        work.add_done_callback(partial(self._prepared, batch))

    def _prepared(self, batch: PendingBatch, work: "asyncio.Future[Prepared]") -> None:
        if work.cancelled():
            batch.finish(STOPPING)
            return
        prepared = work.result()
        if isinstance(prepared, HttpRejection):
            batch.finish(prepared)
        elif batch.grow(prepared[0]):
            batch.submit(*prepared)
        else:
            batch.finish(OVERLOAD)


Prepared = tuple[bytes, Split] | HttpRejection


def _prepare(body: bytes, most: int | None) -> Prepared:
    """The slow way of a body. `most`: it is gzip and may become that large."""
    try:
        if most is not None:
            unpacked = inflate(body, most)
            if unpacked is None:
                return HttpRejection(
                    RejectionReason.TOO_LARGE, f"the body unpacks to more than receive.max_body ({most})"
                )
            body = unpacked
        body = body.removeprefix(codecs.BOM_UTF8)  # which a parser may ignore (RFC 8259, 8.1)
        return body, split_fast(body) or split_slow(body)
    except InflateError as problem:
        return HttpRejection(RejectionReason.BAD_REQUEST, str(problem))
    except NotAnEventListError as problem:
        return HttpRejection(RejectionReason.NOT_AN_EVENT_LIST, str(problem))


class InflateError(ValueError):
    """The body is no gzip, or not all of one."""


def inflate(packed: bytes, most: int) -> bytes | None:
    """What `packed` holds (several members are one after the other); None when that is more than `most` bytes.

    Stops one byte past `most`, however much the rest would make. Raises InflateError.
    """
    unpacked: list[bytes] = []
    room, members = most, 0
    view, at = memoryview(packed), 0
    while at < len(packed):
        if members == _MOST_MEMBERS:
            raise InflateError(f"the body's gzip has more than {_MOST_MEMBERS} members")
        members += 1
        state = isal_zlib.decompressobj(wbits=_GZIP)
        while not state.eof:
            if at == len(packed):
                raise InflateError("the body's gzip is cut short")
            piece = view[at : at + _PIECE] if members > 1 else view  # one member, the usual case, is not put together
            try:
                unpacked.append(state.decompress(piece, room + 1))
            except isal_zlib.error:  # type: ignore[misc]  # isal's stub makes it an instance of Exception
                raise InflateError("the body is no gzip, although its Content-Encoding says so") from None
            room -= len(unpacked[-1])
            if room < 0:
                return None
            at += len(piece) - len(state.unused_data)
    return unpacked[0] if len(unpacked) == 1 else b"".join(unpacked)

"""What all connections of one receive port share: who may come in, the buffers, the sweep of what takes too long.

What a request's head decides, before any of its body is read, is decided here: whose batch it is, or why it is refused.
The order says what a stranger may learn: first whether the path exists, then nothing without a credential.
"""

import logging
from collections.abc import Callable
from mmap import mmap
from typing import NamedTuple, Protocol

from auditsink import config
from auditsink.common.clock import Clock
from auditsink.receive.auth import Authorizer, Peer
from auditsink.receive.cluster import Admitted, PostingClusters
from auditsink.receive.head import Head, Heads
from auditsink.receive.ingest import Ingest
from auditsink.receive.responses import STOPPING, HttpRejection, RejectionReason, Responses
from auditsink.receive.statistics import ReceiveCounters
from auditsink.receive.store import Store

log = logging.getLogger("auditsink.receive")

READ_BYTES = 2**20
PEEK_BYTES = 2**14
BEYOND = 64
"""Connections past `max_connections` that get an answer before they are closed; more are closed without one."""
CIPHER_BYTES = 2**16
_CONNECTIONS = HttpRejection(
    RejectionReason.CONNECTIONS, "receive.max_connections is reached; repeat the request later"
)
_METHOD = HttpRejection(RejectionReason.METHOD, "only POST is taken here")
_ENCODING = HttpRejection(RejectionReason.ENCODING, "the only Content-Encoding that is understood is gzip")
_EXPECTATION = HttpRejection(RejectionReason.EXPECTATION, "the only expectation that is understood is 100-continue")
_GZIP = frozenset({None, b"gzip", b"x-gzip"})
_CONTINUE = frozenset({None, b"100-continue"})
LONGEST_PATH = 200
"""Characters of a refused request's path that are kept."""
SILENCE_SECONDS = 60.0
"""A reason is logged once in that time, so that a hostile client cannot fill the log; all are counted."""


class Swept(Protocol):
    """What the sweep looks at: a connection, or one that still shakes hands."""

    def sweep(self, now: float) -> None:
        """End what has taken too long at `now` (seconds of the monotonic clock)."""
        ...

    @property
    def busy(self) -> bool:
        """A request is being read or waits for its answer."""
        ...

    def retire(self) -> None:
        """End with the next answer."""
        ...

    def close(self) -> None:
        """Close when what is being written is out."""
        ...

    def abort(self) -> None:
        """Close without another word."""
        ...


class Room(NamedTuple):
    """Connections at once: so many are served, so many more are told that they are too many."""

    taken: int
    refused: int


def room(wanted: int, left: int) -> Room:
    """For `wanted` connections where so many file descriptors are left for them. Pure."""
    refused = min(BEYOND, left // 4)
    return Room(max(1, min(wanted, left - refused)), refused)


class Connections:
    """Those that are open, and how many there may be."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.open: set[Swept] = set()

    def enter(self, connection: Swept) -> bool:
        """A connection was opened; False when it is one too many."""
        self.open.add(connection)
        return len(self.open) <= self.room.taken

    @property
    def crammed(self) -> bool:
        """There are so many that the next one gets no answer."""
        return len(self.open) > self.room.taken + self.room.refused

    def leave(self, connection: Swept) -> None:
        """It is closed."""
        self.open.discard(connection)


class Buffers:
    """What bytes are read into. One set serves every connection of the loop: it is only used within one callback."""

    def __init__(self) -> None:
        self.raw = mmap(-1, READ_BYTES)
        """Pages that nothing was read into take no memory; a `bytearray` would write zeros into all of them."""
        self.view = memoryview(self.raw)
        self.peek = self.view[:PEEK_BYTES]
        """As much of it as is read while a request waits for its answer: that has to be kept."""
        self.cipher = memoryview(bytearray(CIPHER_BYTES))
        """For TLS, read at once and copied into the connection's BIO, which never shrinks again."""


class ListenerState:
    """Shared by the connections; belongs to the loop's thread."""

    def __init__(
        self,
        settings: config.Receive,
        spool: Store,
        authorizer: Authorizer,
        rate_of: Callable[[str], config.Rate | None],
        clock: Clock,
    ) -> None:
        """`rate_of` gives the rate in force for a cluster, None for no limit."""
        self.settings = settings
        self.now = clock.monotonic()
        """Of the last sweep: what deadlines are counted from."""
        self.stopping = False
        self.heads = Heads()
        self.counters = ReceiveCounters()
        self.clusters = PostingClusters(spool, self.counters, settings.max_in_flight, rate_of)
        self.ingest = Ingest(settings, spool, self.clusters, self.counters, clock)
        self.responses = Responses(settings.retry_after, clock.wall_ns() / 1e9)
        self.connections = Connections(Room(settings.max_connections, BEYOND))
        self.buffers = Buffers()
        self.max_body: int
        self.too_large: HttpRejection
        self._bound(settings)
        self._clock = clock
        self._authorizer = authorizer
        self._logged: dict[str, float] = {}

    def enter(self, connection: Swept) -> bool:
        """A connection was opened; False when it is one too many."""
        served = self.connections.enter(connection)
        if self.connections.crammed:
            self.refused(_CONNECTIONS, None)
            connection.abort()
        return served

    def adopt(self, settings: config.Receive) -> None:
        """Hold to other limits from now on; what is under way keeps those that it began with."""
        self.settings = settings
        self.clusters.limit = settings.max_in_flight
        self.ingest.adopt(settings)
        self.responses = Responses(settings.retry_after, self._clock.wall_ns() / 1e9)
        self._bound(settings)

    def _bound(self, settings: config.Receive) -> None:
        self.max_body = min(settings.max_body, settings.max_in_flight)
        key = "max_body" if self.max_body == settings.max_body else "max_in_flight"
        self.too_large = HttpRejection(
            RejectionReason.TOO_LARGE, f"the body is larger than receive.{key} ({self.max_body})"
        )

    def admit(self, head: Head, length: int, peer: Peer, *, crowded: bool) -> Admitted | HttpRejection:
        """`length`: bytes of the body as declared. `peer`: what the client's certificate proves.

        `crowded`: this is one client too many.
        """
        if self.stopping:
            return STOPPING
        if crowded:
            return _CONNECTIONS
        admission = self._authorizer.admit(head.target, head.authorization, peer)
        if isinstance(admission, HttpRejection):
            return admission
        cluster = self.clusters.find(admission.cluster, self._clock.monotonic())
        return self._unwanted(head, length) or self.ingest.refusal(cluster) or Admitted(cluster, admission.source)

    def epoch(self) -> object:
        """Another object than before, once anything has changed that lets requests in; None while nothing does."""
        return None if self.stopping else self._authorizer.cluster_set()

    def admits_again(self, admitted: Admitted, length: int, epoch: object) -> bool:
        """Whether `admit` would say the same of the same head from the same client; `epoch`: of when it was asked."""
        return (
            not self.stopping
            and self._authorizer.cluster_set() is epoch
            and length <= self.max_body
            and self.ingest.refusal(admitted.cluster) is None
        )

    def _unwanted(self, head: Head, length: int) -> HttpRejection | None:
        if not head.post:
            return _METHOD
        if head.encoding not in _GZIP:
            return _ENCODING
        if head.expectation not in _CONTINUE:
            return _EXPECTATION
        return self.too_large if length > self.max_body else None

    def sweep(self) -> None:
        """To be called about once a second."""
        self.now = self._clock.monotonic()
        self.responses.tick(self._clock.wall_ns() / 1e9)
        for connection in tuple(self.connections.open):
            connection.sweep(self.now)

    def retire(self) -> None:
        """Every connection that is open now answers one more request at most: what let it in has changed."""
        for connection in self.connections.open:
            connection.retire()

    def refused(self, refused: HttpRejection, peer: object, target: bytes = b"") -> None:
        """Count a refusal, remember it, and log the first of its kind. `target`: of the request, where it was read."""
        address, path = _address(peer), _path(target)
        self.counters.refused(refused.reason, self._clock.wall_ns(), refused.sentence, address, path)
        if self.now - self._logged.get(refused.reason, -SILENCE_SECONDS) >= SILENCE_SECONDS:
            self._logged[refused.reason] = self.now
            reason = refused.reason.value
            extra = {"reason": reason, "peer": address, "path": path, "silent_seconds": SILENCE_SECONDS}
            log.warning("a request was refused: %s", refused.sentence, extra=extra)


def _path(target: bytes) -> str:
    """The path of a request's target, fit to be shown; without a query, which is nobody's business."""
    text = target.partition(b"?")[0][:LONGEST_PATH].decode("latin-1")
    return "".join(character if character.isprintable() else "?" for character in text)


def _address(peer: object) -> str:
    """`host:port` of what a transport calls its peer; "" for one that is gone, or was never known."""
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""

"""What all connections of one receive port share, and the sweep that ends what takes too long."""

import asyncio
import logging
from typing import NamedTuple, Protocol

from auditsink import config
from auditsink.clusters.rates import Rates
from auditsink.common.clock import Clock
from auditsink.receive.auth import Authorizer
from auditsink.receive.head import Heads
from auditsink.receive.ingest import Ingest
from auditsink.receive.limits import Claims
from auditsink.receive.responses import HttpRejection, RejectionReason, Responses
from auditsink.receive.statistics import ReceiveCounters
from auditsink.spool import Spool

log = logging.getLogger("auditsink.receive")

READ_BYTES = 2**20
"""The one buffer that serves every connection of the loop: it is only used within one callback."""
PEEK_BYTES = 2**14
"""As much of it as is read while a request waits for its answer: that has to be kept."""
BEYOND = 64
"""Connections past `max_connections` that get an answer before they are closed; more are closed without one."""
CIPHER_BYTES = 2**16
"""For TLS, read at once and copied into the connection's BIO, which never shrinks again."""
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


class ListenerState:
    """Shared by the connections; belongs to the loop's thread."""

    def __init__(self, limits: config.Receive, spool: Spool, gate: Authorizer, rates: Rates, clock: Clock) -> None:
        self.limits = limits
        self.clock = clock
        self.now = clock.monotonic()  # of the last sweep: what deadlines are counted from
        self.gate = gate
        self.heads = Heads()
        self.counters = ReceiveCounters()
        self.intake = Ingest(limits, spool, self.counters, rates, clock)
        self.budget = self.intake.budget
        self.claims = Claims(limits.max_in_flight)
        self.answers = Responses(limits.retry_after, clock.wall_ns() / 1e9)
        self.connections: set[Swept] = set()
        self.room = Room(limits.max_connections, BEYOND)
        self.most = min(limits.max_body, limits.max_in_flight)
        key = "max_body" if self.most == limits.max_body else "max_in_flight"
        self.too_large = HttpRejection(
            RejectionReason.TOO_LARGE, f"the body is larger than receive.{key} ({self.most})"
        )
        self.stopping = False
        self.soon = asyncio.get_running_loop().call_soon
        self.buffer = bytearray(READ_BYTES)
        self.view = memoryview(self.buffer)
        self.peek_view = self.view[:PEEK_BYTES]
        self.cipher_view = memoryview(bytearray(CIPHER_BYTES))
        self._logged: dict[str, float] = {}

    def enter(self, connection: Swept) -> bool:
        """A connection was opened; False when it is one too many."""
        self.connections.add(connection)
        if len(self.connections) > self.room.taken + self.room.refused:
            self.counters.rejected[RejectionReason.CONNECTIONS] += 1
            connection.abort()
        return len(self.connections) <= self.room.taken

    def leave(self, connection: Swept) -> None:
        """It is closed."""
        self.connections.discard(connection)

    def sweep(self) -> None:
        """To be called about once a second."""
        self.now = self.clock.monotonic()
        self.answers.tick(self.clock.wall_ns() / 1e9)
        for connection in tuple(self.connections):
            connection.sweep(self.now)

    def retire(self) -> None:
        """Every connection that is open now answers one more request at most: what let it in has changed."""
        for connection in self.connections:
            connection.retire()

    def refused(self, refused: HttpRejection, peer: object) -> None:
        """Count a refusal, and log the first of its kind."""
        self.counters.refused(refused.reason, self.clock.wall_ns(), refused.sentence, _address(peer).rpartition(":")[0])
        if self.now - self._logged.get(refused.reason, -SILENCE_SECONDS) >= SILENCE_SECONDS:
            self._logged[refused.reason] = self.now
            extra = {"reason": refused.reason.value, "peer": _address(peer), "silent_seconds": SILENCE_SECONDS}
            log.warning("a request was refused: %s", refused.sentence, extra=extra)


def _address(peer: object) -> str:
    """`host:port` of what a transport calls its peer; "" for one that is gone, or was never known."""
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""

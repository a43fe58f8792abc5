"""The one small protocol that every destination implements, and the batch that it is handed.

A destination knows how to turn a batch into its wire format and how to read the other side's answer. It does not
know the spool, retries, backoff, order or accounting: those are `forward`'s.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from auditsink.audit.eventlist import Mark
from auditsink.common.operator_error import OperatorError
from auditsink.delivery.outcome import Outcome

Attempt = Callable[[], Awaitable[Outcome]]
"""One try to deliver what was prepared. May be called again after any outcome that did not deliver."""

Origin = Callable[[int], str | None]
"""Names the event at a sequence, so that no other event ever gets that name; None where the ring holds it no more."""

_NONE = Mark(0)


@dataclass(frozen=True, slots=True)
class Limits:
    """How a destination wants its batches packed, and how many attempts it allows at once.

    A batch closes at `max_bytes` of raw events (a single larger event makes a batch of its own), at `max_events`, or
    when its first event has waited `max_wait` seconds. `in_flight` attempts run at once; 1 keeps the order strictly.
    """

    max_bytes: int
    max_events: int
    max_wait: float
    in_flight: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one cluster, in the order in which they were accepted.

    `sequences[i]` is the place of `events[i]` in the cluster's ring (a range unless events were taken out).
    `received_ns` is when the first of them was accepted, for events that carry no time of their own.
    With `Mark.UNSPLIT` there is exactly one event: a whole request body that could not be split.
    With `Mark.NOT_UTF8` at least one event holds bytes that are not UTF-8.
    `source` is the identity that was proven when the events were received ("" when none was asked for).
    `origin` is the ring's; None when the batch is not part of a destination's run through a ring (a replay).
    `labels` are those of the cluster; they go beside the events, whose bytes they do not touch.
    `labelled`: the events as they go out where the labels go inside (`labels_as`); None where they do not.
    """

    cluster: str
    source: str
    events: Sequence[bytes]
    sequences: Sequence[int]
    received_ns: int
    marks: Mark = _NONE
    origin: Origin | None = field(default=None, compare=False, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    labelled: Sequence[bytes] | None = None

    def part(self, start: int, stop: int) -> "Batch":
        """Events `start` to `stop` (exclusive) as a batch of their own."""
        return replace(self, events=self.events[start:stop], sequences=self.sequences[start:stop])


class DestinationError(OperatorError):
    """A destination cannot be built from its settings: one sentence with the key's path and what to do."""


class UnavailableError(DestinationError):
    """The settings may be right, and what they need is not there now: a path, a library, a stream."""


class Destination(Protocol):
    """Where events go. Methods run in the event loop's thread; heavy work belongs into `asyncio.to_thread`."""

    name: str
    type: str
    limits: Limits

    async def prepare(self, batch: Batch) -> Attempt:
        """Encode the batch once. Never raises for what is inside an event: that is made safe or left to be refused."""
        ...

    async def probe(self) -> Outcome:
        """Ask the other side, without delivering an event, whether it would take one (`check --connect`)."""
        ...

    async def close(self) -> None:
        """Let go of connections and files. What was prepared and not attempted is simply forgotten."""
        ...

"""One dead letter: an event that a destination refused for good, why, and all that is needed to deliver it again. Pure.

On the disk it is one line of JSON. The event stands in it as a string when it is UTF-8 (so that `jq -r .event` gives
it back byte for byte) and in base64 when it is not.
"""

import hashlib
from datetime import UTC, datetime

import msgspec

from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Batch

LONGEST_REASON = 1000
"""Kept of a reason: it is the other side's text, and an HTML page explains nothing."""
ID_DIGITS = 12
"""Hexadecimal: 48 bits, so that among a million of them two rarely share an id, and a person can still type it."""


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`sequence` is the event's place in its cluster's ring. Make one with `DeadLetter.of`."""

    id: str
    destination: str
    cluster: str
    sequence: int
    source: str = ""
    received_at: datetime
    refused_at: datetime
    reason: str
    marks: int = 0
    event: str | None = None
    event_base64: bytes | None = None

    @classmethod
    def of(cls, destination: str, batch: Batch, index: int, reason: str, refused_ns: int) -> "DeadLetter":
        """Of one event of a batch. `refused_ns`: nanoseconds since the epoch."""
        event, sequence = batch.events[index], batch.sequences[index]
        text = _text(event)
        return cls(
            id=dead_letter_id(batch.cluster, sequence, event),
            destination=destination,
            cluster=batch.cluster,
            sequence=sequence,
            source=batch.source,
            received_at=_time(batch.received_ns),
            refused_at=_time(refused_ns),
            reason=reason[:LONGEST_REASON],
            marks=int(batch.marks),
            event=text,
            event_base64=event if text is None else None,
        )

    @property
    def content(self) -> bytes:
        """The event, byte for byte."""
        if self.event is not None:
            return self.event.encode()
        return self.event_base64 or b""

    def batch(self) -> Batch:
        """The event as a batch of its own, for another try."""
        return Batch(
            cluster=self.cluster,
            source=self.source,
            events=[self.content],
            sequences=[self.sequence],
            received_ns=round(self.received_at.timestamp() * 1e6) * 1000,
            marks=Mark(self.marks),
        )

    def encode(self) -> bytes:
        """The line, with its line break."""
        return _encoder.encode(self) + b"\n"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(DeadLetter)


def decode(line: bytes) -> DeadLetter | None:
    """The dead letter of a line; None for one that is none (damage, a hand that slipped)."""
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def dead_letter_id(cluster: str, sequence: int, event: bytes) -> str:
    """The same for the same event after a crash, and another one if the ring was made anew and counts from 0 again."""
    digest = hashlib.sha256(f"{cluster}\0{sequence}\0".encode())
    digest.update(event)
    return digest.hexdigest()[:ID_DIGITS]


def _text(event: bytes) -> str | None:
    try:
        return event.decode()
    except UnicodeDecodeError:
        return None


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1000 / 1e6, UTC)

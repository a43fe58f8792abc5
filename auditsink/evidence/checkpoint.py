"""A checkpoint and its line in the file. Pure; the format is in the package's text."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec
import orjson

VERSION = 1
FINGERPRINT_BYTES = 4
MOST_EVENTS = 2**21
"""Of one checkpoint, for a reader: what `span.MOST_EVENTS` and one request of the largest allowed number come to."""

_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The statement. See the package's text for the members."""

    version: int = VERSION
    number: _Number
    previous: _Digest | None
    time: datetime
    cluster: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    ring: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    first: _Number
    next: _Number
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_EVENTS)]
    first_received: datetime
    last_received: datetime
    sha256: _Digest
    key: str | None

    def canonical(self) -> bytes:
        """The bytes that are signed and chained."""
        return _encoder.encode(self)


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint with what stands beside it. `canonical` are the bytes that `signature` is about."""

    checkpoint: Checkpoint
    canonical: bytes
    signature: bytes | None
    fingerprints: bytes

    @property
    def digest(self) -> str:
        """What the next one calls `previous`."""
        return hashlib.sha256(self.canonical).hexdigest()

    def line(self) -> bytes:
        """The line that stands for it in the checkpoint file."""
        fingerprints = base64.b64encode(self.fingerprints)
        return b'{"checkpoint":%b,"fingerprints":"%b","signature":%b}\n' % (
            self.canonical,
            fingerprints,
            self._signature(),
        )

    def document(self) -> bytes:
        """Without fingerprints, for the log and for destinations: small, whatever the number of events."""
        return b'{"checkpoint":%b,"signature":%b}' % (self.canonical, self._signature())

    def _signature(self) -> bytes:
        return b"null" if self.signature is None else b'"%b"' % base64.b64encode(self.signature)


class NoCheckpointError(ValueError):
    """A line that holds no checkpoint. The message is the rest of a sentence about that line."""


class OtherVersionError(NoCheckpointError):
    """A checkpoint, but not ours to read."""


class _Envelope(msgspec.Struct):
    checkpoint: msgspec.Raw
    signature: str | None = None
    fingerprints: str | None = None


_encoder = msgspec.json.Encoder(order="sorted")
_envelopes = msgspec.json.Decoder(_Envelope)
_checkpoints = msgspec.json.Decoder(Checkpoint)


def decode(line: bytes) -> Signed:
    """The checkpoint of a line: of the file, or of the sink's log. Raises NoCheckpointError."""
    try:
        envelope = _envelopes.decode(line)
        canonical = orjson.dumps(orjson.loads(bytes(envelope.checkpoint)), option=orjson.OPT_SORT_KEYS)
        checkpoint = _checkpoints.decode(canonical)
        signature = None if envelope.signature is None else base64.b64decode(envelope.signature, validate=True)
        fingerprints = base64.b64decode(envelope.fingerprints or "", validate=True)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        raise NoCheckpointError("is no checkpoint") from None
    if checkpoint.version != VERSION:
        raise OtherVersionError(f"is of version {checkpoint.version}, this auditsink reads {VERSION}: use a newer one")
    if not checkpoint.first < checkpoint.next or checkpoint.count != checkpoint.next - checkpoint.first:
        raise NoCheckpointError("is no checkpoint: its range contradicts its count")
    if len(fingerprints) not in (0, checkpoint.count * FINGERPRINT_BYTES):
        raise NoCheckpointError("has fingerprints for another number of events")
    return Signed(checkpoint, canonical, signature, fingerprints)

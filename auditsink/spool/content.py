"""From a request's body to a frame's payload, and back from a frame to the events."""

import hashlib
from itertools import chain

import zstandard

from auditsink.audit import eventlist
from auditsink.audit.eventlist import Mark
from auditsink.spool import frame, record_batch
from auditsink.spool.errors import DecryptionError
from auditsink.spool.frame import FrameHeader
from auditsink.spool.keys import Key, Keyring, cipher_of
from auditsink.spool.record_batch import StoredRequest
from auditsink.spool.segment import SegmentHeader
from auditsink.spool.types import Record

DIGEST_BYTES = 16


class ContentError(Exception):
    """A frame whose checksum holds and whose content cannot be had. The message is a clause that says why."""


class TamperedError(ContentError):
    """Somebody who can write to the disk, and has not the key, put something in a record's place."""


def digest(ring_id: bytes, content: bytes, key: Key | None) -> bytes:
    """What recognises a retry, and the ring: over the compressed body, which is short (equal bodies compress equally).

    `content` is that, or a small body itself, which is compressed together with others. With a key it is keyed as well:
    else whoever has the disk could tell whether a body that he guesses is in it.
    """
    if key is None:
        return hashlib.sha256(ring_id + content).digest()[:DIGEST_BYTES]
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=key.digest_key, person=ring_id).digest()


class Unpacker:
    """Opens, decompresses and splits. For one thread at a time."""

    def __init__(self, keys: Keyring | None) -> None:
        self._keys = keys
        self._decompress = zstandard.ZstdDecompressor().decompress
        self._segment: SegmentHeader | None = None

    def record(self, segment: SegmentHeader, header: FrameHeader, data: bytes, at: int) -> Record:
        """The record in the frame at `data[at]`. Raises ContentError, and MissingKeyError for the whole segment."""
        payload = self.payload(segment, header, data, at)
        try:
            if zstandard.frame_content_size(payload) != header.body_length:
                raise ContentError("its payload is of another length than its header says")
            body = self._decompress(payload)
            found = _split(body, header, frame.table_of(header, data, at))
        except (zstandard.ZstdError, eventlist.NotAnEventListError) as problem:
            raise ContentError(str(problem)) from None
        if len(found) != header.events:
            raise ContentError(f"{len(found)} events where the header says {header.events}")
        source = frame.source_of(header, data, at)
        return Record(header.first_sequence, found, header.received_ns, source, header.marks)

    def payload(self, segment: SegmentHeader, header: FrameHeader, data: bytes, at: int) -> memoryview | bytes:
        """The compressed body. Raises as `record` does."""
        if segment is not self._segment:
            self._cipher = cipher_of(segment, self._keys)
            self._segment = segment
        payload = frame.payload_of(header, data, at)
        if self._cipher is None and not header.encrypted:
            return payload
        if self._cipher is None or not header.encrypted:
            raise TamperedError("it is encrypted in a segment that is not, or the other way round")
        try:
            return self._cipher.decrypt(payload, frame.bound_of(header, data, at))
        except DecryptionError:
            raise TamperedError("its seal does not hold, and its checksum does") from None


def _split(body: bytes, header: FrameHeader, requests: list[StoredRequest]) -> list[bytes]:
    if not requests:
        return [body] if header.marks & Mark.UNSPLIT else eventlist.split(body).events
    bodies = record_batch.cut(body, requests)
    if bodies is None:
        raise ContentError("its bodies are of another length than its table says")
    found = [eventlist.split(one).events for one in bodies]
    if [len(several) for several in found] != [request.events for request in requests]:
        raise ContentError("its bodies hold other numbers of events than its table says")
    return list(chain.from_iterable(found))

"""A record of the topic: encode, decode, and what it holds. Pure; the layout stands in the package's text."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from auditsink.spool import frame
from auditsink.spool.frame import Encrypt, Entry, FrameHeader
from auditsink.spool.record_batch import StoredRequest
from auditsink.spool.segment import SegmentHeader

VERSION = b"1"
VERSION_HEADER = "auditsink"
SEAL_HEADER = "seal"
_SEAL = struct.Struct("<8sQ8s")
_RING_BYTES = 16
_PLAIN = bytes(8)
_BATCH_BYTES = 61 + 12
"""Of the header of a batch, and of a record's own lengths and differences (Kafka protocol, "Record Batch")."""

Headers = Sequence[tuple[str, bytes]]


class NoRecordError(Exception):
    """What lies in the topic is none of ours. The message is a clause that says why."""


class Encoded(NamedTuple):
    """What is produced: `key` names the partition."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as it was fetched. `segment`: what its payload is encrypted under, as for a segment on a disk."""

    offset: int
    cluster: str
    segment: SegmentHeader
    header: FrameHeader
    value: bytes

    @property
    def requests(self) -> list[StoredRequest]:
        """The requests that share it; one that stands alone is one as well."""
        if self.header.requests:
            return frame.table_of(self.header, self.value, 0)
        return [StoredRequest(self.header.digest, self.header.body_length, self.header.events)]


def stored_size(key: bytes, value: bytes, headers: Headers) -> int:
    """Bytes that a record takes on a broker's disk, in a batch of its own; less than 61 fewer in one with others."""
    return _BATCH_BYTES + len(key) + len(value) + sum(len(name) + len(said) + 2 for name, said in headers)


def ring_id(cluster: str) -> bytes:
    """Stands where a ring's id stands on a disk: digests, checksums and keys of two clusters differ."""
    return hashlib.sha256(cluster.encode()).digest()[:_RING_BYTES]


def plain_segment(cluster: str) -> SegmentHeader:
    """What records that are not encrypted are encoded under."""
    return SegmentHeader(ring_id(cluster), _PLAIN, 0, 0)


def encode(cluster: str, entry: Entry, segment: SegmentHeader, encrypt: Encrypt | None = None) -> Encoded:
    """The record of an entry. `encrypt`: of the segment's cipher, where there is one."""
    entry.first_sequence = 0  # the topic's offsets count
    value = entry.encode(segment.seed, encrypt)
    headers = [(VERSION_HEADER, VERSION)]
    if encrypt is not None:
        packed = _SEAL.pack(segment.segment_id, segment.created_ns, segment.key_check)
        headers.append((SEAL_HEADER, packed + segment.key_name.encode()))
    return Encoded(cluster.encode(), value, headers)


def decode(offset: int, key: bytes | None, value: bytes | None, headers: Headers) -> StoredRecord:
    """The record. Raises NoRecordError for what is none, or is damaged."""
    said = dict(headers)
    if key is None or value is None or VERSION_HEADER not in said:
        raise NoRecordError("it was not written by auditsink")
    if said[VERSION_HEADER] != VERSION:
        version = said[VERSION_HEADER][:8].decode(errors="replace")
        raise NoRecordError(f"it has format version {version!r}, and this auditsink reads {VERSION.decode()}")
    cluster = key.decode(errors="replace")
    segment = _segment(cluster, said.get(SEAL_HEADER))
    header = frame.decode(value, 0, 0, segment.seed)
    if header is None:
        raise NoRecordError("its checksum does not hold")
    return StoredRecord(offset, cluster, segment, header, value)


def _segment(cluster: str, packed: bytes | None) -> SegmentHeader:
    if packed is None:
        return plain_segment(cluster)
    if len(packed) < _SEAL.size:
        raise NoRecordError("its seal is cut short")
    segment_id, created_ns, check = _SEAL.unpack_from(packed)
    name = packed[_SEAL.size :].decode(errors="replace")
    return SegmentHeader(ring_id(cluster), segment_id, 0, created_ns, key_name=name, key_check=check)

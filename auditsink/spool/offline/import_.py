"""Puts an export back into a spool that no sink runs on: same ring, same sequences, same receive times.

Nothing is written before all of the export has been read and its digests hold. A segment is written under another
name, synced and renamed, so a restore that is cut short can be repeated: what is there already is compared and left.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import zstandard

from auditsink.audit import eventlist
from auditsink.audit.eventlist import Mark
from auditsink.common.disk import Disk, RealDisk
from auditsink.spool import content, frame, identity, recovery, segment_file
from auditsink.spool.errors import SpoolError
from auditsink.spool.frame import Encrypt
from auditsink.spool.identity import Identity
from auditsink.spool.keys import Key, Keyring
from auditsink.spool.lock import check_version, take_lock
from auditsink.spool.offline import export_format, inspect
from auditsink.spool.offline.export_format import ExportedRing, ExportedSegment
from auditsink.spool.ring import Ring
from auditsink.spool.segment import ChainLink, SegmentHeader
from auditsink.spool.slots import SlotFile
from auditsink.spool.types import Record


@dataclass(slots=True)
class Restored:
    """Events that were written, and events that were there already."""

    written: int = 0
    present: int = 0


def restore(
    source: Path,
    path: Path,
    *,
    cluster: str | None = None,
    disk: Disk | None = None,
    keys: Keyring | None = None,
    progress: Callable[[ExportedSegment], object] = lambda _segment: None,
) -> dict[str, Restored]:
    """Restore the export in `source` (or one cluster of it) into the spool at `path`; what was done, by cluster.

    With `keys` what is written is encrypted. A ring that is encrypted takes nothing else.
    `progress` is called twice for each segment: when it has been checked, and when it is restored. Raises SpoolError,
    and OSError when the disk fails; then it can be repeated.
    """
    disk = disk or RealDisk()
    rings = [ring for ring in export_format.load(source).rings if cluster in (None, ring.cluster)]
    for one in chain.from_iterable(ring.segments for ring in rings):
        # To the end first: where a digest is wrong, that is what the operator must hear.
        odd = [record.first_sequence for record in export_format.read(source, one) if body_of(record) is None]
        if odd:
            raise SpoolError(
                f"{source / one.events}: the request of sequence {odd[0]} cannot be stored as it was received"
            )
        progress(one)
    disk.make_directory(path / "rings")
    lock = take_lock(disk, path)
    try:
        check_version(disk, path)
        return {ring.cluster: _Target(path, ring, disk, keys).fill(source, progress) for ring in rings if ring.segments}
    finally:
        lock.close()


def body_of(record: Record) -> bytes | None:
    """A request body that is split into exactly these lines; None where there is none."""
    if Mark.UNSPLIT in record.marks:
        try:
            (document,) = record.events
            return eventlist.unsplit_body(document)
        except ValueError:
            return None
    body = eventlist.joined(record.events)
    return body if eventlist.split(body).events == record.events else None


class _Target:
    """One ring that is being filled."""

    def __init__(self, path: Path, exported_ring: ExportedRing, disk: Disk, keys: Keyring | None) -> None:
        self._path = path
        self._exported = exported_ring
        self._ring_id = bytes.fromhex(exported_ring.ring)
        self._directory = path / "rings" / exported_ring.cluster
        self._disk = disk
        self._keys = keys
        self._link = ChainLink()
        self._durable = 0
        self._done = Restored()

    def fill(self, source: Path, progress: Callable[[ExportedSegment], object]) -> Restored:
        """All segments of the export, in order."""
        self._open()
        held = _held(self._path, self._exported.cluster, self._disk, self._keys)
        for one in self._exported.segments:
            self._fill_one(one, export_format.read(source, one), held)
            progress(one)
        return self._done

    def _open(self) -> None:
        """Find or make the ring. Raises SpoolError when it cannot take the export under the same sequences."""
        first = self._exported.segments[0].first
        self._disk.make_directory(self._directory / "cursors")
        meta = SlotFile.open(self._disk, self._directory / identity.FILE)
        try:
            found = Identity.decode(meta.payload)
            if found is None or (found.ring_id != self._ring_id and self._untouched(found)):
                meta.write(Identity(self._ring_id, first).encode())
                meta.sync()
            elif found.ring_id != self._ring_id:
                raise SpoolError(
                    f"{self._directory}: this ring was made anew since the export: its sequences are of other events; "
                    "import into an empty directory"
                )
        finally:
            meta.close()
        floor = first if found is None or found.ring_id != self._ring_id else found.floor
        ring = Ring(self._exported.cluster, self._directory, self._ring_id, self._disk, floor=floor)
        self._link = recovery.recover(ring)
        recovery.check_keys([ring], self._keys)
        self._durable = ring.durable
        if first < ring.floor:
            raise SpoolError(
                f"{self._directory}: holds events from sequence {ring.floor} on, the export begins with {first}; "
                "import into an empty directory"
            )

    def _untouched(self, found: Identity) -> bool:
        """Whether the ring never held an event; then its cursors mean nothing either, and are removed."""
        ring = Ring(self._exported.cluster, self._directory, found.ring_id, self._disk, floor=found.floor)
        recovery.recover(ring)
        if ring.segments or ring.durable:
            return False
        for name in self._disk.names(self._directory / "cursors"):
            self._disk.unlink(self._directory / "cursors" / name)
        return True

    def _fill_one(self, one: ExportedSegment, records: Iterator[Record], held: Iterator[tuple[int, bytes]]) -> None:
        """Compare what is there already, write the rest as a segment."""
        for record in records:
            if record.first_sequence >= self._durable:
                self._write(max(one.first, self._durable), one.next, chain([record], records))
                return
            self._compare(record, held)

    def _compare(self, record: Record, held: Iterator[tuple[int, bytes]]) -> None:
        for sequence, line in enumerate(record.events, record.first_sequence):
            found = next((other for at, other in held if at == sequence), None)
            if found != line:
                raise SpoolError(
                    f"{self._directory}: event {sequence} is not the one that was exported; "
                    "import into an empty directory"
                )
        self._done.present += len(record.events)

    def _write(self, first: int, stop: int, records: Iterator[Record]) -> None:
        """A sealed segment with these records, linked to the one before it."""
        begin = next(records)
        link = self._link
        key = None if self._keys is None else self._keys.newest
        header = SegmentHeader(
            self._ring_id, os.urandom(8), first, begin.received_ns, link.first, link.length, link.digest,
            *(() if key is None else (key.name, key.check)),
        )  # fmt: skip
        encrypt = None if key is None else key.cipher(header).encrypt
        frames, count = [], 0
        for record in chain([begin], records):
            frames.append(_frame(header, record, key, encrypt))
            count += len(record.events)
        self._link, self._durable = segment_file.write_sealed(self._disk, self._directory, header, frames, stop), stop
        self._done.written += count


def _frame(header: SegmentHeader, record: Record, key: Key | None, encrypt: Encrypt | None) -> bytes:
    body = body_of(record)
    assert body is not None  # it was looked at before anything was written
    payload = zstandard.ZstdCompressor(level=1).compress(body)
    return frame.encode(
        header.seed,
        first_sequence=record.first_sequence,
        events=len(record.events),
        marks=record.marks,
        source=record.source.encode()[: frame.MAX_SOURCE],
        received_ns=record.received_ns,
        body_length=len(body),
        payload=payload,
        digest=content.digest(header.ring_id, payload, key),
        encrypt=encrypt,
    )


def _held(path: Path, cluster: str, disk: Disk, keys: Keyring | None) -> Iterator[tuple[int, bytes]]:
    """What the ring holds already, in order, as lines."""
    for record in inspect.records(path, cluster, disk, keys=keys):
        yield from enumerate(eventlist.ndjson(record.events, record.marks), record.first_sequence)

"""Writes the sealed segments of a spool as NDJSON, beside a running sink or on a stopped one; see `exported`.

A segment that is still being written is left out: nothing is exported that might not have been answered; `include_open`
takes what stands in it at that moment. One that the ring's limit removes meanwhile is told.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson
import zstandard

from auditsink import __version__
from auditsink.audit import eventlist
from auditsink.common import timestamps
from auditsink.common.disk import Disk, RealDisk, replace
from auditsink.spool import identity, segment_file
from auditsink.spool.errors import SpoolError
from auditsink.spool.keys import Keyring
from auditsink.spool.offline.export_format import MANIFEST, ExportedRing, ExportedSegment, Manifest
from auditsink.spool.segment_file import SegmentContent
from auditsink.spool.types import Record

LEVEL = 3
"""zstd's own default: an export is read seldom and kept long."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Segments that hold a request received at or after `since` and before `until` (nanoseconds since the epoch)."""

    since: int = 0
    until: int = 2**63 - 1

    def wants(self, content: SegmentContent) -> bool:
        """Whole segments are exported, so that their digests and their checkpoints stay meaningful."""
        return any(self.since <= header.received_ns < self.until for header in content.frames)


def export(
    path: Path,
    clusters: list[str],
    target: Path,
    *,
    made_ns: int,
    selection: Selection | None = None,
    disk: Disk | None = None,
    keys: Keyring | None = None,
    include_open: bool = False,
    progress: Callable[[int], object] = lambda _bytes: None,
) -> Manifest:
    """Export these rings of the spool at `path` into the directory `target`. Raises SpoolError and OSError.

    What is encrypted is decrypted with `keys`: an export is plain.
    `progress` is called after each segment that was looked at, with its bytes on the disk.
    """
    if (target / MANIFEST).exists():
        raise SpoolError(f"{target}: holds an export already; give another directory")
    run = _ExportRun(path / "rings", target, selection or Selection(), disk or RealDisk(), keys, include_open, progress)
    rings = [run.ring(one) for one in clusters]
    manifest = Manifest(tool=f"auditsink {__version__}", made=timestamps.at(made_ns), rings=rings)
    content = orjson.dumps(msgspec.to_builtins(manifest), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    target.mkdir(parents=True, exist_ok=True)
    replace(RealDisk(), target / MANIFEST, [content])
    return manifest


@dataclass(frozen=True, slots=True)
class _ExportRun:
    """One export under way: from the rings in `source` into `target`."""

    source: Path
    target: Path
    selection: Selection
    disk: Disk
    keys: Keyring | None
    include_open: bool
    progress: Callable[[int], object]

    def ring(self, cluster: str) -> ExportedRing:
        """All of a ring that is sealed and wanted."""
        found: list[ExportedSegment] = []
        gone: list[tuple[int, int]] = []
        open_from = None
        who = identity.peek(self.source / cluster, self.disk)
        several = segment_file.segments(self.source / cluster, self.disk)
        for one in several:
            content = segment_file.read(one, self.disk, self.keys)
            if content is None:
                gone.append((one.header.first_sequence, one.stop or one.header.first_sequence))
            elif not content.sealed and not self.include_open:
                open_from = one.header.first_sequence
            elif content.frames and self.selection.wants(content):
                found.append(self._segment(content, cluster))
            self.progress(len(content.data) if content else 0)
        who = who or identity.of_segments(several)
        ring_id = who.ring_id if who else bytes(16)
        return ExportedRing(cluster=cluster, ring=ring_id.hex(), segments=found, open_from=open_from, gone=gone)

    def _segment(self, content: SegmentContent, cluster: str) -> ExportedSegment:
        directory = self.target / cluster
        directory.mkdir(parents=True, exist_ok=True)
        first = content.stored.header.first_sequence
        names = f"{first:020d}.ndjson.zst", f"{first:020d}.requests.ndjson.zst"
        received = [header.received_ns for header in content.frames] or [content.stored.header.created_ns]
        count, digest, requests_digest = _write(content, *(directory / name for name in names))
        RealDisk().sync_directory(directory)
        return ExportedSegment(
            events=f"{cluster}/{names[0]}",
            requests=f"{cluster}/{names[1]}",
            first=first,
            next=content.stop,
            count=count,
            first_received=timestamps.at(min(received)),
            last_received=timestamps.at(max(received)),
            sha256=digest,
            requests_sha256=requests_digest,
            digest=(content.footer.digest if content.footer else content.digest).hex(),
        )


def _write(content: SegmentContent, events_file: Path, requests_file: Path) -> tuple[int, str, str]:
    """Both files of a segment; the number of events, and the SHA-256 of each file's lines."""
    count = 0
    digest, requests_digest = hashlib.sha256(), hashlib.sha256()
    with _compressed(events_file) as write_events, _compressed(requests_file) as write_request:
        for record in content.records():
            lines = b"\n".join([*eventlist.ndjson(record.events, record.marks), b""])
            request = _request(record)
            write_events(lines)
            write_request(request)
            digest.update(lines)
            requests_digest.update(request)
            count += len(record.events)
    return count, digest.hexdigest(), requests_digest.hexdigest()


def _request(record: Record) -> bytes:
    line = [record.first_sequence, len(record.events), record.received_ns, record.source, int(record.marks)]
    return orjson.dumps(line) + b"\n"


@contextmanager
def _compressed(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Write a file that only its owner may read, and have it on the disk at the end."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as stream:
        compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        yield lambda data: stream.write(compressor.compress(data))
        stream.write(compressor.flush())
        stream.flush()
        os.fsync(stream.fileno())

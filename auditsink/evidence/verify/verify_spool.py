"""Spools and exports against what is stated: their events have sequences, so none has to be recognised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from auditsink.audit import eventlist
from auditsink.common.disk import Disk
from auditsink.evidence.verify.archive import Archive, Statements
from auditsink.evidence.verify.findings import Findings
from auditsink.evidence.verify.range_verifier import RangeVerifier
from auditsink.spool import identity, segment_file
from auditsink.spool.identity import Identity
from auditsink.spool.keys import Keyring
from auditsink.spool.offline import export_format, inspect
from auditsink.spool.offline.export_format import ExportedRing, Manifest

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class SpoolVerifier:
    """What checks share. Every check raises SpoolError, OSError, EvidenceError and EnoughError."""

    archive: Archive
    findings: Findings
    progress: Progress
    """Called after each segment, with its bytes on the disk."""

    def check_spool(self, path: Path, clusters: Sequence[str], disk: Disk, keys: Keyring | None = None) -> None:
        """The rings of these clusters, in a spool that may be in use; `keys` open what is encrypted.

        A ring claims to hold everything from its floor on; what it dropped before is counted and no problem.
        """
        held = inspect.clusters(path, disk)
        for cluster in clusters:
            ring = path / "rings" / cluster
            who = _identity(ring, disk) if cluster in held else None
            self._miss_others(cluster, who.ring_id.hex() if who else None)
            if who is not None:
                self._check_ring(ring, cluster, who, disk, keys)

    def check_export(self, path: Path, manifest: Manifest, clusters: Sequence[str]) -> None:
        """The rings of these clusters in an export, which claims to hold what lies between its first and last event."""
        for ring in manifest.rings:
            if ring.cluster in clusters and ring.segments:
                self._check_exported(path, ring)

    def _check_ring(self, ring: Path, cluster: str, who: Identity, disk: Disk, keys: Keyring | None) -> None:
        several = segment_file.segments(ring, disk)
        who = _identity(ring, disk) or who  # after the list: the floor is raised before a segment is removed
        verifier, statements = self._verifier(cluster, who.ring_id.hex(), who.floor)
        end = who.floor
        for one in several:
            content = segment_file.read(one, disk, keys)
            if content is None:
                now = identity.peek(ring, disk)
                verifier.forgo(now.floor if now else 0)
            elif content.stop > who.floor:
                end = content.stop
                for record in content.records():
                    verifier.feed(record.first_sequence, eventlist.ndjson(record.events, record.marks))
                self.progress(len(content.data))
        verifier.finish(max([end, *statements.nexts]))

    def _check_exported(self, path: Path, ring: ExportedRing) -> None:
        verifier, _statements = self._verifier(ring.cluster, ring.ring, ring.segments[0].first)
        for one in ring.segments:
            for record in export_format.read(path, one):
                verifier.feed(record.first_sequence, record.events)
            self.progress((path / one.events).stat().st_size)
        verifier.finish(ring.segments[-1].next)

    def _verifier(self, cluster: str, ring: str, begin: int) -> tuple[RangeVerifier, Statements]:
        statements = self.archive.rings.get((cluster, ring)) or Statements(cluster, ring)
        return RangeVerifier(statements, partial(self.archive.load, statements), self.findings, begin=begin), statements

    def _miss_others(self, cluster: str, ring: str | None) -> None:
        """What is stated about rings that this cluster has no longer."""
        for statements in self.archive.of_cluster(cluster):
            ranges = zip(statements.firsts, statements.nexts, statements.demanded, strict=True)
            count = sum(stop - first for first, stop, demanded in ranges if demanded)
            if statements.ring != ring and count:
                self.findings.problem(
                    f"cluster {cluster}: missing: {count:,} events of the ring {statements.ring}, which is not in this "
                    "spool: it was removed or made anew (--since passes over what was stated before)"
                )


def _identity(ring: Path, disk: Disk) -> Identity | None:
    """What the ring says of itself; what its oldest segment says where that is lost."""
    return identity.peek(ring, disk) or identity.of_segments(segment_file.segments(ring, disk))

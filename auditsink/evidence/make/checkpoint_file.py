"""The checkpoint file as its maker sees it: one owner, appended to, synced, and the end of the chain.

A crash may tear the last lines of an append, or, where the power went, any of them. They are cut off at the next start,
with what follows them: the cursor has not moved past them, so their ranges are stated again. The lines of one append
carry one time; so what is broken before that is no torn append, and is left for `auditsink verify` to tell.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from auditsink.common import timestamps
from auditsink.common.disk import Disk, File, append_all, closed_on_error, line_start, replace
from auditsink.evidence import EvidenceError
from auditsink.evidence.checkpoint import Checkpoint, NoCheckpointError, OtherVersionError, Signed, decode
from auditsink.evidence.span import Span

log = logging.getLogger("auditsink.evidence")

_BLOCK = 2**20
_BEGINNING = b'{"checkpoint":'


class Signing(Protocol):
    """What signs a checkpoint, and the name under which a verifier finds the public key."""

    key_id: str

    def sign(self, message: bytes) -> bytes:
        """The signature of a checkpoint's canonical form."""
        ...


class CheckpointFile:
    """Methods block. `number` and `digest` are those of the last checkpoint; 0 and None before the first."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Takes the file for this process and repairs its end. Raises EvidenceError."""
        self.path = path
        self.number = 0
        self.digest: str | None = None
        self._disk = disk
        try:
            disk.make_directory(path.parent)
            self._file = self._open()
            with closed_on_error(self._file):
                self._recall()
        except BlockingIOError:
            raise EvidenceError(
                f"evidence.path: {path} is in use by another auditsink; give each sink a file of its own"
            ) from None
        except OSError as problem:
            raise EvidenceError(
                f"evidence.path: {path}: {problem.strerror or problem}; check the path, its permissions and the disk"
            ) from None

    def __repr__(self) -> str:
        return f"<CheckpointFile {self.path} {self.number} checkpoints>"

    def append(self, spans: Sequence[Span], signer: Signing | None, now_ns: int) -> list[Signed]:
        """State these ranges, in order, and return when that is on the disk. Raises OSError: then none is stated."""
        if not spans:
            return []
        if not self._file.linked():  # somebody removed it: the chain goes on in a new file, and shows the gap
            self._file.close()
            self._file, self._end = self._open(), 0
        entries: list[Signed] = []
        number, previous = self.number, self.digest
        for span in spans:
            number += 1
            entries.append(_state(span, number, previous, signer, now_ns))
            previous = entries[-1].digest
        lines = [entry.line() for entry in entries]
        self._end = append_all(self._file, lines, self._end)
        self.number, self.digest = number, previous
        return entries

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _open(self) -> File:
        file = self._disk.lock(self.path)
        self._disk.sync_directory(self.path.parent)
        return file

    def _recall(self) -> None:
        """Where the chain stands, after what a crash left of an append is cut off."""
        size = self._file.size()
        complete = line_start(self._file, size)
        # A power cut may have torn the very first line, at any byte.
        if not _BEGINNING.startswith(self._file.read(len(_BEGINNING), 0).rstrip(b"\0")):
            raise EvidenceError(
                f"evidence.path: {self.path} holds no checkpoints but something else; give the sink a file of its own"
            )
        try:
            last, self._end = _last_whole(self._file, complete)
        except OtherVersionError as problem:
            raise EvidenceError(f"evidence.path: the last line of {self.path} {problem}") from None
        if last is not None:
            self.number, self.digest = last.checkpoint.number, last.digest
        if self._end < complete:
            self._set_aside(complete)
        if self._end < size:
            self._file.truncate(self._end)
            self._file.sync()

    def _set_aside(self, complete: int) -> None:
        """Keep a copy of the broken lines: nobody can tell for sure that they were never stated."""
        aside = self.path.with_name(f"{self.path.name}.torn-{self._end}")
        log.error(
            "the last checkpoints were broken by a crash and are made again; what was in the file is set aside",
            extra={"file": str(self.path), "bytes": complete - self._end, "set_aside": str(aside)},
        )
        blocks = range(self._end, complete, _BLOCK)
        replace(self._disk, aside, (self._file.read(min(_BLOCK, complete - at), at) for at in blocks))


def _state(span: Span, number: int, previous: str | None, signer: Signing | None, now_ns: int) -> Signed:
    checkpoint = Checkpoint(
        number=number,
        previous=previous,
        time=timestamps.at(now_ns),
        cluster=span.cluster,
        ring=span.ring_id.hex(),
        first=span.first,
        next=span.next,
        count=span.next - span.first,
        first_received=timestamps.at(span.first_received_ns),
        last_received=timestamps.at(span.last_received_ns),
        sha256=span.sha256.hex(),
        key=signer.key_id if signer else None,
    )
    canonical = checkpoint.canonical()
    return Signed(checkpoint, canonical, signer.sign(canonical) if signer else None, span.fingerprints)


def _last_whole(file: File, end: int) -> tuple[Signed | None, int]:
    """The last checkpoint before which nothing of the last append is broken, and where its line ends.

    Lines before `end` are looked at, from the last one back to the append before. Raises OtherVersionError.
    """
    last, whole, time = None, end, None
    while end > 0:
        start = line_start(file, end - 1)
        found = _decoded(file.read(end - start, start))
        if found is None:
            last, whole = None, start
        else:
            last = last or found
            if time not in (None, found.checkpoint.time):
                break
            time = found.checkpoint.time
        end = start
    return last, whole


def _decoded(line: bytes) -> Signed | None:
    try:
        return decode(line)
    except OtherVersionError:
        raise
    except NoCheckpointError:
        return None

"""The checkpoint file as its maker sees it: one owner, appended to, synced, and the end of the chain.

A crash may tear the last lines of an append. They are cut off at the next start: the cursor has not moved past them,
so their ranges are stated again.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from auditsink import moments
from auditsink.evidence import EvidenceError
from auditsink.evidence.checkpoint import Checkpoint, NoCheckpointError, Signed, decode
from auditsink.evidence.span import Span
from auditsink.spool.disk import Disk, File, write_all

_BLOCK = 2**20


class Signing(Protocol):
    """A private key."""

    key_id: str

    def sign(self, message: bytes) -> bytes:
        """The signature."""
        ...


class Ledger:
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
            try:
                self._end = _complete(self._file)
                self._recall()
            except BaseException:
                self._file.close()
                raise
        except BlockingIOError:
            raise EvidenceError(
                f"evidence.path: {path} is in use by another auditsink; give each sink a file of its own"
            ) from None
        except OSError as problem:
            raise EvidenceError(
                f"evidence.path: {path}: {problem.strerror or problem}; check the path, its permissions and the disk"
            ) from None

    def __repr__(self) -> str:
        return f"<Ledger {self.path} {self.number} checkpoints>"

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
        try:
            write_all(self._file, lines, self._end)
            self._file.sync()
        except OSError:
            # The next try writes the same place again, so that no half line stays in front of it.
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise
        self._end += sum(map(len, lines))
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
        """Where the chain stands."""
        if self._end == 0:
            return
        start = _line_start(self._file, self._end - 1)
        try:
            last = decode(self._file.read(self._end - start, start))
        except NoCheckpointError as problem:
            raise EvidenceError(
                f"evidence.path: the last line of {self.path} {problem}; give the sink a file of its own"
            ) from None
        self.number, self.digest = last.checkpoint.number, last.digest


def _state(span: Span, number: int, previous: str | None, signer: Signing | None, now_ns: int) -> Signed:
    checkpoint = Checkpoint(
        number=number,
        previous=previous,
        time=moments.at(now_ns),
        cluster=span.cluster,
        ring=span.ring_id.hex(),
        first=span.first,
        next=span.next,
        count=span.next - span.first,
        first_received=moments.at(span.first_received_ns),
        last_received=moments.at(span.last_received_ns),
        sha256=span.sha256.hex(),
        key=signer.key_id if signer else None,
    )
    canonical = checkpoint.canonical()
    return Signed(checkpoint, canonical, signer.sign(canonical) if signer else None, span.fingerprints)


def _complete(file: File) -> int:
    """The end of the last complete line; what follows it is cut off."""
    size = file.size()
    end = _line_start(file, size)
    if end < size:
        file.truncate(end)
        file.sync()
    return end


def _line_start(file: File, before: int) -> int:
    """Where the line that holds the byte before `before` begins, or would begin."""
    at = before
    while at > 0:
        start = max(0, at - _BLOCK)
        found = file.read(at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0

"""Checkpoint files as a verifier reads them: signatures and chain first, then each statement when it is needed.

Memory holds about 40 bytes for each checkpoint, so a year of them fits; the fingerprints stay in the file.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from auditsink.common import timestamps
from auditsink.evidence import EvidenceError
from auditsink.evidence.checkpoint import NoCheckpointError, Signed, decode
from auditsink.evidence.keys import PublicKeys
from auditsink.evidence.verify.findings import Findings

LONGEST_LINE = 2**28
"""Bytes. A request of a million tiny events makes a line of 6 MB; what is longer than this is no checkpoint file."""
_MARK = b'"checkpoint"'


@dataclass(frozen=True, slots=True)
class Period:
    """Checkpoints made at or after `since` and before `until` (nanoseconds since the epoch) must be met."""

    since: int = 0
    until: int = 2**63 - 1

    def __contains__(self, ns: object) -> bool:
        return isinstance(ns, int) and self.since <= ns < self.until


@dataclass(slots=True)
class Statements:
    """What is stated about one ring, by ascending ranges. `demanded[i]` is 1 where the input must hold that range."""

    cluster: str
    ring: str
    firsts: "array[int]" = field(default_factory=lambda: array("Q"))
    nexts: "array[int]" = field(default_factory=lambda: array("Q"))
    places: "array[int]" = field(default_factory=lambda: array("Q"))
    files: "array[int]" = field(default_factory=lambda: array("H"))
    demanded: "array[int]" = field(default_factory=lambda: array("B"))

    def __len__(self) -> int:
        return len(self.firsts)

    def sort(self) -> None:
        """A crash may have repeated a range, so the order in the file is only nearly that of the ranges."""
        order = sorted(range(len(self)), key=lambda at: (self.firsts[at], self.nexts[at]))
        for name in ("firsts", "nexts", "places", "files", "demanded"):
            column = getattr(self, name)
            setattr(self, name, array(column.typecode, [column[at] for at in order]))


class Archive:
    """Open checkpoint files. `rings`: what they state, by cluster and ring id, in the order of first mention."""

    def __init__(self, paths: Sequence[Path], keys: PublicKeys | None, findings: Findings) -> None:
        """Raises EvidenceError when a file cannot be read."""
        self.rings: dict[tuple[str, str], Statements] = {}
        self._keys = keys
        self._findings = findings
        self._streams: list[BinaryIO] = []
        for path in paths:
            try:
                self._streams.append(path.open("rb"))
            except OSError as problem:
                self.close()
                raise EvidenceError(f"{path}: {problem.strerror}; check the path and its permissions") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        for stream in self._streams:
            stream.close()

    def read(self, period: Period, cluster: str | None = None) -> None:
        """Check every signature and the chain of each file; keep what is sound. No cluster: all are demanded."""
        for number, stream in enumerate(self._streams):
            before: Signed | None = None
            for where, place, entry in self._entries(stream):
                if before is not None and entry.digest == before.digest:
                    continue  # a log may say things twice
                self._check_link(where, before, entry)
                before = entry
                if self._check_signature(where, entry):
                    self._keep(entry, number, place, period, cluster)
            if before is None:
                self._findings.problem(f"{stream.name}: holds no checkpoint")
        for statements in self.rings.values():
            statements.sort()

    def of_cluster(self, cluster: str) -> Iterator[Statements]:
        """What is stated about the rings that this cluster has had, one after the other."""
        return (statements for (name, _ring), statements in self.rings.items() if name == cluster)

    @property
    def clusters(self) -> list[str]:
        """All clusters of which a checkpoint speaks, in the order of first mention."""
        return list(dict.fromkeys(cluster for cluster, _ring in self.rings))

    def load(self, statements: Statements, at: int) -> Signed:
        """One statement in full, read again. Raises EvidenceError when the file has changed since."""
        stream = self._streams[statements.files[at]]
        stream.seek(statements.places[at])
        try:
            return decode(stream.readline(LONGEST_LINE))
        except NoCheckpointError:
            raise EvidenceError(f"{stream.name}: was changed while it was read; run it again on a copy") from None

    def _entries(self, stream: BinaryIO) -> Iterator[tuple[str, int, Signed]]:
        """Each checkpoint, with its line and offset in words and bytes. Other lines, as a log has them, are passed."""
        number = passed = place = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            if _MARK not in line:
                passed += 1
            else:
                where = f"{stream.name}:{number}"
                try:
                    yield where, place, decode(line)
                except NoCheckpointError as problem:
                    self._findings.problem(f"{where}: {problem}")
            place += len(line)
        if passed:
            self._findings.note(f"{stream.name}: {passed:,} lines are no checkpoints and were passed over")

    def _check_link(self, where: str, before: Signed | None, entry: Signed) -> None:
        checkpoint = entry.checkpoint
        if before is None:
            if checkpoint.number > 1:
                self._findings.note(
                    f"{where}: the file begins with checkpoint {checkpoint.number}; the ones before it are not here"
                )
            return
        last = before.checkpoint.number
        if checkpoint.number > last + 1:
            missing = range(last + 1, checkpoint.number)
            self._findings.problem(f"{where}: the chain is broken: {len(missing)} checkpoints before this are missing")
        elif checkpoint.previous != before.digest:
            self._findings.problem(
                f"{where}: the chain is broken: checkpoint {checkpoint.number} does not follow checkpoint {last}; "
                "one of the two was changed, or a new file was begun"
            )

    def _check_signature(self, where: str, entry: Signed) -> bool:
        self._findings.checkpoints += 1
        key = entry.checkpoint.key
        if self._keys is None:
            return True
        what = f"{where}: checkpoint {entry.checkpoint.number}"
        if key is None or entry.signature is None:
            self._findings.problem(f"{what} is not signed")
        elif key not in self._keys:
            self._findings.problem(f"{what} is signed with key {key}, which is not among those given by --public-key")
        elif not self._keys.verify(key, entry.canonical, entry.signature):
            self._findings.problem(f"{what}: the signature is wrong: what it says was changed, or never said")
        else:
            return True
        return False

    def _keep(self, entry: Signed, file: int, place: int, period: Period, cluster: str | None) -> None:
        checkpoint = entry.checkpoint
        key = (checkpoint.cluster, checkpoint.ring)
        statements = self.rings.setdefault(key, Statements(*key))
        statements.firsts.append(checkpoint.first)
        statements.nexts.append(checkpoint.next)
        statements.places.append(place)
        statements.files.append(file)
        wanted = cluster in (None, checkpoint.cluster)
        statements.demanded.append(wanted and timestamps.nanoseconds(checkpoint.time) in period)


def open_keys(paths: Iterable[Path], findings: Findings) -> PublicKeys | None:
    """The keys, if any are given; else a note that says what is then not proven. Raises EvidenceError."""
    several = list(paths)
    if several:
        return PublicKeys.load(several)
    findings.note("signatures were not checked (give --public-key): whoever can write the file can have made them")
    return None

"""NDJSON files as a row of lines: plain or compressed, several in the order in which they were written."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import count as count_from
from pathlib import Path

from auditsink.auditlogs.compression import DAMAGE, decompressed
from auditsink.evidence import EvidenceError

LONGEST_LINE = 2**28
"""Bytes. kube-apiserver's events are a few MB at most; a file without line breaks must not fill the memory."""
_ROTATED = re.compile(r"(?P<name>.*?)\.(?P<number>\d{1,6})\Z")
_TELL_LINES = 1000


class Files:
    """`progress` is told the bytes taken from the disk, now and then."""

    def __init__(self, paths: Sequence[Path], progress: Callable[[int], object] = lambda _bytes: None) -> None:
        self.paths = in_order(paths)
        self._progress = progress
        self._starts: list[int] = []

    def __iter__(self) -> Iterator[bytes]:
        """Every line without its line break. Raises EvidenceError for what cannot be read."""
        number = 0
        for path in self.paths:
            self._starts.append(number)
            for line in self._lines(path):
                yield line
                number += 1

    def where(self, number: int) -> str:
        """The line with that number, from 0, over all files."""
        at = bisect_right(self._starts, number) - 1
        return f"{self.paths[at]}:{number - self._starts[at] + 1}"

    def _lines(self, path: Path) -> Iterator[bytes]:
        told = 0
        try:
            with path.open("rb") as raw, decompressed(raw) or raw as stream:
                for count in count_from(1):
                    line = stream.readline(LONGEST_LINE)
                    if len(line) == LONGEST_LINE:
                        raise EvidenceError(f"{path}: holds a line of more than {LONGEST_LINE // 2**20} MiB")
                    if not line or count % _TELL_LINES == 0:
                        self._progress(raw.tell() - told)
                        told = raw.tell()
                    if not line:
                        return
                    yield line[:-1] if line.endswith(b"\n") else line
        except DAMAGE as problem:
            raise EvidenceError(f"{path}: cannot be read: {problem}") from None


def in_order(paths: Sequence[Path]) -> list[Path]:
    """As a file destination wrote them: `x.2`, `x.1`, `x`, whatever order a shell gives; others stay where they are."""
    names = [_name(path) for path in paths]
    groups: dict[Path, int] = {}
    for base, _number in names:
        groups.setdefault(base, len(groups))
    keys = [(groups[base], -number) for base, number in names]
    return [path for _key, path in sorted(zip(keys, paths, strict=True), key=lambda pair: pair[0])]


def _name(path: Path) -> tuple[Path, int]:
    """`audit.ndjson.2.gz` is number 2 of `audit.ndjson`, which itself is number 0."""
    plain = path.with_suffix("") if path.suffix in {".gz", ".zst"} else path
    rotated = _ROTATED.match(plain.name)
    return (plain.with_name(rotated["name"]), int(rotated["number"])) if rotated else (plain, 0)

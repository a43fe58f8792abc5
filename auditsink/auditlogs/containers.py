"""The lines of a container's log: CRI (containerd, CRI-O) and docker's json-file. Pure.

A runtime cuts a long line into parts. CRI marks them with P, and the last one with F; docker leaves out the line break
of all but the last. Parts are put together for each stream by itself. (The formats: kubelet's
pkg/kubelet/kuberuntime/logs, moby's daemon/logger/jsonfilelog.)
"""

import re
from typing import NamedTuple

from auditsink.auditlogs import values
from auditsink.auditlogs.lines import MAX_LINE

_CRI = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP])(?::[^ ]*)?(?: (.*))?\Z",
    re.DOTALL,
)
_DOCKER = b'{"log":"'
_PER_PART = 64  # bytes that an object takes besides its content


class LinePart(NamedTuple):
    """A part of what a container said on one of its streams; `last`: its line ends here."""

    stream: str
    data: bytes
    last: bool


class Joined(NamedTuple):
    """A whole line of a container; the number of the line that it began in. None: it became too long."""

    first: int
    data: bytes | None


def part(line: bytes) -> LinePart | None:
    """What a line of such a log holds; None for another line."""
    found = _CRI.match(line)
    if found is not None:
        stream, tag, data = found.groups(b"")
        return LinePart(stream.decode(), data, tag == b"F")
    if not line.startswith(_DOCKER):
        return None
    members = values.members(line)
    stream_name, log = values.text(members.get("stream")), values.content(members.get("log", b""))
    if stream_name not in {"stdout", "stderr"} or log is None:
        return None
    return LinePart(stream_name, log.removesuffix(b"\n"), log.endswith(b"\n"))


class _PartialLine:
    """The parts of a line so far."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.size = 0
        self.pieces: list[bytes] = []


class Parts:
    """Parts that wait for their last one."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._waiting: dict[str, _PartialLine] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, number: int, added: LinePart) -> Joined | None:
        """The line that is whole now, if one is."""
        waiting = self._waiting.setdefault(added.stream, _PartialLine(number))
        waiting.size += len(added.data) + _PER_PART
        if waiting.size > self._limit:
            waiting.pieces.clear()
        else:
            waiting.pieces.append(added.data)
        if not added.last:
            return None
        del self._waiting[added.stream]
        return Joined(waiting.first, b"".join(waiting.pieces) if waiting.size <= self._limit else None)

    def end(self) -> list[int]:
        """The lines in which something begins that has no end."""
        return sorted(waiting.first for waiting in self._waiting.values())

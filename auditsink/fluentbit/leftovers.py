"""What a fluent-bit left on the volume: its undelivered chunks, taken over before the start and delivered once.

`adopt` moves them into a directory of ours, as whoever may (root, where the pod starts as root), so that a fluent-bit
that comes back does not deliver them again. `Leftovers` puts what is in them into the ring like batches that were
posted, and removes a file when all of it is durable. A crash in between repeats that file at most; the same bytes
within ten minutes are stored once. A file that cannot be read to its end is kept, and named with its size at every
start; what could be read of it is delivered.
"""

import asyncio
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import msgspec

from auditsink.audit.eventlist import joined, split
from auditsink.common.clock import Clock
from auditsink.spool import Spool, SpoolError
from auditsink.spool.types import Receipt, SpoolRejection

log = logging.getLogger("auditsink.fluentbit")

DIRECTORY = "fluent-bit"
"""Below ours, for chunks that were taken over."""
MOST_BYTES = 2**25
"""Of a chunk that is read: fluent-bit closes them at 2 MB, and one record more may have 4."""
AGAIN_SECONDS = 5.0
"""Between two tries while the ring is full or the disk fails."""
DAMAGED = ".damaged"
"""What is appended to the name of a file that is kept."""
_NAME = re.compile(r"[0-9]+-([0-9]+)\.([0-9]+)\.flb\Z")


@dataclass(frozen=True, slots=True)
class Adopted:
    """Chunks taken over, and what lies there and was left alone (`problems`: a sentence each)."""

    files: int = 0
    bytes: int = 0
    problems: tuple[str, ...] = ()


def adopt(volume: Path, ours: Path) -> Adopted:
    """Move every chunk on the volume below `ours`. Never raises for what cannot be moved."""
    files = size = 0
    problems: list[str] = []
    for chunk in _lying(volume, ours):
        place = ours / DIRECTORY / chunk.parent.name / chunk.name
        found = _size(chunk)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():  # of another life, and not yet delivered
                place = place.with_name(f"{place.stem}-{os.urandom(4).hex()}.flb")
            chunk.rename(place)
        except OSError as problem:
            problems.append(
                f"{chunk} ({found:,} bytes): {problem.strerror}; its events are not delivered: start the container as "
                "root once, or give its user the right to move it"
            )
            continue
        files, size = files + 1, size + found
    return Adopted(files, size, tuple(problems))


def _lying(volume: Path, ours: Path) -> Iterator[Path]:
    """Chunks directly below the directories of inputs, which fluent-bit names like `http.0`."""
    try:
        directories = sorted(one for one in volume.iterdir() if one.is_dir() and not one.is_symlink() and one != ours)
    except OSError:
        return
    for directory in directories:
        try:
            yield from sorted(one for one in directory.iterdir() if one.suffix == ".flb" and one.is_file())
        except OSError:  # lost+found, say
            continue


def buffer_size(directory: Path) -> int:
    """Bytes of files below a directory, such as one in which fluent-bit gathered objects; 0 if there is none."""
    try:
        return sum(one.stat().st_size for one in directory.rglob("*") if one.is_file() and not one.is_symlink())
    except OSError:
        return 0


class Leftovers:
    """Delivers what was adopted. Belongs to the loop's thread."""

    def __init__(self, ours: Path, cluster: str, added: Mapping[str, str], clock: Clock) -> None:
        self._directory = ours / DIRECTORY
        self._cluster = cluster
        self._added = added
        self._clock = clock
        self.events = 0

    async def deliver(self, spool: Spool) -> None:
        """All of them, the oldest first, one after the other."""
        waiting, damaged = await asyncio.to_thread(self._lying)
        for one in damaged:
            log.error("a chunk of fluent-bit could not be delivered whole: %s", one, extra={"bytes": _size(one)})
        for chunk in waiting:
            await self._deliver(spool, chunk)
        if waiting:
            done = {"chunks": len(waiting), "events": self.events}
            log.info("what fluent-bit had not delivered is in the ring now", extra=done)

    def _lying(self) -> tuple[list[Path], list[Path]]:
        if not self._directory.is_dir():
            return [], []
        return sorted(self._directory.glob("*/*.flb"), key=_age), sorted(self._directory.glob(f"*/*{DAMAGED}"))

    async def _deliver(self, spool: Spool, chunk: Path) -> None:
        bodies, problem = await asyncio.to_thread(self._bodies, chunk)
        for body in bodies:
            await self._submit(spool, body)
        if problem is None:
            await asyncio.to_thread(chunk.unlink)
            return
        kept = chunk.with_name(chunk.name + DAMAGED)
        log.error(
            "a chunk of fluent-bit cannot be delivered whole and is kept: %s: %s",
            kept,
            problem,
            extra={"bytes": _size(chunk), "records_delivered": len(bodies)},
        )
        await asyncio.to_thread(chunk.rename, kept)

    def _bodies(self, chunk: Path) -> tuple[list[bytes], str | None]:
        """What can be read, and why the rest cannot. A crash of fluent-bit's may have torn the last record."""
        found: list[bytes] = []
        try:
            if _size(chunk) > MOST_BYTES:
                return [], f"is larger than {MOST_BYTES // 2**20} MiB"
            found.extend(chunk_bodies(chunk.read_bytes(), self._added))
        except ChunkError as problem:
            return found, str(problem)
        except OSError as problem:
            return found, problem.strerror or "cannot be read"
        return found, None

    async def _submit(self, spool: Spool, body: bytes) -> None:
        events = await asyncio.to_thread(split, body)
        if not events.events:
            return
        loop = asyncio.get_running_loop()
        while True:
            done: asyncio.Future[Receipt | SpoolRejection] = loop.create_future()
            try:
                spool.submit(spool.ring(self._cluster), body, events, "", done.set_result)
            except SpoolError as problem:
                log.warning("a chunk of fluent-bit waits: %s", problem)
            else:
                if isinstance(result := await done, Receipt):
                    self.events += 0 if result.duplicate else result.count
                    return
            await self._clock.sleep(AGAIN_SECONDS)


def _age(chunk: Path) -> tuple[int, int, str]:
    """`PID-SECONDS.NANOSECONDS.flb`: when it was begun."""
    match = _NAME.match(chunk.name)
    return (int(match[1]), int(match[2]), chunk.name) if match else (0, 0, chunk.name)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


_MAGIC = b"\xc1\x00"
_LENGTH = slice(10, 14)
_META_LENGTH = slice(22, 24)
_META = 24
_TYPED = b"\xf1\x77"
_LOGS = 0
_FRAME = frozenset({"kind", "apiVersion", "metadata", "items"})

_encode = msgspec.json.Encoder(enc_hook=str).encode


class ChunkError(ValueError):
    """The file cannot be delivered: why."""


def chunk_bodies(data: bytes, added: Mapping[str, str]) -> Iterator[bytes]:
    """Each record of a chunk's file as an EventList. Raises ChunkError, perhaps after some.

        C1 00 | CRC32 (4) | 4 | content length (4) | 8 | metadata length (2) | metadata | content | zeros

    Metadata is the tag, since 1.9 behind F1 77, the type (0: logs) and 00. Content is one msgpack value after another:
    `[[time, metadata], record]`, before 2.0 `[time, record]`. A record is what was posted, an EventList, with what
    filters have put at its top. Of a file that fluent-bit did not close the content is padded with zeros, and old
    versions leave its length out. (chunkio's `cio_file_st.h`, fluent-bit's CHUNKS.md, files written by 4.0.5.)

    What filters have put beside `items` goes into each event, at its top, unless `added` says that it will be put
    there anyway.
    """
    for record in _records(data):
        yield _body(record, added)


def _records(data: bytes) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(
        raw=False, unicode_errors="replace", strict_map_key=False, max_buffer_size=max(len(data), 1)
    )
    unpacker.feed(_content(data))
    while True:
        try:
            entry = unpacker.unpack()
        except msgpack.OutOfData:
            return
        except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as problem:
            raise ChunkError(f"is damaged: {type(problem).__name__} in what should be msgpack") from None
        if entry == 0:  # the padding of an old version's file
            return
        if not (isinstance(entry, list) and len(entry) == 2):
            raise ChunkError("holds something that is no record")
        yield entry[1]


def _content(data: bytes) -> bytes:
    if len(data) < _META or not data.startswith(_MAGIC):
        raise ChunkError("is no chunk of fluent-bit")
    start = _META + int.from_bytes(data[_META_LENGTH])
    metadata = data[_META:start]
    if metadata.startswith(_TYPED) and metadata[2:3] != bytes([_LOGS]):
        raise ChunkError("holds metrics or traces, no events")
    length = int.from_bytes(data[_LENGTH])
    if start + length > len(data):
        raise ChunkError(f"is cut: {start + length - len(data):,} bytes are missing")
    return data[start : start + length] if length else data[start:]


def _body(record: Any, added: Mapping[str, str]) -> bytes:
    if not isinstance(record, dict):
        raise ChunkError("holds a record that is no EventList")
    items = record.get("items")
    if record.get("kind") == "Event":
        items = [record]
    elif record.get("kind") != "EventList" or not isinstance(items, list):
        raise ChunkError("holds a record that is no EventList")
    more = {name: value for name, value in record.items() if name not in _FRAME and name not in added}
    several = items if record.get("kind") == "Event" else [_with(item, more) for item in items]
    try:
        return joined([_encode(one) for one in several])
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError) as problem:
        raise ChunkError(f"holds a record that cannot be JSON again ({type(problem).__name__})") from None


def _with(item: Any, more: Mapping[Any, Any]) -> Any:
    return (
        {**item, **{name: value for name, value in more.items() if name not in item}}
        if more and isinstance(item, dict)
        else item
    )

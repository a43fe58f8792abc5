"""What the spool's tests share: events, a spool on a fake disk, and a wait for the writer's answers."""

import queue
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from crc32c import crc32c

from auditsink.audit import eventlist
from auditsink.common.disk import Disk
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.spool import Spool, frame, segment
from auditsink.spool.frame import FrameHeader
from auditsink.spool.ring import Ring
from auditsink.spool.segment import SegmentHeader
from auditsink.spool.types import Receipt, SpoolRejection
from auditsink.testing.disk import FakeDisk

PATH = Path("/spool")


def body_of(*texts: str) -> bytes:
    """An EventList with one small event for each text."""
    items = ",".join(f'{{"level":"Metadata","auditID":"{text}"}}' for text in texts)
    return f'{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{items}]}}\n'.encode()


def noise_text(number: int, size: int = 3000) -> str:
    """One event's text that does not compress, of about `size` bytes on the disk."""
    return f"{number:06d}-" + random.Random(number).randbytes(size).hex()


def noise(number: int, size: int = 3000) -> bytes:
    """A body that does not compress, so that rings fill as fast as they are written to."""
    return body_of(noise_text(number, size))


def events_of(*texts: str) -> list[bytes]:
    """The events that `body_of` holds."""
    return eventlist.split(body_of(*texts)).events


def config(path: Path = PATH, **changes: Any) -> SpoolConfig:
    """Small rings: 64 KiB segments, 1 MiB in all."""
    settings: dict[str, Any] = {"max_bytes": Size(2**20), "segment_bytes": Size(2**16), **changes}
    return SpoolConfig(path=path, **settings)


def open_spool(disk: Disk | None = None, **changes: Any) -> Spool:
    """A started spool whose answers are given in the writer's thread."""
    spool = Spool.open(config(**changes), disk=disk or FakeDisk())
    spool.start(lambda call: call())
    return spool


class Turns:
    """The turns of an event loop, which whoever waits for something makes: in the thread of the test."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.soon = self._calls.put

    def until(self, reached: Callable[[], object]) -> None:
        """Make turns until that is so."""
        while not reached():
            self._calls.get(timeout=30)()


LOOPS: WeakKeyDictionary[Spool, Turns] = WeakKeyDictionary()
"""Of the spools whose loop may commit."""


def open_looping(disk: Disk | None = None, **changes: Any) -> Spool:
    """A started spool with a loop, which makes the small commits."""
    spool = Spool.open(config(**changes), disk=disk or FakeDisk())
    turns = LOOPS[spool] = Turns()
    spool.start(turns.soon, turns.soon)
    return spool


def submit_all(spool: Spool, ring: Ring, bodies: list[bytes], source: str = "") -> list[Receipt | SpoolRejection]:
    """Submit one after the other, each when the one before is answered: each has a record of its own."""
    return [answer for body in bodies for answer in submit_together(spool, ring, [body], source)]


def submit_together(spool: Spool, ring: Ring, bodies: list[bytes], source: str = "") -> list[Receipt | SpoolRejection]:
    """Submit them at once and wait for all answers, in order. Those that meet in a commit share a record."""
    answers: dict[int, Receipt | SpoolRejection] = {}
    everybody = threading.Semaphore(0)

    def done(index: int, answer: Receipt | SpoolRejection) -> None:
        answers[index] = answer
        everybody.release()

    for index, body in enumerate(bodies):
        spool.submit(ring, body, eventlist.split(body), source, lambda answer, index=index: done(index, answer))  # type: ignore[misc]
    if spool in LOOPS:
        LOOPS[spool].until(lambda: len(answers) == len(bodies))
        return [answers[index] for index in range(len(bodies))]
    for _ in bodies:
        assert everybody.acquire(timeout=30), "the writer did not answer"
    return [answers[index] for index in range(len(bodies))]


def submit(spool: Spool, ring: Ring, body: bytes) -> Receipt | SpoolRejection:
    """Submit one and wait for its answer."""
    return submit_all(spool, ring, [body])[0]


def read_all(ring: Ring, position: int = 0, max_bytes: int = 10_000) -> tuple[list[bytes], int]:
    """Everything from `position` on, from the disk; and how many events were missing."""
    reader = ring.reader()
    found: list[bytes] = []
    missing = 0
    while position < ring.durable:
        chunk = reader.read(position, max_bytes)
        assert chunk.end > position, "a reader must get on"
        for record in chunk.records:
            found += record.events
        missing += chunk.missing
        position = chunk.end
    reader.close()
    return found, missing


def die(spool: Spool, disk: FakeDisk) -> None:
    """The end of a process after `disk.cut_power`: its thread ends too, and the disk is there for the next one."""
    spool._writer.stop()
    disk.power_on()


def parts(disk: FakeDisk, path: Path) -> tuple[SegmentHeader, list[FrameHeader], bytearray]:
    """A segment on the disk: its header, the headers of its frames, all of it."""
    content = disk.content(path)
    header = segment.decode_header(content)
    assert header is not None
    frames = [part for part in segment.walk(content, header.seed) if isinstance(part, FrameHeader)]
    return header, frames, bytearray(content)


def reframed(header: SegmentHeader, old: FrameHeader, content: bytes, **changes: int) -> bytes:
    """The frame with other numbers in its header and checksums that hold: what anybody can do who can write."""
    fields = {
        "length": old.payload_length, "body": old.body_length, "events": old.events, "flags": 3,
        "source": old.source_length, "first": old.first_sequence, "received": old.received_ns, **changes,
    }  # fmt: skip
    whole = content[old.offset : old.offset + old.size]
    packed = frame.HEADER.pack(frame.MAGIC, 0, old.checksum, *fields.values(), old.digest, 0)[8:]
    return frame.MAGIC + crc32c(packed, header.seed).to_bytes(4, "little") + packed + whole[frame.HEADER.size :]

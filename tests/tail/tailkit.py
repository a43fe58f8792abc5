"""A spool on a fake disk with events that a tail can tell apart, and what a listener was told."""

import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from auditsink.audit import eventlist
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.spool import Spool
from auditsink.testing.disk import FakeDisk

HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['


def event(number: int, user: str = "admin", pad: int = 0) -> bytes:
    """One event; `stageTimestamp` grows with its number."""
    stamp = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000000Z"
    pads = f',"requestObject":"{"x" * pad}"' if pad else ""
    return (
        f'{{"verb":"get","user":{{"username":"{user}"}},"objectRef":{{"resource":"pods","name":"p{number}"}}'
        f'{pads},"requestReceivedTimestamp":"{stamp}","stageTimestamp":"{stamp}"}}'
    ).encode()


class Fixture:
    """A spool that takes what it is given at once."""

    def __init__(self, **changes: Any) -> None:
        settings = {"max_bytes": Size(256 * 2**20), "segment_bytes": Size(2**20), **changes}
        self.spool = Spool.open(SpoolConfig(path=Path("/spool"), **settings), disk=FakeDisk())
        self.spool.start(lambda call: call())

    def add(self, cluster: str, several: list[bytes]) -> None:
        """One request; returns when it is durable."""
        body = HEAD + b",".join(several) + b"]}\n"
        done = threading.Event()
        self.spool.submit(self.spool.ring(cluster), body, eventlist.split(body), "", lambda _: done.set())
        assert done.wait(30)


async def told(stream: AsyncIterator[bytes], *, pieces: int = 10_000) -> list[dict[str, Any]]:
    """What the first `pieces` pieces of a stream say."""
    found: list[dict[str, Any]] = []
    async for piece in stream:
        found += [json.loads(line) for line in piece.splitlines()]
        pieces -= 1
        if not pieces:
            break
    return found


def names(several: list[dict[str, Any]]) -> list[str]:
    """The objects' names of those that are events."""
    return [one["name"] for one in several if "name" in one]

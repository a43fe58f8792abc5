"""What the tests of evidence share: a spool and its checkpointer on a fake disk and clock, keys, checkpoint files."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditsink.audit import eventlist
from auditsink.audit.eventlist import Mark
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.evidence.checkpoint import Signed, decode
from auditsink.evidence.keys import Signer
from auditsink.evidence.make.checkpoint_file import CheckpointFile
from auditsink.evidence.make.checkpointer import Checkpointer
from auditsink.evidence.span import OpenSpan, Span
from auditsink.spool import Spool
from auditsink.spool.types import Receipt, Record, SpoolRejection
from auditsink.testing.clock import FakeClock, settle
from auditsink.testing.disk import FakeDisk

SPOOL = Path("/spool")
LEDGER = Path("/evidence/checkpoints.ndjson")
HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
SECOND_NS = 1_000_000_000
NO_MARK = Mark(0)


def private_pem(key: Ed25519PrivateKey = PRIVATE) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: Ed25519PrivateKey = PRIVATE) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def signer(key: Ed25519PrivateKey = PRIVATE) -> Signer:
    return Signer.parse(private_pem(key))


def body_of(*items: bytes) -> bytes:
    return HEAD + b",".join(items) + b"]}\n"


def event(text: object) -> bytes:
    return f'{{"auditID":"{text}"}}'.encode()


async def inline(function: Callable[..., Any], /, *args: Any) -> Any:
    """An `Offload` that runs at once."""
    return function(*args)


def submit(spool: Spool, cluster: str, body: bytes) -> "asyncio.Future[Receipt | SpoolRejection]":
    answer: asyncio.Future[Receipt | SpoolRejection] = asyncio.get_running_loop().create_future()
    spool.submit(spool.ring(cluster), body, eventlist.split(body), "", answer.set_result)
    return answer


class Bench:
    """A started spool and a checkpointer of it. Every event is durable, and was looked at, when `put` returns."""

    def __init__(
        self, disk: FakeDisk, clock: FakeClock, *, key: Ed25519PrivateKey | None = PRIVATE, **spool: object
    ) -> None:
        self.disk = disk
        self.clock = clock
        settings: dict[str, object] = {"max_bytes": Size(2**20), "segment_bytes": Size(2**16), **spool}
        self.spool = Spool.open(SpoolConfig(path=SPOOL, **settings), disk=disk, clock=clock)  # type: ignore[arg-type]
        self.spool.start(asyncio.get_running_loop().call_soon_threadsafe)
        self.published: list[bytes] = []
        used = signer(key) if key else None
        self.checkpointer = Checkpointer(
            self.spool,
            CheckpointFile(LEDGER, disk),
            lambda: used,
            every=60.0,
            publish=self.published.extend,
            clock=clock,
            random=lambda: 0.5,
            offload=inline,
        )
        self.task = asyncio.create_task(self.checkpointer.run())

    async def put(self, cluster: str, *texts: object) -> None:
        await self.post(cluster, body_of(*map(event, texts)))

    async def post(self, cluster: str, body: bytes) -> None:
        answer = await asyncio.wait_for(submit(self.spool, cluster, body), 30)
        assert isinstance(answer, Receipt)
        await settle()

    async def stop(self) -> None:
        stopping = asyncio.create_task(self.checkpointer.stop(5.0))
        await self.clock.advance(0)
        await stopping
        await self.task
        await asyncio.to_thread(self.spool.stop)

    async def die(self) -> None:
        """As `kill -9`: what was written stays, nothing is finished."""
        self.disk.kill()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await asyncio.to_thread(self.spool.stop)


@asynccontextmanager
async def bench(disk: FakeDisk | None = None, clock: FakeClock | None = None, **more: object) -> AsyncIterator[Bench]:
    one = Bench(disk or FakeDisk(), clock or FakeClock(), **more)  # type: ignore[arg-type]  # settings by name
    await settle()
    yield one
    await one.stop()


def stated(disk: FakeDisk) -> list[Signed]:
    """What the checkpoint file says."""
    return [decode(line) for line in disk.content(LEDGER).splitlines()] if LEDGER in disk.paths() else []


def record(first: int, lines: Sequence[bytes], *, received_ns: int = SECOND_NS, marks: Mark = NO_MARK) -> Record:
    return Record(first, list(lines), received_ns, "", marks)


def span(lines: Sequence[bytes], *, first: int = 0, cluster: str = "c", ring: bytes = bytes(16), at: int = 1) -> Span:
    """A closed range of these lines."""
    only = record(first, lines, received_ns=at * SECOND_NS)
    growing = OpenSpan(only)
    growing.add(only)
    return growing.close(cluster, ring)


def ledger(spans: Sequence[Span], *, key: Ed25519PrivateKey | None = PRIVATE) -> bytes:
    """A checkpoint file that states these ranges, the first in second 1 of the epoch, the next in second 2, ..."""
    disk = FakeDisk()
    file = CheckpointFile(LEDGER, disk)
    for one in spans:
        file.append([one], signer(key) if key else None, (file.number + 1) * SECOND_NS)
    file.close()
    return disk.content(LEDGER)

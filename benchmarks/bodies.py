"""The input: recorded request bodies of a real kube-apiserver, as files for the load client.

Batches are events of the recordings in their order, repacked to about 414 kB (some 220 events of 1.9 kB): what an
apiserver in batch mode sends. Single events are the recorded bodies of one in blocking mode, as they are, but for the
few whose client chose the auditID: the load client writes into it to make each body unique, because the sink answers
a repeated body without storing it.
"""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from auditsink.audit.eventlist import split
from auditsink.testing.framings import Framing

RECORDINGS = Path(__file__).parent.parent / "tests" / "data"
BATCHED = ("batch-default-mixed-http", "batch50-request-h2tls", "blocking-rr-h1tls")
SINGLE = "blocking-rr-h1tls"
BATCH_BYTES = 414_000

HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
TAIL = b"]}\n"
_UUID = re.compile(rb'"auditID":"[0-9a-f-]{36}"')


class Bodies(NamedTuple):
    """A directory of bodies; `events[i]` and `sizes[i]` are those of the i-th file by name."""

    directory: Path
    events: list[int]
    sizes: list[int]

    @property
    def mean_size(self) -> float:
        """Bytes of a body."""
        return sum(self.sizes) / len(self.sizes)

    def count(self, accepted: list[int]) -> int:
        """Events in so many posts of each body."""
        return sum(times * events for times, events in zip(accepted, self.events, strict=True))


def batches(directory: Path) -> Bodies:
    """Write the batches."""
    return _write(
        directory, _pack(event for name in BATCHED for body in _recorded(name) for event in split(body).events)
    )


def framed(batches: Bodies, directory: Path, framing: Framing) -> Bodies:
    """Write the events of these batches in another frame."""
    return _write(directory, (framing(split(one.read_bytes()).events) for one in sorted(batches.directory.iterdir())))


def singles(directory: Path) -> Bodies:
    """Write the bodies of one event."""
    return _write(directory, filter(_UUID.search, _recorded(SINGLE)))


def _recorded(name: str) -> Iterator[bytes]:
    with tarfile.open(RECORDINGS / f"{name}.tar.gz") as archive:
        for member in archive:
            if member.name.endswith(".body.json") and (stream := archive.extractfile(member)) is not None:
                yield stream.read()


def _pack(events: Iterator[bytes]) -> Iterator[bytes]:
    """Full batches only: a last small one would be no batch of this size."""
    some: list[bytes] = []
    size = 0
    for event in events:
        some.append(event)
        size += len(event) + 1
        if size >= BATCH_BYTES:
            yield HEAD + b",".join(some) + TAIL
            some, size = [], 0


def _write(directory: Path, found: Iterator[bytes]) -> Bodies:
    directory.mkdir(parents=True)
    counts, sizes = [], []
    for number, body in enumerate(found):
        (directory / f"{number:05d}.json").write_bytes(body)
        counts.append(len(split(body).events))
        sizes.append(len(body))
    return Bodies(directory, counts, sizes)

"""What a commit is made of: jobs, one for each request that waits, and the entries that they become. No disk here.

Small requests of one source that follow each other in a ring share an entry (see `record_batch`); all others have one
each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from auditsink.audit.eventlist import Split
from auditsink.spool import record_batch
from auditsink.spool.frame import MAX_SOURCE, Entry
from auditsink.spool.log import RingLog
from auditsink.spool.types import Receipt, Record, SpoolRejection, SubmitCallback

TOGETHER_NS = 10**9
"""Between the arrivals of the first and the last request of a record, at most: its time is that of the first."""

Compress = Callable[[bytes], bytes]


class WaitingRequest(Protocol):
    """What of a request decides which record it is in, and how that looks."""

    body: bytes
    split: Split
    source: str
    received_ns: int


@dataclass(slots=True, eq=False)
class Append:
    """One request that waits for the disk."""

    ring_log: RingLog
    body: bytes
    split: Split
    source: str
    received_ns: int
    done: SubmitCallback


@dataclass(slots=True, eq=False)
class WriteJob:
    """An append within a commit: where it is stored, or the earlier one with the same bytes.

    `payload`: what the body compresses to; None for a small one. `offset`: events before it in its entry.
    """

    append: Append
    digest: bytes
    payload: bytes | None
    duplicate_of: int | None = None
    twin: "WriteJob | None" = None
    refusal: SpoolRejection | None = None
    entry: Entry | None = None
    offset: int = 0

    @property
    def first_sequence(self) -> int:
        """Of its events; negative while it has no place."""
        assert self.entry is not None
        return self.entry.first_sequence + self.offset if self.entry.first_sequence >= 0 else -1

    def result(self) -> Receipt | SpoolRejection:
        """What its sender is told."""
        job = self.twin or self
        if job.refusal is not None:
            return job.refusal
        repeated = job.duplicate_of is not None or job is not self
        first = job.first_sequence if job.duplicate_of is None else job.duplicate_of
        return Receipt(first, len(job.append.split.events), duplicate=repeated)


def is_small(body: bytes) -> bool:
    """Whether the digest is taken over the body itself, so that it may be compressed together with others."""
    return len(body) <= record_batch.SMALL_BODY


def joins(request: WaitingRequest, first: WaitingRequest, count: int, size: int) -> bool:
    """Whether a small request may be in the record of `first` and those after it: so many, with so many bytes."""
    return (
        request.source == first.source
        and 0 <= request.received_ns - first.received_ns <= TOGETHER_NS
        and size + len(request.body) <= record_batch.MOST_BYTES
        and count < record_batch.MOST_REQUESTS
    )


def entry_of(
    requests: Sequence[WaitingRequest], digests: Sequence[bytes], payload: bytes | None, compress: Compress
) -> Entry:
    """The entry of a request, or of some small ones. `payload`: what the body compresses to, where that is known."""
    first = requests[0]
    table = b""
    if len(requests) < record_batch.FEWEST:
        body, count = first.body, len(first.split.events)
    else:
        body = b"".join([one.body for one in requests])
        rows = [(digest, len(one.body), len(one.split.events)) for digest, one in zip(digests, requests, strict=True)]
        table, count = record_batch.encode(rows), sum([events for _digest, _length, events in rows])
    source = first.source.encode(errors="replace")[:MAX_SOURCE]
    payload = payload or compress(body)
    return Entry(count, first.split.marks, source, first.received_ns, len(body), payload, digests[0], table)


def make_entries(jobs: Sequence[WriteJob], compress: Compress) -> None:
    """Give each of these jobs of one ring, in order, its place in an entry."""
    together: list[WriteJob] = []
    size = 0
    for job in jobs:
        append = job.append
        alone = job.payload is not None or bool(append.split.marks)
        if together and (alone or not joins(append, together[0].append, len(together), size)):
            _make_entry(together, compress)
            together, size = [], 0
        together.append(job)
        size += len(append.body)
        if alone:
            _make_entry(together, compress)
            together, size = [], 0
    if together:
        _make_entry(together, compress)


def entries_of(jobs: Sequence[WriteJob]) -> list[Entry]:
    """Their entries, each once, in order."""
    found: list[Entry] = []
    for job in jobs:
        if job.entry is not None and (not found or job.entry is not found[-1]):
            found.append(job.entry)
    return found


def _make_entry(jobs: list[WriteJob], compress: Compress) -> None:
    entry = entry_of([job.append for job in jobs], [job.digest for job in jobs], jobs[0].payload, compress)
    offset = 0
    for job in jobs:
        job.entry, job.offset = entry, offset
        offset += len(job.append.split.events)


def records(jobs: Sequence[WriteJob]) -> list[Record]:
    """What readers get of the jobs of one ring that were stored: a record for each entry."""
    together: dict[int, list[WriteJob]] = {}
    for job in jobs:
        if job.refusal is None:
            together.setdefault(id(job.entry), []).append(job)
    return [_record(several) for several in together.values()]


def _record(jobs: list[WriteJob]) -> Record:
    first = jobs[0].append
    split = first.split
    events = split.events if len(jobs) == 1 else [event for job in jobs for event in job.append.split.events]
    return Record(jobs[0].first_sequence, events, first.received_ns, first.source, split.marks)

"""From requests to records of the topic: digest, compress, group, encrypt. Runs in the loop's thread or in another."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import zstandard

from auditsink.audit.eventlist import Split
from auditsink.kafka_spool.record import Encoded, encode, plain_segment, ring_id
from auditsink.spool import content
from auditsink.spool.commit import entry_of, is_small, joins
from auditsink.spool.keys import Keyring
from auditsink.spool.segment import SegmentHeader
from auditsink.spool.types import SubmitCallback


@dataclass(slots=True, eq=False)
class Posted:
    """A request on its way to the brokers. `payload`: what its body compresses to; b"" for a small one."""

    cluster: str
    body: bytes
    split: Split
    source: str
    received_ns: int
    done: SubmitCallback
    payload: bytes = b""
    digest: bytes = b""

    @property
    def small(self) -> bool:
        """Whether it may share a record; then the digest is taken over the body itself."""
        return is_small(self.body)


class Packer:
    """For one thread at a time."""

    def __init__(
        self, keys: Keyring | None, *, now_ns: Callable[[], int], entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._keys = keys
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._segment_id = entropy(8)
        self._created_ns = now_ns()

    def digest(self, posted: Posted) -> None:
        """Fill in what recognises its retry, and what a large body compresses to."""
        if not posted.small:
            posted.payload = self._compress(posted.body)
        key = None if self._keys is None else self._keys.newest
        posted.digest = content.digest(ring_id(posted.cluster), posted.payload or posted.body, key)

    def pack(self, several: Sequence[Posted]) -> list[tuple[Encoded, list[Posted]]]:
        """The records of these requests of one cluster, in order, each with those that are in it."""
        return [(self._encode(group), group) for group in grouped(several)]

    def _encode(self, group: Sequence[Posted]) -> Encoded:
        first = group[0]
        entry = entry_of(group, [one.digest for one in group], first.payload, self._compress)
        if self._keys is None:
            return encode(first.cluster, entry, plain_segment(first.cluster))
        key = self._keys.newest
        segment = SegmentHeader(
            ring_id(first.cluster),
            self._segment_id,
            0,
            self._created_ns,
            key_name=key.name,
            key_check=key.check,
        )
        return encode(first.cluster, entry, segment, key.cipher(segment).encrypt)


def grouped(several: Iterable[Posted]) -> list[list[Posted]]:
    """Small ones of one source that follow each other share a record, all others are alone."""
    groups: list[list[Posted]] = []
    size = 0
    for one in several:
        alone = not one.small or bool(one.split.marks)
        if groups and not alone and size and joins(one, groups[-1][0], len(groups[-1]), size):
            groups[-1].append(one)
            size += len(one.body)
        else:
            groups.append([one])
            size = 0 if alone else len(one.body)
    return groups

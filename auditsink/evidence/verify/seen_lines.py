"""Lines that were seen, so that one that comes again is known for exactly that. Bounded: the oldest are forgotten.

A digest is eight bytes of SHA-256 over a random prefix and the line: whoever made the file does not know the prefix,
so nobody can have made another line with the digest of one that is there.
"""

import hashlib
import os
from array import array
from bisect import bisect_left
from collections import deque

CHUNK = 2**16
MOST_CHUNKS = 128
"""Eight million lines, 64 MiB: a crash repeats seconds, a lost cursor all that a ring holds."""


class SeenLines:
    """Sorted chunks of digests, newest first; looking one up takes a search in each."""

    def __init__(self, prefix: bytes | None = None) -> None:
        self._keyed = hashlib.sha256(os.urandom(64) if prefix is None else prefix)
        self._recent: set[int] = set()
        self._chunks: deque[array[int]] = deque(maxlen=MOST_CHUNKS)

    def add(self, line: bytes) -> None:
        """Remember a line."""
        self._recent.add(self._digest(line))
        if len(self._recent) >= CHUNK:
            self._chunks.appendleft(array("Q", sorted(self._recent)))
            self._recent = set()

    def __contains__(self, line: bytes) -> bool:
        digest = self._digest(line)
        return digest in self._recent or any(_holds(chunk, digest) for chunk in self._chunks)

    def _digest(self, line: bytes) -> int:
        keyed = self._keyed.copy()
        keyed.update(line)
        return int.from_bytes(keyed.digest()[:8], "little")


def _holds(chunk: "array[int]", digest: int) -> bool:
    at = bisect_left(chunk, digest)
    return at < len(chunk) and chunk[at] == digest

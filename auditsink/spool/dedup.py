"""The digests of what was accepted lately, so that a byte-identical retry is answered and not stored twice.

kube-apiserver retries a batch for about four minutes (5 attempts of up to 30 s and the waits between them), with the
same bytes; two batches that differ in anything differ in a timestamp of microseconds. Two generations of dictionaries
forget in constant time: a digest is known for at least one window and at most two, unless `limit` cuts it short.
"""

from typing import Protocol

WINDOW = 600.0
"""Seconds that a digest is remembered for, at least."""
TOTAL_ENTRIES = 2**16
"""Digests kept over all rings: about 8 MiB. Past it the oldest go early, which costs a repeat and never an event."""
MIN_ENTRIES = 2**10
"""Digests that each ring may keep however many rings there are: four minutes at the apiserver's 4 batches/s."""


class DedupEntry(Protocol):
    """A digest that was found on the disk after a restart, and is not worth an answer before it is proven."""

    def prove(self) -> int | None:
        """The first sequence of the body's record; None when it cannot be read after all."""
        ...


class Dedup:
    """A bounded memory from digest to the first sequence under which that body was stored. One thread at a time."""

    def __init__(self, limit: int = TOTAL_ENTRIES) -> None:
        self.limit = limit
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._claims: dict[bytes, DedupEntry] = {}
        self._claimed_at = 0.0
        self._turned_at: float | None = None

    def find(self, digest: bytes, now: float) -> int | None:
        """The first sequence of the same bytes, if they are remembered. `now` in monotonic seconds."""
        self._turn(now)
        if (claim := self._claims.pop(digest, None)) is not None and (proven := claim.prove()) is not None:
            self._young[digest] = proven
        found = self._young.get(digest)
        return self._old.get(digest) if found is None else found

    def unproven(self, digest: bytes) -> bool:
        """Whether `find` would have to read the disk for it."""
        return digest in self._claims

    def add(self, digest: bytes, first_sequence: int, now: float) -> None:
        """Remember a body that is durable."""
        self._turn(now)
        self._young[digest] = first_sequence

    def restore(self, digest: bytes, claim: DedupEntry, now: float) -> None:
        """Remember what an earlier process stored, for one window from now."""
        self._claims[digest] = claim
        self._claimed_at = now

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._claims)

    def _turn(self, now: float) -> None:
        if self._turned_at is None:
            self._turned_at = now
        if now - self._turned_at >= 2 * WINDOW:
            self._young = {}
        if self._claims and now - self._claimed_at >= WINDOW:
            self._claims = {}
        if now - self._turned_at >= WINDOW or len(self._young) >= self.limit // 2:
            self._old, self._young = self._young, {}
            self._turned_at = now

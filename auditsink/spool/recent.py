"""The digests of what was accepted lately, so that a byte-identical retry is answered and not stored twice.

kube-apiserver retries a batch for about four minutes (5 attempts of up to 30 s and the waits between them), with the
same bytes; two batches that differ in anything differ in a timestamp of microseconds. Two generations of dictionaries
forget in constant time: a digest is known for at least one window and at most two, unless `limit` cuts it short.
"""

WINDOW = 600.0
"""Seconds that a digest is remembered for, at least."""
TOTAL_ENTRIES = 2**16
"""Digests kept over all rings: about 8 MiB. Past it the oldest go early, which costs a repeat and never an event."""
MIN_ENTRIES = 2**10
"""Digests that each ring may keep however many rings there are: four minutes at the apiserver's 4 batches/s."""


class Recent:
    """A bounded memory from digest to the first sequence under which that body was stored."""

    def __init__(self, limit: int = TOTAL_ENTRIES) -> None:
        self.limit = limit
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._turned_at: float | None = None

    def find(self, digest: bytes, now: float) -> int | None:
        """The first sequence of the same bytes, if they are remembered. `now` in monotonic seconds."""
        self._turn(now)
        found = self._young.get(digest)
        return self._old.get(digest) if found is None else found

    def add(self, digest: bytes, first_sequence: int, now: float) -> None:
        """Remember a body that is durable."""
        self._turn(now)
        self._young[digest] = first_sequence

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _turn(self, now: float) -> None:
        if self._turned_at is None:
            self._turned_at = now
        if now - self._turned_at >= 2 * WINDOW:
            self._young = {}
        if now - self._turned_at >= WINDOW or len(self._young) >= self.limit // 2:
            self._old, self._young = self._young, {}
            self._turned_at = now

"""One object of the copy: what stands at some places of our files, read and put into the store."""

import hashlib
from collections.abc import Sequence

from auditsink.backup.lease import DATA
from auditsink.backup.local import LocalFiles, VanishedError
from auditsink.backup.manifest import CopiedPiece
from auditsink.backup.plan import Stretch
from auditsink.backup.store import CopyStore
from auditsink.common.blocking import BlockingCalls

DISK_SECONDS = 60.0
"""For a look at our own files, or to read a chunk: a volume that hangs is told by the spool."""


class ObjectWriter:
    """Belongs to the loop's thread. `bytes`, `count`: what was put so far; `number`: the last that was given."""

    def __init__(self, store: CopyStore, local: LocalFiles, calls: BlockingCalls) -> None:
        self._store = store
        self._local = local
        self._calls = calls
        self._number = 0
        self.bytes = self.count = 0

    def next(self) -> int:
        """A number that no object of this process had."""
        self._number += 1
        return self._number

    async def write(self, group: Sequence[Stretch], name: str) -> list[CopiedPiece | None]:
        """The stretches as one object; None for those that are gone. Raises StoreError, StuckError."""
        content, parts = await self._calls.run(DISK_SECONDS, self._read, group)
        if not content:
            return [None for _ in group]
        await self._store.put(f"{DATA}/{name}", content)
        self.bytes += len(content)
        self.count += 1
        pieces: list[CopiedPiece | None] = []
        at = 0
        for stretch, digest in zip(group, parts, strict=True):
            if digest is None:
                pieces.append(None)
            else:
                pieces.append(CopiedPiece(name, at, stretch.start, stretch.length, digest))
                at += stretch.length
        return pieces

    def _read(self, group: Sequence[Stretch]) -> tuple[bytes, list[str | None]]:
        contents: list[bytes] = []
        digests: list[str | None] = []
        for stretch in group:
            try:
                contents.append(self._local.read(stretch))
            except VanishedError:
                digests.append(None)
            else:
                digests.append(hashlib.sha256(contents[-1]).hexdigest())
        return contents[0] if len(contents) == 1 else b"".join(contents), digests

"""The file that becomes a ring's next segment, made while the present one is being written.

After etcd's `wal/file_pipeline.go`: to reserve blocks, write zeros over them and sync both takes a disk's journal
several times. Done at the rotation, every request of that moment waits for it.
"""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from auditsink.common.disk import Disk, closed_on_error, create_anew, write_all
from auditsink.spool import segment
from auditsink.spool.ring import Ring

Run = Callable[[Callable[[], None]], "Future[None]"]
"""Has something done in another thread."""
_ZEROS = bytes(2**16)


class PreparedFile:
    """A file with blocks for `size` bytes, the first `zeroed` of them written, all of that durable."""

    def __init__(self, disk: Disk, path: Path, size: int, zeroed: int) -> None:
        """Makes it. Raises OSError, and then leaves none behind."""
        self.size = size
        self.zeroed = min(size, zeroed)
        self._disk = disk
        self._path = path
        self.file = create_anew(disk, path)
        try:
            with closed_on_error(self.file):
                self.file.allocate(size)
                write_all(self.file, zeros_of(self.zeroed), 0)
                self.file.sync()
        except OSError:
            with contextlib.suppress(OSError):
                disk.unlink(path)
            raise

    def begin(self, header: bytes, path: Path) -> None:
        """Make it the segment of that name: its header is durable before it is called so. Raises OSError."""
        write_all(self.file, [header], 0)
        self.file.sync()
        self._disk.rename(self._path, path)
        self._path = path
        self._disk.sync_directory(path.parent)

    def drop(self) -> None:
        """Let go of it, and remove it."""
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(OSError):
            self._disk.unlink(self._path)


class Successor:
    """Makes the file of one ring. `ring.prepared_bytes` is not 0 from `begin` to `take` or `drop`."""

    def __init__(self, ring: Ring, disk: Disk, *, zeros: int) -> None:
        """`zeros`: bytes of them that are written at most."""
        self._ring = ring
        self._disk = disk
        self._zeros = zeros
        self._prepared: PreparedFile | None = None
        self._making: Future[None] | None = None

    def begin(self, size: int, run: Run) -> None:
        """Have a file of that size made; the room for it was found."""
        self._ring.prepared_bytes = size
        self._making = run(partial(self._make, size))

    def _make(self, size: int) -> None:
        # What fails here is met again by the rotation, which then does it all by itself, and tells.
        with contextlib.suppress(OSError):
            self._prepared = PreparedFile(self._disk, self._ring.path / segment.SUCCESSOR, size, self._zeros)

    @property
    def ready(self) -> bool:
        """Whether `take` has one to give, and need not wait for it."""
        return self._prepared is not None and self._making is not None and self._making.done()

    def take(self, needed: int) -> PreparedFile | None:
        """The file that was made, if it is large enough; its room stays counted as `prepared_bytes`."""
        if self._making is not None:
            self._making.result()
            self._making = None
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared.size < needed:
            prepared.drop()
            prepared = None
        if prepared is None:
            self._ring.prepared_bytes = 0
        return prepared

    def drop(self) -> None:
        """Let go of what was made."""
        if (prepared := self.take(0)) is not None:
            prepared.drop()
            self._ring.prepared_bytes = 0


def zeros_of(count: int) -> list[bytes]:
    """So many zeros, in pieces."""
    return [_ZEROS] * (count // len(_ZEROS)) + [_ZEROS[: count % len(_ZEROS)]]

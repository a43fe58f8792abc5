"""The place in a growing log up to which the sink has taken it, kept in a file over restarts.

The file is JSON and is replaced as a whole, so that a crash leaves the old place or the new one. It belongs to one
process at a time: a lock beside it keeps a second one away.
"""

import hashlib
from pathlib import Path
from typing import Self

import msgspec

from auditsink.common.disk import RealDisk, replace
from auditsink.common.operator_error import OperatorError

HEAD_BYTES = 4096
"""As many bytes at its beginning tell a log from every other: an event has a time and an identifier of its own."""


class StateFileError(OperatorError):
    """The state file cannot be used. The message names it and says what to do."""


class LogPlace(msgspec.Struct, frozen=True, kw_only=True):
    """`offset` bytes and `line` lines of the log are taken that begins with these bytes, or had this inode.

    `began` is the time of its first event (as it writes it), or of the log before while it holds none.
    """

    version: int = 1
    offset: int
    line: int
    inode: int
    head_bytes: int
    head_sha256: str
    began: str

    def begins(self, head: bytes) -> bool:
        """Whether the log that begins with `head` is the one; one of which nothing was read can be any."""
        return bool(self.head_bytes) and digest(head[: self.head_bytes]) == self.head_sha256


def digest(head: bytes) -> str:
    """What stands for the beginning of a log."""
    return hashlib.sha256(head).hexdigest()


class StateFile:
    """Reads and writes the place. Use it as a context manager: that is how long it is locked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        """Raises StateFileError."""
        try:
            self._lock = RealDisk().lock(self._path.with_name(f"{self._path.name}.lock"))
        except BlockingIOError:
            raise StateFileError(f"{self._path}: another auditsink send uses it; give each its own --state") from None
        except OSError as problem:
            raise self._unwritable(problem) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def load(self) -> LogPlace | None:
        """The place, None when nothing was taken yet. Raises StateFileError."""
        try:
            place = msgspec.json.decode(self._path.read_bytes(), type=LogPlace)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise StateFileError(f"{self._path}: cannot be read ({problem.strerror}); check its permissions") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            place = None
        if place is None or place.version != 1:
            raise StateFileError(
                f"{self._path}: is no state file of this version; remove it to begin with the log as it is, "
                "which sends again what the sink had"
            )
        return place

    def save(self, place: LogPlace) -> None:
        """From now on this one counts, also after a power cut. Raises StateFileError."""
        try:
            replace(RealDisk(), self._path, [msgspec.json.encode(place), b"\n"])
        except OSError as problem:
            raise self._unwritable(problem) from None

    def _unwritable(self, problem: OSError) -> StateFileError:
        return StateFileError(f"{self._path}: cannot be written ({problem.strerror}); its directory must be writable")

"""Secrets: values that never show themselves, and files that are read again when they change.

A secret is wrapped where it is read and unwrapped where it is sent; everything between (logs, errors, `repr` of a
configuration) can only print the stars.
"""

import hmac
import re
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakSet

from auditsink.common.blocking import StuckError
from auditsink.common.operator_error import OperatorError
from auditsink.common.watch import Look, Stamp, content, stamp

T = TypeVar("T")


class Secret:
    """A string that prints as stars. `reveal()` is the only way to its value."""

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        with _lock:
            _alive.add(self)
            _changes.append(None)

    def __del__(self) -> None:
        _changes.append(None)

    def reveal(self) -> str:
        """The value, for the wire and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return id(self)  # a WeakSet holds each of them


_alive: WeakSet[Secret] = WeakSet()
_changes: list[None] = []  # one for each that came or went: appending takes no lock, which a collector may not wait for
_lock = Lock()  # any thread may log while another reads a rotated token


def changed() -> bool:
    """Whether secrets came or went since this was asked last; for `auditsink.common.redact` alone."""
    if _changes:
        _changes.clear()
        return True
    return False


def alive() -> set[str]:
    """The values of all secrets in use, for `auditsink.common.redact` to star them and for nothing else."""
    with _lock:
        return {secret.reveal() for secret in _alive}


class UnreadableFileError(OperatorError, OSError):
    """A watched file cannot be read or parsed. The message names the file and what to do, never its content."""


class WatchedFile(Generic[T]):
    """What a file says, parsed again when its identity, size or modification time has changed.

    A file that vanishes or no longer parses keeps its last good value: a rotation half done must not stop the audit
    trail. `error` then says what is wrong. Only the first read raises.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self.path = path
        self._parse = parse
        self.error: str | None = None
        self._look: Look[tuple[Stamp, T] | str] = Look()
        self._stamp, self._value = self._read()

    def _read(self) -> tuple[Stamp, T]:
        try:
            seen = stamp(self.path)
            value = self._parse(content(self.path))
        except OSError as problem:
            raise UnreadableFileError(
                f"{self.path}: {problem.strerror or 'cannot be read'}; check the path and its permissions"
            ) from None
        except ValueError as problem:
            raise UnreadableFileError(f"{self.path}: {problem}") from None
        return seen, value

    def _read_again(self) -> tuple[Stamp, T] | str:
        """The same, if it is another file now; else "" for one that is as it was."""
        return "" if stamp(self.path) == self._stamp else self._read()

    def changed(self) -> bool:
        """Look at the file; read it when it is another one now. True when the value was replaced.

        Never waits long: while its disk hangs the last good value stays.
        """
        try:
            found = self._look(self._read_again)
        except StuckError:
            self.error = f"{self.path}: its disk does not answer; check it"
            return False
        except OSError as problem:
            self.error = str(problem)
            return False
        if found is None:
            return False
        self.error = None
        if isinstance(found, str):
            return False
        self._stamp, self._value = found
        return True

    def get(self) -> T:
        """The last good value. Does not touch the disk: call `changed()` from a timer."""
        return self._value


HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
"""A secret that can stand in a header, as tokens do."""


def header_safe(secret: Secret) -> Secret:
    """The secret, if it can stand in a header. Raises ValueError."""
    if not HEADER_SAFE.fullmatch(secret.reveal()):
        raise ValueError("holds spaces, line breaks or characters outside ASCII, which no token has; write it anew")
    return secret


def parse_secret(content: bytes) -> Secret:
    """The secret in a file: its content without the line break that editors and `echo` leave at the end."""
    try:
        value = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; write the secret into it, and nothing else") from None
    if not value:
        raise ValueError("is empty; write the secret into it")
    return Secret(value)

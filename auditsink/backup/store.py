"""The object store as the copy needs it: five calls with deadlines, and errors as sentences.

A directory is written through obstore too, but on a thread of our own, and every object is synced before it counts.
"""

import asyncio
import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore

from auditsink.backup import BackupError
from auditsink.common.blocking import BlockingCalls, StuckError
from auditsink.common.resolver import LookUpError
from auditsink.config.backup import BackupSection
from auditsink.config.objects import LocalConfig
from auditsink.delivery.destination import DestinationError, UnavailableError
from auditsink.delivery.outcome import Delivered
from auditsink.destinations.object_errors import classify, denied, full
from auditsink.destinations.object_stores import StoreClient, host, looked_up, make_durable

T = TypeVar("T")

_OS_ERROR = re.compile(r"\(os error (\d{1,4})\)")

MOST_DELETED = 500
"""Objects of one request to delete: S3 takes 1,000."""
_NOT_IMPLEMENTED = "HTTP 501"
"""The answer to a condition that a store does not know, if it does not leave it out without a word."""
_NO_RANGE = "HTTP 416"
LIST_SHARE = 10
"""A list may take so many times the deadline of one request: it is many requests."""


class StoreError(BackupError):
    """The store does not do what was asked now; it may later."""


class MissingError(StoreError):
    """There is no such object."""


class TakenError(StoreError):
    """There is an object of that name already."""


class DeniedError(StoreError):
    """The store knows us, and does not allow this."""


class FullError(StoreError):
    """There is no room."""


class NoConditionsError(BackupError):
    """The store does not keep to conditional writes."""

    def __init__(self) -> None:
        super().__init__(
            "the store does not keep to conditional writes (If-None-Match), so two sinks could share a copy; use one "
            "that does: Amazon S3, GCS, Azure, and of others what is new enough"
        )


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object: its name below the root, its bytes, when it was written (by the store's clock)."""

    name: str
    size: int
    modified: datetime


class CopyStore:
    """All names are below the copy's root. Methods belong to an event loop's thread."""

    def __init__(self, config: BackupSection) -> None:
        """Raises BackupError for settings that cannot work. Nothing is asked of the store."""
        self._config = config
        self._root = config.root
        objects = config.objects()
        self._host = host(objects)
        self._directory = objects.path if isinstance(objects, LocalConfig) else None
        self._objects = objects
        self._client: StoreClient | None = None
        try:
            self._client = StoreClient(objects)
        except UnavailableError:
            pass  # it is asked for again
        except DestinationError as problem:
            raise BackupError(str(problem)) from None
        self._calls = BlockingCalls("backup-store", 2)
        self._written = False
        self.requests = 0

    def __repr__(self) -> str:
        return f"<CopyStore {self._root}>"

    async def put(self, name: str, content: bytes, *, create: bool = False) -> None:
        """Store an object. With `create` only where there is none: raises TakenError, NoConditionsError.

        Raises StoreError.
        """
        path = f"{self._root}/{name}"
        # To say `overwrite` is to leave the condition out.
        options: dict[str, Any] = {"mode": "create" if create else "overwrite", "use_multipart": False}
        if self._directory is not None:
            await self._bounded(self._calls.run(self._config.timeout, self._write, path, content, options))
            return
        try:
            await self._ask(lambda store: obstore.put_async(store, path, content, **options))
        except StoreError as problem:
            if create and str(problem).startswith(_NOT_IMPLEMENTED):
                raise NoConditionsError from None
            raise

    async def get(self, name: str, most: int) -> bytes:
        """A whole object of at most so many bytes. Raises MissingError, StoreError."""
        path = f"{self._root}/{name}"
        found = await self._ask(lambda store: obstore.head_async(store, path))
        if found["size"] > most:
            raise StoreError(f"{path} is larger than any of ours ({found['size']:,} bytes); look at who writes there")
        return await self.read(name, 0, found["size"]) if found["size"] else b""

    async def read(self, name: str, at: int, length: int) -> bytes:
        """A part of an object. Raises MissingError, StoreError; fewer bytes where the object ends before."""
        path = f"{self._root}/{name}"
        try:
            return bytes(await self._ask(lambda store: obstore.get_range_async(store, path, start=at, length=length)))
        except MissingError:
            raise
        except StoreError as problem:
            # Some refuse a range that begins or ends behind the object's end.
            if self._directory is None and not str(problem).startswith(_NO_RANGE):
                raise
            found = await self._ask(lambda store: obstore.head_async(store, path))
            if found["size"] >= at + length:
                raise
            return b""

    async def names(self, directory: str, after: str | None = None) -> list[StoredObject]:
        """The objects in a directory of the copy, in order; those behind the name `after`. Raises StoreError."""
        prefix = f"{self._root}/{directory}"
        offset = None if after is None else f"{prefix}/{after}"
        found: list[StoredObject] = []

        async def collect(store: Any) -> None:
            async for some in obstore.list(store, prefix, offset=offset):
                for one in some:
                    name = one["path"].removeprefix(f"{prefix}/")
                    if "/" not in name:
                        found.append(StoredObject(name, one["size"], one["last_modified"]))

        await self._ask(collect, LIST_SHARE)
        return sorted(found, key=lambda one: one.name)

    async def delete(self, names: Sequence[str]) -> None:
        """Delete objects; it is no error if one is not there. Raises StoreError."""
        for start in range(0, len(names), MOST_DELETED):
            paths = [f"{self._root}/{name}" for name in names[start : start + MOST_DELETED]]
            if self._directory is not None:
                await self._bounded(self._calls.run(self._config.timeout, _remove, self._directory, paths))
            else:
                await self._ask(partial(_delete, paths=paths), LIST_SHARE)

    def close(self) -> None:
        """Nothing is kept open that would not go by itself."""
        self._calls.close()

    async def _ask(self, call: Any, share: int = 1) -> Any:
        async def asked() -> Any:
            async with asyncio.timeout(self._config.timeout * share):
                await looked_up(self._host)
                store = await self._calls.run(None, self._store)
                return await call(store)

        return await self._bounded(asked())

    async def _bounded(self, call: Any) -> Any:
        self.requests += 1
        try:
            return await call
        except LookUpError as problem:
            raise StoreError(f"the store cannot be reached: {problem.strerror}") from None
        except (TimeoutError, StuckError):
            raise StoreError(f"the store did not answer within {self._config.timeout}") from None
        except (AlreadyExistsError, PreconditionError):
            raise TakenError("an object of this name is there already") from None
        except FileNotFoundError as problem:
            raise self._missing(str(problem)) from None
        except DestinationError as problem:
            raise StoreError(str(problem)) from None
        except (BaseError, OSError) as problem:
            raise _kind(problem)(self._why(problem)) from None

    def _missing(self, text: str) -> StoreError:
        """A store says 404 of an object and of a bucket; only the latter has a code of its own."""
        if "NoSuchBucket" in text or "ContainerNotFound" in text:
            return StoreError(self._why(FileNotFoundError(text)))
        return MissingError("there is no such object")

    def _why(self, problem: Exception) -> str:
        if self._directory is not None:
            number = problem.errno if isinstance(problem, OSError) else _os_error(problem)
            why = os.strerror(number) if number else "cannot be used"
            return f"{self._directory}: {why}; check the disk, the path and its permissions"
        outcome = classify(str(problem))
        return "the store gave no reason" if isinstance(outcome, Delivered) else _rights(outcome.why)

    def _store(self) -> ObjectStore:
        """The client for the next request. Blocks. Raises DestinationError."""
        self._client = self._client or StoreClient(self._objects)
        return self._client.store()

    def _write(self, path: str, content: bytes, options: dict[str, Any]) -> None:
        assert self._directory is not None
        root = self._directory / self._root
        if not self._written:  # before anything is in it that others on this machine should not read
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not root.is_dir():  # an unmounted disk: made anew, it would hold manifests without their objects
            raise StoreError(
                f"{root}: the copy is there no longer; mount its disk again, or restart the sink to begin a new copy"
            )
        obstore.put(self._store(), path, content, **options)
        self._written = True
        make_durable(self._directory, path)


def _kind(problem: Exception) -> type[StoreError]:
    number = problem.errno if isinstance(problem, OSError) else _os_error(problem)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or (not number and denied(str(problem))):
        return DeniedError
    return FullError if number in (errno.ENOSPC, errno.EDQUOT) or (not number and full(str(problem))) else StoreError


def _os_error(problem: Exception) -> int | None:
    """Of a directory, which obstore tells as text: `...: No space left on device (os error 28)`."""
    found = _OS_ERROR.search(str(problem))
    return int(found[1]) if found else None


def _rights(why: str) -> str:
    return why.replace(
        "they need to write objects, and nothing else",
        "they need to list, read, write and delete objects below the prefix",
    )


async def _delete(store: Any, paths: list[str]) -> None:
    await obstore.delete_async(store, paths)


def _remove(directory: Path, paths: list[str]) -> None:
    for path in paths:
        (directory / path).unlink(missing_ok=True)

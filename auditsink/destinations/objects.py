"""Object storage (S3, Google Cloud Storage, Azure, a directory): each batch is an object of NDJSON, compressed.

An object is named by when its first event was accepted and by that event's sequence, both of which the ring keeps. A
batch that was uploaded by a sink that died before its cursor moved begins at the same event when it comes again, so it
overwrites that object: what was in there is in the new one or in the one that follows. An upload is one request, and an
object is there as a whole or not at all. Order and this rule hold with one request in flight, which is the default.

What a command sends once more (`replay`, dead letters) begins and ends anywhere, so it gets names of its own, with both
ends: it must never take the place of a larger object.

A name is `prefix` and our own names after it, or for S3 a `key_format` as fluent-bit writes it: strftime in UTC of
when the first event was accepted, `$TAG`, `$TAG[n]` (its parts), and `$UUID`: eight characters out of cluster, place
and time of the first event, so that a repeat has the same. Without `$UUID` they stand at the end, as fluent-bit has it.
"""

import asyncio
import hashlib
import re
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import obstore
import zstandard
from isal import isal_zlib
from obstore.exceptions import BaseError

from auditsink.audit import eventlist
from auditsink.common.blocking import BlockingCalls, StuckError
from auditsink.common.clock import Clock
from auditsink.common.resolver import LookUpError
from auditsink.config import LocalConfig, ObjectConfig, S3Config
from auditsink.delivery.destination import Attempt, Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause
from auditsink.destinations import defaults
from auditsink.destinations.encoding import documents, lines
from auditsink.destinations.object_errors import classify, occupied
from auditsink.destinations.object_stores import StoreClient, host, looked_up, make_durable

_SUFFIX = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_PLACEHOLDER = re.compile(r"\$(UUID|TAG)(?:\[([0-9])\])?")
_UUID = 8  # characters, as fluent-bit's


def path_of(config: ObjectConfig, batch: Batch) -> str:
    """The key of the object that the batch becomes."""
    seconds, nanoseconds = divmod(batch.received_ns, 10**9)
    accepted = datetime.fromtimestamp(seconds, UTC)
    # What a command sends once more begins and ends anywhere: it must never take the place of a larger object.
    again = f"-{batch.sequences[-1]:020}-again" if batch.origin is None else ""
    if isinstance(config, S3Config) and config.key_format is not None:
        told = f"{batch.cluster}\n{batch.sequences[0]}\n{batch.received_ns}\n{again}"
        unique = b32encode(hashlib.blake2b(told.encode(), digest_size=5).digest()).decode()
        return _formatted(config, config.key_format, accepted, unique)
    prefix = config.prefix.format(cluster=batch.cluster, date=f"{accepted:%Y-%m-%d}", hour=f"{accepted:%H}")
    name = f"{accepted:%Y%m%dT%H%M%S}.{nanoseconds:09}Z-{batch.sequences[0]:020}{again}"
    return f"{prefix}/{name}.ndjson{_SUFFIX[config.compression]}"


def _formatted(config: S3Config, key_format: str, accepted: datetime, unique: str) -> str:
    parts = re.split("[" + re.escape(config.tag_delimiters) + "]", config.tag)

    def value(match: re.Match[str]) -> str:
        name, number = match.groups()
        if name == "UUID":
            return unique[:_UUID]
        if number is None:
            return config.tag
        return parts[int(number)] if int(number) < len(parts) else ""

    named = _PLACEHOLDER.sub(value, accepted.strftime(key_format)).strip("/")
    return named if "$UUID" in key_format else f"{named}-object{unique[:_UUID]}"


_GZIP_FORMAT = 31  # zlib's `wbits` for a gzip header and trailer
_ZSTD_LEVEL = 3
_TYPES = {"zstd": "application/zstd", "gzip": "application/gzip", "none": "application/x-ndjson"}
_PROBE = "auditsink-probe"


class ObjectDestination:
    """See `Destination`."""

    def __init__(self, config: ObjectConfig, clock: Clock) -> None:
        """Raises DestinationError. Nothing is asked of the store yet."""
        self.name = config.name
        self.type = str(config.__struct_config__.tag)
        self.limits = defaults.limits(config)
        self._config = config
        self._clock = clock
        self._host = host(config)
        self._client = StoreClient(config)
        self._calls = BlockingCalls(f"objects-{config.name}")
        self._directory = config.path if isinstance(config, LocalConfig) else None

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        content = await asyncio.to_thread(compressed, documents(batch), self._config.compression)
        return partial(self._deliver, batch, content)

    async def probe(self) -> Outcome:
        """Write a small object at the root of the bucket, for whoever may write need not be allowed anything else."""
        return await self._put(_PROBE, b"auditsink check was here\n", {})

    async def close(self) -> None:
        """Nothing is kept open that would not go by itself."""
        self._calls.close()

    async def _deliver(self, batch: Batch, content: bytes) -> Outcome:
        told = _attributes(batch)
        outcome = await self._put(path_of(self._config, batch), content, told)
        if isinstance(outcome, _Occupied) and batch.origin is not None:
            # The store keeps what a sink that died has written, and will not have it replaced: a repeat beside it.
            outcome = await self._put(path_of(self._config, replace(batch, origin=None)), content, told)
        return outcome

    async def _put(self, path: str, content: bytes, told: dict[str, str]) -> Outcome:
        try:
            if self._directory is not None:
                # Not by `put_async`: a disk that hangs would take a thread of those that all stores share, each time.
                await self._calls.run(self._config.timeout, self._write, self._directory, path, content)
                return Delivered()
            async with asyncio.timeout(self._config.timeout):
                await looked_up(self._host)
                store = await self._calls.run(None, self._client.store)
                attributes = {"Content-Type": _TYPES[self._config.compression], **told}
                if isinstance(self._config, S3Config) and self._config.storage_class:
                    attributes["Storage-Class"] = self._config.storage_class
                await obstore.put_async(store, path, content, attributes=attributes, use_multipart=False)
        except LookUpError as problem:
            return Retry(f"the store cannot be reached: {problem.strerror}", cause=RetryCause.ELSEWHERE)
        except (TimeoutError, StuckError):
            return Retry(f"the store did not answer within {self._config.timeout:g} s", cause=RetryCause.TIMED_OUT)
        except (BaseError, OSError) as problem:
            if self._directory is not None:
                return _disk(self._directory, problem)
            found = classify(str(problem))
            return _Occupied(found.why) if isinstance(found, Misconfigured) and occupied(str(problem)) else found
        return Delivered()

    def _write(self, directory: Path, path: str, content: bytes) -> None:
        obstore.put(self._client.store(), path, content, use_multipart=False)
        make_durable(directory, path)


class _Occupied(Misconfigured):
    """An object of that name is there, and the store does not let it be replaced."""


def compressed(several: Iterable[bytes], how: Literal["zstd", "gzip", "none"]) -> bytes:
    """NDJSON, compressed as it is put together: no copy of all lines is made. The same lines give the same bytes."""
    if how == "none":
        return lines(list(several))
    pieces: list[bytes] = []
    packer = (
        zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
        if how == "zstd"
        else isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP_FORMAT)
    )
    for one in several:
        pieces += (packer.compress(eventlist.one_line(one)), packer.compress(b"\n"))
    return b"".join([*pieces, packer.flush()])


def _attributes(batch: Batch) -> dict[str, str]:
    return {
        "cluster": batch.cluster,
        "events": str(len(batch.sequences)),
        "first": str(batch.sequences[0]),
        "last": str(batch.sequences[-1]),
    }


def _disk(directory: Path, problem: Exception) -> Outcome:
    why = problem.strerror if isinstance(problem, OSError) and problem.strerror else "cannot be written to"
    return Retry(f"{directory}: {why}; check the disk, the path and its permissions", cause=RetryCause.ELSEWHERE)

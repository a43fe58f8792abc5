"""How an object is called. Pure: the same name for a batch that begins at the same event, wherever it ends.

Either `prefix` and our own names after it, or, for S3, a `key_format` as fluent-bit writes it: strftime in UTC of when
the first event was accepted, `$TAG`, `$TAG[n]` (its parts), and `$UUID`: eight characters out of cluster, place and
time of the first event, so that a repeat has the same. Without `$UUID` they stand at the end, as fluent-bit has it.
"""

import hashlib
import re
from base64 import b32encode
from datetime import UTC, datetime

from auditsink.config import ObjectConfig, S3Config
from auditsink.delivery.destination import Batch

_SUFFIX = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_PLACEHOLDER = re.compile(r"\$(UUID|TAG)(?:\[([0-9])\])?")
_UUID = 8  # characters, as fluent-bit's


def path_of(config: ObjectConfig, batch: Batch) -> str:
    """The object's key."""
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

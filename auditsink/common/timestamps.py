"""Points in time as people and files write them: RFC 3339, or so long ago. Pure."""

import re
from datetime import UTC, datetime

from auditsink.common.units import Duration

EXPECTED = "write a time like 2026-11-22T21:00:00Z (RFC 3339), or 2h for two hours ago"
_ZONED = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s*([Zz]|[+-]\d\d:?\d\d)?)?\Z", re.ASCII)


def at(ns: int) -> datetime:
    """Nanoseconds since the epoch as a time in UTC, cut to microseconds."""
    return datetime.fromtimestamp(ns // 1000 / 1e6, UTC)


def seconds(ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, without a fraction."""
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def nanoseconds(time: datetime) -> int:
    """A time with a zone as nanoseconds since the epoch."""
    return round(time.timestamp() * 1e6) * 1000


def text(time: datetime) -> str:
    """RFC 3339, to the second: for people."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def has_zone(written: str) -> bool:
    """Whether a time that can be parsed says its zone, or needs none: so long ago."""
    match = _ZONED.match(written.strip())
    return match is None or match[4] is not None


def parse(written: str, now_ns: int) -> int:
    """What a person wrote as nanoseconds since the epoch; without a zone it is UTC. Raises ValueError."""
    written = written.strip()
    if _ZONED.match(written):
        try:
            time = datetime.fromisoformat(written.upper().replace(",", "."))
        except ValueError as problem:
            raise ValueError(f"{written!r} is no time ({problem}); {EXPECTED}") from None
        return nanoseconds(time if time.tzinfo else time.replace(tzinfo=UTC))
    try:
        return now_ns - round(Duration.parse(written) * 1e9)
    except ValueError:
        raise ValueError(f"{written!r} is no time; {EXPECTED}") from None

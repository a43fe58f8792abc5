"""Sizes and durations as people write them: `64MiB`, `30s`. Types of their own, so that msgspec hands them to us."""

import math
import re

# At most 18 digits: more is a slip, and could not be represented.
SIZE_PATTERN = r"^\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([KMGT]i?)?B?\s*$"
_SIZE = re.compile(SIZE_PATTERN)
_SIZE_FACTORS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
DURATION_PATTERN = r"^\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(ms|s|m|h|d)\s*$"
_DURATION = re.compile(DURATION_PATTERN)
_DURATION_FACTORS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Size(int):
    """A number of bytes, shown with its unit."""

    @classmethod
    def parse(cls, value: object) -> "Size":
        """`16777216`, `16MiB` or `16 MB`. Raises ValueError with an example."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        if isinstance(value, str) and (match := _SIZE.match(value)):
            whole, _, part = match[1].partition(".")
            return cls(int(whole + part) * _SIZE_FACTORS[match[2] or ""] // 10 ** len(part))
        raise ValueError(f"{value!r} is no size; write bytes or a unit, like 64MiB")

    def __str__(self) -> str:
        for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if self >= factor:
                return f"{int(self) / factor:.4g} {unit}"
        return f"{int(self)} B"


class Duration(float):
    """A number of seconds, shown with its unit."""

    @classmethod
    def parse(cls, value: object) -> "Duration":
        """`30`, `30s`, `1.5m`, `250ms`. Raises ValueError with an example."""
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
            return cls(value)
        if isinstance(value, str) and (match := _DURATION.match(value)):
            return cls(float(match[1]) * _DURATION_FACTORS[match[2]])
        raise ValueError(f"{value!r} is no duration; write seconds or a unit, like 30s or 5m")

    def __str__(self) -> str:
        return f"{float(self):g}s"

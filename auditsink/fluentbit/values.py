"""fluent-bit's values: what a text means as a yes or no, a size, a time. Pure; a ValueError says what would be right.

No message shows a value: it may be a secret that stands in the wrong place.
"""

import re
from collections.abc import Callable

from auditsink.common.units import Duration, Size

_YES = frozenset({"on", "true", "yes"})
_NO = frozenset({"off", "false", "no"})
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmg]?)b?\Z", re.IGNORECASE)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_TIME = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([smhd]?)\Z", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def text(value: str) -> str:
    """The text as it stands in the file."""
    return value


def yes(value: str) -> bool:
    """`on`, `true`, `yes` and their opposites, in any case."""
    if value.lower() in _YES | _NO:
        return value.lower() in _YES
    raise ValueError("is neither on nor off")


def number(value: str) -> int:
    """A whole number that is not negative."""
    if value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    raise ValueError("is no whole number")


def port(value: str) -> int:
    """A TCP port. Raises ValueError for any other number or text."""
    if 0 < (found := number(value)) < 65536:
        return found
    raise ValueError("is no port; write 1 to 65535")


def listening_port(value: str) -> int:
    """A TCP port to listen on; 0: the system chooses one."""
    return 0 if value == "0" else port(value)


def size(value: str) -> Size:
    """Bytes. fluent-bit's `M` is 10^6 (4.0.5, `flb_utils_size_to_bytes`)."""
    if match := _SIZE.match(value):
        return Size(float(match[1]) * _FACTORS[match[2].lower()])
    raise ValueError("is no size; write bytes or a unit, like 900M")


def seconds(value: str) -> Duration:
    """A time; seconds without a unit."""
    if match := _TIME.match(value):
        return Duration(float(match[1]) * _SECONDS[match[2].lower()])
    raise ValueError("is no time; write seconds or a unit, like 10m")


def one_of(**known: str) -> Callable[[str], str]:
    """A function from fluent-bit's words (`-` written as `_`) to ours."""

    def read(value: str) -> str:
        found = known.get(value.lower().replace("-", "_"))
        if found is None:
            raise ValueError(f"must be one of {', '.join(known)} to be taken over")
        return found

    return read


def exactly(known: str) -> Callable[[str], str]:
    """A function that lets this text pass as it stands, and no other."""

    def read(value: str) -> str:
        if value != known:
            raise ValueError(f"cannot be kept unless it is {known}")
        return value

    return read


def only(*known: str) -> Callable[[str], str]:
    """A function that lets these words pass, in lower case, and no others."""

    def read(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"cannot be kept unless it is {' or '.join(known)}")
        return value.lower()

    return read


def pairs(value: str) -> dict[str, str]:
    """`key=value, key=value` (Loki's labels)."""
    found: dict[str, str] = {}
    for one in value.split(","):
        name, assigned, label = one.strip().partition("=")
        if not assigned or not name.strip() or label.strip().startswith("$"):
            raise ValueError("must be NAME=VALUE, separated by commas; values taken from the record cannot be kept")
        found[name.strip()] = label.strip()
    return found


def pair(value: str) -> tuple[str, str]:
    """`KEY VALUE`; the value may be in double quotes."""
    name, rest = header(value)
    if len(rest) > 1 and rest[0] == rest[-1] == '"':
        rest = rest[1:-1]
    if not rest:
        raise ValueError(_PAIR)
    return name, rest


_PAIR = "must be a key and a value with a space between them"


def header(value: str) -> tuple[str, str]:
    """`NAME VALUE`; double quotes are part of the value (5.1.1, seen)."""
    name, _, rest = value.strip().partition(" ")
    if not name or not rest.strip():
        raise ValueError(_PAIR)
    return name, rest.strip()

"""The cookies of one origin, kept so that a load balancer sends us to the same indexer again. Pure."""

from collections.abc import Iterable

_MOST = 32
"""A balancer sets one or two; who sets more and more must not grow our memory and our requests."""
_LONGEST = 4096  # characters: what browsers keep (RFC 6265, 6.1)


class Cookies:
    """Names and values. Paths and domains are not looked at: one origin, one service. An expired one is replaced."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def take(self, several: Iterable[str]) -> None:
        """What an answer's Set-Cookie headers say (RFC 6265, 5.2), each the value of one."""
        for one in several:
            pair, _, attributes = one.partition(";")
            name, equals, value = (part.strip() for part in pair.partition("="))
            if not name or not equals or len(pair) > _LONGEST:
                continue
            self._values.pop(name, None)  # the newest stands last
            if not _ended(attributes):
                self._values[name] = value
        while len(self._values) > _MOST:
            del self._values[next(iter(self._values))]

    def header(self) -> dict[str, str]:
        """What goes with a request; nothing when there are none."""
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self._values.items())} if self._values else {}


def _ended(attributes: str) -> bool:
    """`Max-Age=0` or less: the other side takes the cookie back."""
    for attribute in attributes.split(";"):
        name, _, value = attribute.partition("=")
        if name.strip().lower() == "max-age":
            return value.strip().startswith("-") or value.strip().strip("0") == ""
    return False

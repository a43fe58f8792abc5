"""Addresses to listen on as the configuration writes them, and the sockets that listen there.

What is wrong is a sentence that says which key, and why.
"""

import errno
import os
import re
import socket
from typing import NamedTuple

from auditsink.common.operator_error import OperatorError

_FORM = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})\Z")

_LOCALHOST = {"localhost": "127.0.0.1"}

BACKLOG = 512
"""Connections that wait to be accepted: a restarted sink meets all its clients at once."""

_REMEDIES = {
    errno.EADDRINUSE: "stop what listens there, or choose another port",
    errno.EACCES: "ports below 1024 need the capability NET_BIND_SERVICE; choose a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one that it has",
}


class Address(NamedTuple):
    """Where to listen. An empty host stands for all addresses; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def meets(self, other: "Address") -> bool:
        """Whether not both can be listened on: one port, and one host, or a host that stands for the other, too."""
        mine, others = (_LOCALHOST.get(one.host, one.host) for one in (self, other))
        if not self.port or self.port != other.port:
            return False
        everywhere = "::" if ":" in mine else "0.0.0.0"  # noqa: S104 - is compared with
        return (
            mine == others
            or "" in (mine, others)
            or ((":" in mine) == (":" in others) and everywhere in (mine, others))
        )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")


def parse_address(text: str) -> Address:
    """Raises ValueError with an example, without the text itself."""
    match = _FORM.match(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("is no address; write host:port, like 0.0.0.0:9880 or [::1]:9880")
    return Address(match["six"] or match["host"] or "", int(match["port"]))


class ListenError(OperatorError):
    """The address cannot be listened on: the key, the address, the reason and what to do."""


def listen(key: str, text: str) -> socket.socket:
    """A socket that listens on `text` (`host:port`), the value of `key`. Raises ListenError."""
    host, port = parse_address(text)
    try:
        # An empty host is every address, of both families where the system can do that in one socket.
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as problem:
        number = problem.errno or 0
        why = os.strerror(number) if number in errno.errorcode else problem.strerror
        remedy = _REMEDIES.get(number, "check the address")
        raise ListenError(f"{key} {text}: {why}; {remedy}") from None


def bound(listening: socket.socket) -> Address:
    """Where a socket really listens."""
    host, port = listening.getsockname()[:2]
    return Address(host, port)

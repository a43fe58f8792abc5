"""A listening socket for an address of the configuration, or a sentence that says which key is wrong and why."""

import errno
import os
import socket

from auditsink.common import address
from auditsink.common.address import Address

BACKLOG = 512
"""Connections that wait to be accepted: a restarted sink meets all its clients at once."""

_REMEDIES = {
    errno.EADDRINUSE: "stop what listens there, or choose another port",
    errno.EACCES: "ports below 1024 need the capability NET_BIND_SERVICE; choose a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one that it has",
}


class ListenError(Exception):
    """The address cannot be listened on: the key, the address, the reason and what to do."""


def listen(key: str, text: str) -> socket.socket:
    """A socket that listens on `text` (`host:port`), the value of `key`. Raises ListenError."""
    host, port = address.parse(text)
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

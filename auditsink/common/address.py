"""Listen addresses as the configuration writes them: `host:port`, `[::1]:port`."""

import re
from typing import NamedTuple

_FORM = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})\Z")


class Address(NamedTuple):
    """Where to listen. An empty host stands for all addresses; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")


def parse(text: str) -> Address:
    """Raises ValueError with an example, without the text itself."""
    match = _FORM.match(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("is no address; write host:port, like 0.0.0.0:9880 or [::1]:9880")
    return Address(match["six"] or match["host"] or "", int(match["port"]))

"""A network of its own for each broker, which can be cut off: namespaces and a bridge on this machine. Needs root."""

import contextlib
import functools
import os
import shutil
import subprocess
from types import TracebackType
from typing import Self

from kafka_server import Host

_SHORT = 1000
"""Names of links have at most 15 characters, so the process's id goes into them by its last digits."""


class NetworkError(Exception):
    """A command about networks failed; the message is what it said."""


@functools.cache
def network_refusal() -> str | None:
    """Why no such network can be made here; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip is not installed (iproute2)"
    try:
        with Network(1):
            return None
    except NetworkError as problem:
        return f"network namespaces are not allowed here: {problem}"


class Network:
    """`with Network(3) as network`: nodes 1 to 3 run at `network.hosts[node]`, and reach each other."""

    def __init__(self, nodes: int) -> None:
        number = os.getpid() % _SHORT
        self._bridge = f"auditsink-{number}"
        self._names = {node: f"asink{number}-{node}" for node in range(1, nodes + 1)}
        self._subnet = f"10.{200 + number % 50}.{number % 250}"
        self._made = contextlib.ExitStack()
        self.hosts = {
            node: Host(f"{self._subnet}.{node}", ("ip", "netns", "exec", name)) for node, name in self._names.items()
        }

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as made:
            self._add(made, f"link add {self._bridge} type bridge", f"link del {self._bridge}")
            _ip(f"address add {self._subnet}.254/24 dev {self._bridge}")
            _ip(f"link set {self._bridge} up")
            for node, name in self._names.items():
                self._add(made, f"netns add {name}", f"netns del {name}")
                self._add(made, f"link add {name} type veth peer name eth0 netns {name}", f"link del {name}")
                _ip(f"link set {name} master {self._bridge} up")
                _ip(f"-n {name} address add {self._subnet}.{node}/24 dev eth0")
                _ip(f"-n {name} link set eth0 up")
                _ip(f"-n {name} link set lo up")
            self._made = made.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._made.close()

    def cut(self, node: int) -> None:
        """Nothing reaches that node any more, and nothing comes from it; nobody is told."""
        _ip(f"link set {self._names[node]} down")

    def join(self, node: int) -> None:
        """It is there again."""
        _ip(f"link set {self._names[node]} up")

    @staticmethod
    def _add(made: contextlib.ExitStack, command: str, undo: str) -> None:
        _ip(command)
        made.callback(_undo, undo)


def _ip(command: str) -> None:
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"ip {command}: {done.stderr.strip()}")


def _undo(command: str) -> None:
    """Also when it went by itself: a link ends with its namespace."""
    with contextlib.suppress(NetworkError):
        _ip(command)

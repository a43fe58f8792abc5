"""Receivers of the forward protocol that somebody else wrote: fluentd, and fluent-bit's `forward` input.

No registry that every machine reaches has either, so `AUDITSINK_FLUENTD` names a command (`fluentd`, or `ruby -I lib
bin/fluentd` in its source) and `AUDITSINK_FLUENT_BIT` a program built with `FLB_IN_FORWARD`; without them the tests
are skipped. What was taken lies in files of one record a line.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ground import free_port, listens, running

RUNNING = b"fluentd worker is now running"


@dataclass(frozen=True, slots=True)
class Security:
    """What the receiver asks for: `ca_file` of client certificates, a key, a user with a password."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    shared_key: str | None = None
    user: tuple[str, str] | None = None


class Receiver:
    """One place on disk and one port, whatever number of lives."""

    kind = ""
    users = True
    """Whether it lets users in. fluent-bit 4.0.5 does not: it keeps a name with one byte more than a client sends."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.place = place
        self.port = free_port()
        self.command = self._named()

    @asynccontextmanager
    async def life(self, security: Security = Security()) -> AsyncIterator[int]:
        """From when it listens until it is killed with SIGKILL; its pid."""
        config, said = self._configured(security), self._said()
        async with running([*self.command, *config], self.place / "log", lambda: self._ready(said)) as process:
            yield process.pid

    def _said(self) -> int:
        """How often its log says that it runs."""
        log = self.place / "log"
        return log.read_bytes().count(RUNNING) if log.exists() else 0

    def _ready(self, _said: int) -> bool:
        return listens(self.port)

    def taken(self) -> list[dict[str, Any]]:
        """The records that arrived; repeats are there twice, and a line that a SIGKILL tore is none."""
        return [record for file in sorted(self.place.glob("taken*")) for record in _records(file)]

    @property
    def version(self) -> str:
        """As it says itself."""
        raise NotImplementedError

    def _named(self) -> list[str]:
        raise NotImplementedError

    def _configured(self, security: Security) -> Sequence[str]:
        raise NotImplementedError


class Fluentd(Receiver):
    """fluentd."""

    kind = "fluentd"

    def _named(self) -> list[str]:
        named = os.environ.get("AUDITSINK_FLUENTD", "")
        if not named:
            pytest.skip("set AUDITSINK_FLUENTD to the command of a fluentd: no registry of this project's has one")
        return shlex.split(named)

    @property
    def version(self) -> str:
        """As it says itself."""
        return subprocess.run([*self.command, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def _ready(self, said: int) -> bool:
        """By its log: its TLS input of old versions dies of a connection that ends before the handshake."""
        return self._said() > said

    def _configured(self, security: Security) -> Sequence[str]:
        transport = asked = ""
        if security.cert_file is not None:
            client = f"client_cert_auth true\n ca_path {security.ca_file}\n" if security.ca_file else ""
            transport = (
                f"<transport tls>\n cert_path {security.cert_file}\n private_key_path {security.key_file}\n"
                f"{client}</transport>"
            )
        if security.shared_key is not None:
            name, password = security.user or ("", "")
            users = f"user_auth true\n<user>\n username {name}\n password {password}\n</user>\n" if name else ""
            asked = f"<security>\n self_hostname receiver\n shared_key {security.shared_key}\n{users}</security>"
        config = self.place / "fluent.conf"
        config.write_text(f"""
<source>
  @type forward
  bind 127.0.0.1
  port {self.port}
  {transport}
  {asked}
</source>
<match audit>
  @type file
  path {self.place}/taken
  append true
  <format>
    @type json
  </format>
  <buffer>
    @type file
    path {self.place}/buffer
    flush_mode interval
    flush_interval 0.2
    flush_thread_interval 0.1
    flush_at_shutdown true
  </buffer>
</match>
""")
        return ["-c", str(config), "--no-supervisor"]


class FluentBitForward(Receiver):
    """fluent-bit's forward input."""

    kind = "fluent-bit"
    users = False

    def _named(self) -> list[str]:
        named = os.environ.get("AUDITSINK_FLUENT_BIT", "")
        if not named:
            pytest.skip("set AUDITSINK_FLUENT_BIT to a fluent-bit with its forward input: no registry has one")
        helped = subprocess.run([named, "-i", "forward", "-h"], capture_output=True, text=True, check=False)
        if "shared_key" not in helped.stdout + helped.stderr:
            pytest.skip(f"{named} was built without its forward input (FLB_IN_FORWARD)")
        return [named]

    @property
    def version(self) -> str:
        """As it says itself."""
        said = subprocess.run([*self.command, "--version"], capture_output=True, text=True, check=True).stdout
        return f"fluent-bit {said.split()[2].removeprefix('v')}"

    def _configured(self, security: Security) -> Sequence[str]:
        source: dict[str, Any] = {"name": "forward", "listen": "127.0.0.1", "port": self.port}
        source |= {"buffer_max_size": "20M", "storage.type": "filesystem"}
        if security.cert_file is not None:
            source |= {"tls": "on", "tls.crt_file": str(security.cert_file), "tls.key_file": str(security.key_file)}
            if security.ca_file is not None:
                source |= {"tls.ca_file": str(security.ca_file), "tls.verify": "on"}
        if security.shared_key is not None:
            source |= {"shared_key": security.shared_key, "self_hostname": "receiver"}
            if security.user is not None:
                source["security.users"] = " ".join(security.user)
        sink = {"name": "file", "match": "*", "path": str(self.place), "file": "taken.ndjson", "format": "plain"}
        document = {
            "service": {"flush": 0.1, "grace": 1, "storage.path": str(self.place / "chunks")},
            "pipeline": {"inputs": [source], "outputs": [sink]},
        }
        config = self.place / "fluent-bit.yaml"
        config.write_text(yaml.safe_dump(document))
        return ["-c", str(config)]


RECEIVERS: dict[str, type[Receiver]] = {"fluentd": Fluentd, "fluent-bit": FluentBitForward}


def _records(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        return
    for line in file.read_bytes().split(b"\n"):
        # A SIGKILL tears a line, and the next life writes behind it.
        for start in re.finditer(rb'\{"kind":|^', line):
            with contextlib.suppress(ValueError):
                yield json.loads(line[start.start() :])
                break

"""The configuration file: YAML in, `config.Config` out, or all the mistakes in it, one line each.

    bytes --document--> plain values --fields (+ environment, + rules)--> Config

No message ever shows a value of the file: the key's path says where to look, and any value may be a secret that
stands in the wrong place.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from auditsink.common.operator_error import OperatorError
from auditsink.config import Admin, Cluster, Config, FileConfig, Receive, Spool
from auditsink.load import document, fields
from auditsink.load.environment import overlaid, variable_of

__all__ = ["ConfigError", "embedded_default", "load", "parse", "parse_cluster"]


_LAST_STEP = re.compile(r"(^|\.)[^.\[\]]+\Z|\[[0-9]+\]\Z")
SHOWN = 50
"""Mistakes told in one go; who has more has given the wrong file."""


class ConfigError(OperatorError):
    """The file cannot be used. `mistakes` has one line each, with the file's name; `str` joins them."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes[:SHOWN]
        if len(mistakes) > SHOWN:
            self.mistakes.append(f"and {len(mistakes) - SHOWN:,} more mistakes")
        super().__init__("\n".join(self.mistakes))


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the file. Raises ConfigError, for a file that cannot be read too."""
    try:
        with path.open("rb") as stream:
            data = stream.read(document.MAX_BYTES + 1)
    except OSError as problem:
        why = problem.strerror or "cannot be read"
        raise ConfigError([f"{path}: {why}; check the path and its permissions"]) from None
    return parse(data, str(path), environment)


def parse(data: bytes, name: str, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration that the file's bytes describe. `name` is how messages call the file."""
    return _parse(Config, data, name, environment)


def parse_cluster(data: bytes, name: str, environment: Mapping[str, str] = os.environ) -> Cluster:
    """A cluster from a file of `clusters.directory`. Raises ConfigError."""
    return _parse(Cluster, data, name, environment)


def _parse(kind: type[fields.T], data: bytes, name: str, environment: Mapping[str, str]) -> fields.T:
    try:
        plain = document.parse(data)
        if kind is Config:
            plain = overlaid(plain, environment)
    except document.DocumentError as broken:
        raise ConfigError([f"{name}:{mistake}" for mistake in broken.mistakes]) from None
    section, mistakes, _ = fields.read(kind, plain, environment)
    if section is None:
        where = document.lines(data)
        places = [_place(where, mistake, name, environment) for mistake in mistakes]
        raise ConfigError([f"{place}: {mistake}" for place, mistake in zip(places, mistakes, strict=True)])
    return section


def _place(lines: Mapping[str, int], mistake: str, name: str, environment: Mapping[str, str]) -> str:
    """Where it stands: a variable of the environment, or the file and, where it is known, the line."""
    elsewhere = mistake.partition(": ")[0] not in lines
    return variable_of(mistake, environment, makes=elsewhere) or f"{name}{_line(lines, mistake)}"


def _line(lines: Mapping[str, int], mistake: str) -> str:
    """`:12` for the line of what the mistake is about, or of what it should stand in; "" where that is not the file."""
    path = mistake.partition(": ")[0]
    while path and path not in lines:
        path = _LAST_STEP.sub("", path)
    return f":{lines[path]}" if path in lines and path else ""


def embedded_default() -> Config:
    """What `serve` runs without a file: loopback only, everything below ./data."""
    return Config(
        receive=Receive(listen="127.0.0.1:9880"),
        spool=Spool(path=Path("data/spool")),
        destinations=[FileConfig(name="file", path=Path("data/audit.ndjson"))],
        admin=Admin(listen="127.0.0.1:2020"),
    )

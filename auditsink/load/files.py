"""The files that a configuration names (certificates, tokens, keys), looked at before anything starts."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from auditsink.common.secret import header_safe, parse_secret
from auditsink.config import Config

PUBLIC = ("cert_file", "ca_file", "policy_file")
"""How keys end whose files are no secret."""


def missing(config: Config) -> list[str]:
    """A line for each key ending in `_file` whose file cannot be read, is empty or no token: key, file, what to do."""
    return [f"{key}: {path}: {problem}" for key, path in named(config) if (problem := _problem(key, path))]


def named(section: msgspec.Struct) -> Iterator[tuple[str, Path]]:
    """Every file that a configuration, or a section of it, wants to be there: the key's path, and the file's."""
    return _named("", section)


def exposed(config: Config) -> list[str]:
    """A line for each key of a file with a secret in it that everybody on the machine may read or write."""
    return [
        f"{key}: {path} may be read or changed by everybody on this machine (mode {mode:04o}); chmod o= that file, "
        "or set defaultMode: 0440 on the Secret that it is mounted from"
        for key, path in _named("", config)
        if not key.endswith(PUBLIC) and (mode := _mode(path)) & stat.S_IRWXO
    ]


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:  # see `missing`
        return 0


def _named(where: str, value: object) -> Iterator[tuple[str, Path]]:
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from _named(f"{where}.{field.name}".lstrip("."), getattr(value, field.name))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _named(f"{where}[{place}]", one)
    elif isinstance(value, Path) and where.endswith("_file"):
        yield where, value


_MOST_TOKEN = 65_536
_TOKENS = re.compile(r"(destinations\[\d+\]\.(.*\.)?|admin\.)(token|bearer)_file\Z")
"""Keys whose file holds one token and nothing else."""


def _problem(key: str, path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_TOKEN)
    except OSError as problem:
        return f"{problem.strerror or 'cannot be read'}; check the path and its permissions"
    if not content:
        return "is empty; write its content into it"
    try:
        if _TOKENS.match(key):
            header_safe(parse_secret(content))
    except ValueError as problem:
        return str(problem)
    return ""

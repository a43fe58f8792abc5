"""The files that a configuration names (certificates, tokens), looked at before anything starts."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from auditsink.config import Config


def missing(config: Config) -> list[str]:
    """A line for each key ending in `_file` whose file cannot be read or is empty: key, file, what to do."""
    return [f"{key}: {path}: {problem}" for key, path in named(config) if (problem := _problem(path))]


def named(section: msgspec.Struct) -> Iterator[tuple[str, Path]]:
    """Every file that a configuration, or a section of it, wants to be there: the key's path, and the file's."""
    return _named("", section)


def _named(where: str, value: object) -> Iterator[tuple[str, Path]]:
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from _named(f"{where}.{field.name}".lstrip("."), getattr(value, field.name))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _named(f"{where}[{place}]", one)
    elif isinstance(value, Path) and where.endswith("_file"):
        yield where, value


def _problem(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return "" if stream.read(1) else "is empty; write its content into it"
    except OSError as problem:
        return f"{problem.strerror or 'cannot be read'}; check the path and its permissions"

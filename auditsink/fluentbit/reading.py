"""A configuration file and all that it includes, from the disk to a `FluentDocument`."""

from collections.abc import Iterator
from pathlib import Path

from auditsink.fluentbit import classic, pipeline
from auditsink.fluentbit.classic import FluentInclude, FluentVariable
from auditsink.fluentbit.document import FluentBitError, FluentDocument, FluentSection

MOST_FILES = 1000
MOST_BYTES = 2**20
"""Of one file: rendered configurations have a few kilobytes."""


def read(path: Path) -> FluentDocument:
    """The file; YAML if its name says so. Raises FluentBitError, for a file that cannot be read too."""
    sections: list[FluentSection] = []
    variables: dict[str, str] = {}
    for part in _parts(path, []):
        if isinstance(part, FluentVariable):
            variables[part.name] = part.value
        else:
            sections.append(part)
    return FluentDocument(tuple(sections), variables)


def _parts(path: Path, seen: list[Path]) -> Iterator[FluentSection | FluentVariable]:
    if (real := path.resolve()) in seen:
        raise FluentBitError(f"{path}: is included twice; each file may stand once")
    seen.append(real)
    if len(seen) > MOST_FILES:
        raise FluentBitError(f"{path}: is one file more than {MOST_FILES}; this is no configuration")
    for part in _parsed(path):
        if isinstance(part, FluentInclude):
            for one in _included(path, part):
                yield from _parts(one, seen)
        else:
            yield part


def _parsed(path: Path) -> Iterator[classic.FluentPart]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as problem:
        why = problem.strerror or "cannot be read"
        raise FluentBitError(f"{path}: {why}; check the path and its permissions") from None
    if len(data) > MOST_BYTES:
        raise FluentBitError(f"{path}: is larger than {MOST_BYTES // 2**20} MiB; this is no configuration file")
    if path.suffix in (".yaml", ".yml"):
        return pipeline.parse(data, str(path))
    try:
        return classic.parse(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise FluentBitError(f"{path}: is not UTF-8; save the file as UTF-8") from None


def _included(path: Path, include: FluentInclude) -> list[Path]:
    """Relative to the file that includes; a pattern in the order of names, and none is no mistake."""
    pattern = Path(include.pattern)
    directory = path.parent if not pattern.is_absolute() else Path("/")
    relative = pattern.relative_to("/") if pattern.is_absolute() else pattern
    if "*" not in include.pattern:
        return [directory / relative]
    try:
        return sorted(directory.glob(str(relative)))
    except (ValueError, NotImplementedError):
        raise FluentBitError(f"{include.place}: is no pattern of files that can be read") from None

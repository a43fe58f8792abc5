"""fluent-bit's classic language: one file's text to its sections. Pure.

    [OUTPUT]
        name   splunk        # no comment: fluent-bit takes the rest of the line as the value
    @SET name=value
    @INCLUDE *.backend.conf

Headers and keys are written in any case; key and value part at the first blank; a line that begins with # is none;
a key may stand several times.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from auditsink.fluentbit.document import FluentBitError, FluentEntry, FluentSection


@dataclass(frozen=True, slots=True)
class FluentInclude:
    """Another file, or a pattern of several, to be read here."""

    pattern: str
    place: str


@dataclass(frozen=True, slots=True)
class FluentVariable:
    """`@SET name=value`."""

    name: str
    value: str


FluentPart = FluentSection | FluentInclude | FluentVariable


def parse(text: str, file: str) -> Iterator[FluentPart]:
    """What the file says, in order. Raises FluentBitError; no message shows a value."""
    kind, header, entries = "", "", list[FluentEntry]()
    for number, raw in enumerate(text.splitlines(), 1):
        place = f"{file}:{number}"
        line = raw.strip(" \t\r\x00")
        if not line or line.startswith("#"):
            continue
        if raw.startswith(("[", "@")):
            if line.startswith("@") and header:
                # What is included stands between sections, so the one before is complete.
                yield FluentSection(kind, tuple(entries), header, file)
                header, entries = "", []
            if line.startswith("@"):
                yield _directive(line, place)
                continue
            if header:
                yield FluentSection(kind, tuple(entries), header, file)
            kind, header, entries = _header(line, place), place, []
        elif not header:
            raise FluentBitError(f"{place}: stands in no section; write [OUTPUT] or the like before it")
        else:
            entries.append(_entry(line, place))
    if header:
        yield FluentSection(kind, tuple(entries), header, file)


def _header(line: str, place: str) -> str:
    name, closed, _ = line[1:].partition("]")
    if not closed or not name.strip():
        raise FluentBitError(f"{place}: is no section; write its name between brackets, like [OUTPUT]")
    return name.strip().lower()


def _directive(line: str, place: str) -> FluentPart:
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word.upper() == "@INCLUDE" and rest:
        return FluentInclude(rest, place)
    name, assigned, value = rest.partition("=")
    if word.upper() == "@SET" and assigned and name.strip():
        return FluentVariable(name.strip(), value.strip())
    raise FluentBitError(f"{place}: is no directive that is known; those are @INCLUDE FILE and @SET NAME=VALUE")


def _entry(line: str, place: str) -> FluentEntry:
    # fluent-bit itself parts at a space and no tab; people align with tabs, and no key holds one.
    parts = line.split(maxsplit=1)
    key = parts[0].lower()
    if key.startswith("["):
        raise FluentBitError(f"{place}: groups within a section are not taken over; nothing that fits here has one")
    if len(parts) == 1:
        raise FluentBitError(f"{place}: {key} has no value; write one, or remove the line")
    return FluentEntry(key, parts[1], place)

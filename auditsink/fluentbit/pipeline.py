"""fluent-bit's YAML language: one file's bytes to the same sections as the classic one has. Pure.

    service: {http_server: "on"}
    pipeline: {inputs: [{name: http}], filters: [...], outputs: [{name: splunk, match: audit}]}
    includes: ["*.backend.yaml"]
    env: {NAME: value}

Keys may be written in camel case there. A list is the same key several times (`add:` of the filter `modify`).
"""

import re
from collections.abc import Iterator

from auditsink.fluentbit.classic import FluentInclude, FluentPart, FluentVariable
from auditsink.fluentbit.document import FluentBitError, FluentEntry, FluentSection
from auditsink.load import document as yaml

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_LISTS = {"inputs": "input", "filters": "filter", "outputs": "output"}


def parse(data: bytes, file: str) -> Iterator[FluentPart]:
    """What the file says, in order. Raises FluentBitError."""
    try:
        plain = yaml.parse(data)
    except yaml.DocumentError as problem:
        raise FluentBitError(f"{file}:{problem.mistakes[0]}") from None
    for name, value in _mapping({} if plain is None else plain, file).items():
        yield from _top(name, value, file)


def _top(name: str, value: object, file: str) -> Iterator[FluentPart]:
    place = f"{file}: {name}"
    match name:
        case "env":
            for variable, text in _mapping(value, place).items():
                yield FluentVariable(variable, _text(text, f"{place}.{variable}"))
        case "service":
            yield _section("service", value, place, file)
        case "pipeline":
            for list_name, several in _mapping(value, place).items():
                if list_name not in _LISTS:
                    raise FluentBitError(f"{place}.{list_name}: is not known; inputs, filters and outputs are")
                for number, one in enumerate(_list(several, f"{place}.{list_name}")):
                    yield _section(_LISTS[list_name], one, f"{place}.{list_name}[{number}]", file)
        case "includes":
            for pattern in _list(value, place):
                yield FluentInclude(_text(pattern, place), place)
        case _:
            yield FluentSection(name.lower(), (), place, file)


def _section(kind: str, value: object, place: str, file: str) -> FluentSection:
    entries: list[FluentEntry] = []
    for written, one in _mapping(value, place).items():
        key = _HUMP.sub(r"_\1", written).lower()
        if key == "processors":
            raise FluentBitError(f"{place}.processors: processors change events and are not taken over; remove them")
        several = one if isinstance(one, list) else [one]
        entries += (FluentEntry(key, _text(text, f"{place}.{key}"), f"{place}.{key}") for text in several)
    return FluentSection(kind, tuple(entries), place, file)


def _text(value: object, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise FluentBitError(f"{place}: is no text or number")


def _mapping(value: object, place: str) -> dict[str, object]:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return dict(value)
    raise FluentBitError(f"{place}: is no mapping of keys to values")


def _list(value: object, place: str) -> list[object]:
    if isinstance(value, list):
        return value
    raise FluentBitError(f"{place}: is no list")

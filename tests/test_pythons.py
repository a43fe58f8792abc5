"""Which Pythons are promised, said the same everywhere, and nothing in the code that one of them gets wrong."""

import ast
import importlib
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]  # there is no public way to look into a pattern
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import auditsink

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FIRST, BEYOND = (tuple(map(int, part.split("."))) for part in re.findall(r"[\d.]+", PROJECT["requires-python"]))
PATTERNS = {"compile", "match", "fullmatch", "search", "sub", "split", "findall", "finditer"}


def test_the_tests_run_on_a_python_that_is_promised() -> None:
    assert FIRST <= sys.version_info[:3] < BEYOND


def test_all_places_say_the_same() -> None:
    minors = range(FIRST[1], BEYOND[1])
    classified = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one]
    assert classified == [f"3.{minor}" for minor in minors]
    assert f"assert {FIRST} <= sys.version_info < {BEYOND}" in (ROOT / "Makefile").read_text()
    first, last = ".".join(map(str, FIRST)), f"3.{minors[-1]}"
    for page in ("Makefile", "docs/installing.md", "docs/kubernetes.md"):
        assert f"Python {first} to {last}" in (ROOT / page).read_text(), page


def sources() -> Iterator[Path]:
    for folder in ("auditsink", "benchmarks", "tests"):
        yield from (ROOT / folder).rglob("*.py")


def held() -> Iterator[str | bytes]:
    """The patterns that the modules of the package hold."""
    for module in pkgutil.walk_packages(auditsink.__path__, "auditsink."):
        if module.name.rpartition(".")[2] == "__main__":
            continue
        try:
            found = vars(importlib.import_module(module.name))
        except ImportError:  # an extra that is not installed
            continue
        yield from (value.pattern for value in found.values() if isinstance(value, re.Pattern))


def written() -> Iterator[str | bytes]:
    """The patterns that stand in a call of `re` as they are."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Call(ast.Attribute(ast.Name("re"), name), [ast.Constant(str() | bytes() as pattern), *_]):
                    if name in PATTERNS:
                        yield pattern


def never_gives_back(parsed: Any) -> bool:
    """Whether a possessive repeat or an atomic group stands in it."""
    if isinstance(parsed, parser.SubPattern | tuple | list):
        return any(map(never_gives_back, parsed))
    return parsed is codes.POSSESSIVE_REPEAT or parsed is codes.ATOMIC_GROUP  # by itself: 27 is one, and a character


def test_no_pattern_has_what_an_early_python_matches_wrongly() -> None:
    """CPython 3.11.2 lets `(?:"[^"]*+")*+` match too much."""
    several = {*held(), *written()}
    assert len(several) > 100
    assert [pattern for pattern in several if never_gives_back(parser.parse(pattern))] == []


@pytest.mark.parametrize("pattern", ["a*+", "(?:a|b{2}+)", "[a]?+", "(b(?>a))", "(?=a++)"])
def test_such_a_pattern_is_found(pattern: str) -> None:
    assert never_gives_back(parser.parse(pattern))

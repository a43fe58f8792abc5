"""What is locked for the image is what pyproject.toml asks for, each package by hash and from no named index."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;]+)([^\n]*(?:\n +--hash=sha256:[0-9a-f]{64}(?: \\)?)+)", re.MULTILINE)


def locked(name: str) -> dict[str, Version]:
    text = (ROOT / name).read_text()
    found = {match[1].lower(): Version(match[2]) for match in PINNED.finditer(text)}
    assert len(found) == len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)), "a line without hashes"
    return found


def wanted(extra: str = "") -> list[Requirement]:
    optional = PROJECT["project"]["optional-dependencies"]
    lines = optional[extra] if extra else PROJECT["project"]["dependencies"]
    requirements = [Requirement(line) for line in lines]
    own = [one for one in requirements if one.name == PROJECT["project"]["name"]]
    rest = [one for one in requirements if one not in own]
    return rest + [found for one in own for name in sorted(one.extras) for found in wanted(name)]


@pytest.mark.parametrize("requirement", [*wanted(), *wanted("all")], ids=str)
def test_the_lock_holds_what_the_project_asks_for(requirement: Requirement) -> None:
    assert requirement.specifier.contains(locked("requirements.lock")[requirement.name.lower()]), "make lock"


def test_the_builder_is_locked_too() -> None:
    (builder,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert builder.specifier.contains(locked("requirements-build.lock")[builder.name])
    assert (ROOT / "requirements-build.in").read_text().strip() == str(builder)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_no_index_is_named(name: str) -> None:
    assert not re.search(r"https?://|index", (ROOT / name).read_text())

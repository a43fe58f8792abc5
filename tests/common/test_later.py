"""A module that is postponed runs when somebody needs it, and not before."""

import subprocess
import sys
from pathlib import Path

import pytest

POSTPONED = "import sys; from auditsink.common.later import postpone; postpone('package', 'package.part', 'absent');"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that prints when it runs, with a part that does and one that does not know it."""
    place = tmp_path / "package"
    place.mkdir()
    (place / "__init__.py").write_text("print('package runs'); from package.part import name; own = 'own'")
    (place / "part.py").write_text("print('part runs'); name = 'name'; import package")
    (place / "other.py").write_text("print('other runs'); found = 'found'")
    return tmp_path


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import package, package.part", []),
        ("from package.other import found; print(found)", ["other runs", "found"]),
        ("import package.part as part; print(part.name)", ["part runs", "name"]),
        ("import package; print(package.own, package.name)", ["package runs", "part runs", "own name"]),
        ("from package import own, other; print(own)", ["package runs", "part runs", "other runs", "own"]),
        ("import package; print(package.own); print(package.own)", ["package runs", "part runs", "own", "own"]),
        ("import package; print(hasattr(package, 'missing'))", ["package runs", "part runs", "False"]),
        ("print('absent' in sys.modules)", ["False"]),
    ],
)
def test_a_postponed_module_runs_once_when_it_is_looked_into(package: Path, code: str, said: list[str]) -> None:
    assert run(package, POSTPONED + code) == said


def test_a_module_that_is_there_already_stays(package: Path) -> None:
    assert run(package, "import package;" + POSTPONED + "print(package.own)") == ["package runs", "part runs", "own"]


def test_one_that_fails_fails_for_whoever_looks_into_it_and_is_tried_again(package: Path) -> None:
    (package / "package" / "__init__.py").write_text("print('tries'); 1 / 0")
    code = f"""
{POSTPONED}
import package
for _ in range(2):
    try:
        package.own
    except ZeroDivisionError:
        print("failed")
"""
    assert run(package, code) == ["tries", "failed"] * 2


def run(place: Path, code: str) -> list[str]:
    """The lines that the code prints in a process where the package is found."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(place)!r})\n{code}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()

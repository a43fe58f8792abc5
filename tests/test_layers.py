"""The layers of the tree: no import runs up, no files or packages import each other in a circle."""

from house import LAYERS, circles, imports, modules, package, types, upward
from house import Import as Arrow

KNOWN = modules()
ARROWS = imports(KNOWN)

SAME_NAME = {"Spool": "the section of the configuration, and what it configures"}
"""Type names that mean one thing in several places, each with the reason."""


def test_every_package_has_its_place() -> None:
    assert {package(module) for module in KNOWN} - {"", *LAYERS} == set()


def test_no_import_runs_up() -> None:
    assert upward(ARROWS) == set()


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(ARROWS) == []


def test_no_packages_import_each_other_in_a_circle() -> None:
    between = {Arrow(package(arrow.importer), package(arrow.imported)) for arrow in ARROWS}
    assert circles({arrow for arrow in between if arrow.importer != arrow.imported and "" not in arrow}) == []


def test_a_circle_is_found() -> None:
    row = [Arrow("a", "b"), Arrow("b", "c"), Arrow("c", "b"), Arrow("c", "d")]
    assert circles(row) == [["b", "c"]]
    assert circles(row[:2]) == []


def test_an_import_that_runs_up_is_found() -> None:
    arrow = Arrow("auditsink.spool.ring", "auditsink.receive.server")
    assert upward([arrow, Arrow("auditsink.receive.server", "auditsink.spool.ring")]) == {arrow}


def test_a_type_name_means_one_thing() -> None:
    assert set(types(KNOWN)) == set(SAME_NAME)

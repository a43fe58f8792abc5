"""What the tree looks like from above: layers, circles, names with several meanings. `make house` prints the counts.

The layers are those of ARCHITECTURE.md: a package may import only from packages that stand before it in `LAYERS`.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = "auditsink"

LAYERS = (
    "common",
    "audit",
    "auditlogs",
    "config",
    "delivery",
    "http",
    "kafka",
    "load",
    "spool",
    "clusters",
    "receive",
    "filters",
    "forward",
    "kafka_spool",
    "destinations",
    "evidence",
    "backup",
    "tail",
    "observe",
    "admin",
    "spooling",
    "service",
    "process",
    "apiserver",
    "doctor",
    "fluentbit",
    "gardener",
    "cli",
    "testing",
    "__main__",
)
"""Bottom first. What is not named here is no package of ours yet: give it its place."""


class Import(NamedTuple):
    """`importer` and `imported` are dotted names of modules below `auditsink`."""

    importer: str
    imported: str


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(known: Mapping[str, Path]) -> set[Import]:
    """Who imports whom, lazily or for types alone included: an arrow is an arrow."""
    return {
        Import(name, target)
        for name, path in known.items()
        for target in _targets(ast.parse(path.read_text(encoding="utf-8")), known)
        if target != name
    }


def _targets(tree: ast.Module, known: Mapping[str, Path]) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def package(module: str) -> str:
    """The layer that a module belongs to; "" for the package's own `__init__`, which imports nothing."""
    return module.split(".")[1] if "." in module else ""


def upward(arrows: Iterable[Import]) -> set[Import]:
    """Imports that do not run down the list of layers."""
    rank = {name: at for at, name in enumerate(("", *LAYERS))}
    return {
        arrow
        for arrow in arrows
        if (above := package(arrow.importer)) != (below := package(arrow.imported)) and rank[above] < rank[below]
    }


def circles(arrows: Iterable[Import]) -> list[list[str]]:
    """Modules that import each other, directly or through others: each strongly connected group (Tarjan, 1972)."""
    after: dict[str, set[str]] = defaultdict(set)
    for arrow in arrows:
        after[arrow.importer].add(arrow.imported)
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for next_one in sorted(after[module]):
            if next_one not in number:
                visit(next_one)
                low[module] = min(low[module], low[next_one])
            elif next_one in stack:
                low[module] = min(low[module], number[next_one])
        if low[module] == number[module]:
            at = stack.index(module)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(after):
        if module not in number:
            visit(module)
    return found


def types(known: Mapping[str, Path]) -> dict[str, list[str]]:
    """Where each class name is defined, for names that are defined in more than one module."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    return {name: found for name, found in sorted(places.items()) if len(set(found)) > 1}


def importers(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """By whom each module is imported. Who takes a name that a package hands on is an importer of where it is defined.

    What a table names and is loaded when it is configured (a destination, a format, a command) is imported by nobody.
    """
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in known.items()}
    doors = {
        (name, alias.asname or alias.name): node.module
        for name, path in known.items()
        if path.name == "__init__.py"
        for node in trees[name].body
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith(f"{name}.")
        for alias in node.names
    }
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (module := node.module) is not None and module in known:
                for alias in node.names:
                    inner = f"{module}.{alias.name}"
                    found[inner if inner in known else doors.get((module, alias.name), module)].add(name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name in known:
                        found[alias.name].add(name)
    return {name: by - {name} for name, by in found.items()}


def counts(root: Path) -> str:
    """The counts for a tree, ours or one of before, a line each."""
    known = modules(root)
    arrows = imports(known)
    between = {Import(package(arrow.importer), package(arrow.imported)) for arrow in arrows}
    between = {arrow for arrow in between if arrow.importer != arrow.imported and "" not in arrow}
    single = {name: next(iter(by)) for name, by in importers(known).items() if len(by) == 1}
    inside = [name for name, by in single.items() if package(name) == package(by)]
    doubled = types(known)
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in known.values())
    rows = [
        f"{len(known):6,} files",
        f"{lines:6,} lines",
        f"{len(circles(arrows)):6} circles between files",
        f"{len(circles(between)):6} circles between packages",
        f"{len(single):6} files with exactly one importer, {len(inside)} of them in the same package",
        f"{len(doubled):6} type names with several meanings",
        *(f"         {name}: {', '.join(places)}" for name, places in doubled.items()),
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(counts(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT) + "\n")

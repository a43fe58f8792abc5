"""A progress bar for whoever watches a terminal, and nothing for everybody else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told each further piece of `total`."""
    if not sys.stderr.isatty():
        yield lambda _piece: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr, show_eta=True) as shown:
        yield shown.update

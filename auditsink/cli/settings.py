"""What several commands share: finding and reading the configuration."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from auditsink.config import Config
from auditsink.load import embedded_default, load, parse
from auditsink.load.environment import PREFIX

VARIABLE = "AUDITSINK_CONFIG"
F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """The option `-c FILE`."""
    return click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Configuration (YAML), else that of {VARIABLE}. Without either: 127.0.0.1:9880 into ./data/audit.ndjson.",
    )(function)


def config_path(config_file: Path | None) -> Path | None:
    """The file that counts: the option's, else that of `AUDITSINK_CONFIG`, else none."""
    named = os.environ.get(VARIABLE)
    return config_file or (Path(named) if named else None)


def read_config(config_file: Path | None) -> Config:
    """The configuration, or the embedded default. Raises ConfigError with every mistake in a line of its own.

    Without a file the variables that stand for keys are one of their own.
    """
    path = config_path(config_file)
    if path is not None:
        return load(path)
    if any(name.startswith(PREFIX) for name in os.environ):
        return parse(b"", "the environment")
    return embedded_default()

"""What several commands share: finding and reading the configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from auditsink.config import Config
from auditsink.load import ConfigError, embedded_default, load

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """The option `-c FILE`."""
    return click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Configuration (YAML). Without it: 127.0.0.1:9880 into ./data/audit.ndjson.",
    )(function)


def read_config(config_file: Path | None) -> Config:
    """The configuration, or the embedded default. Raises ClickException with every mistake in a line of its own."""
    if config_file is None:
        return embedded_default()
    try:
        return load(config_file)
    except ConfigError as problem:
        raise click.ClickException(str(problem)) from None

"""`auditsink serve`: run the sink."""

from pathlib import Path

import click

from auditsink import process
from auditsink.cli.settings import config_option, read_config
from auditsink.service import StartError


@click.command("serve")
@config_option
def command(config_file: Path | None) -> int:
    """Run the sink.

    Without a file: 127.0.0.1:9880 into ./data/audit.ndjson, spool in ./data/spool, admin port 127.0.0.1:2020.
    SIGTERM and Ctrl-C finish what was accepted and end within 10 s; a second one ends at once, and nothing is lost.

    \b
    Example:
      auditsink serve -c /etc/auditsink/config.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    try:
        return process.run(read_config(config_file))
    except StartError as problem:
        raise click.ClickException(str(problem)) from None

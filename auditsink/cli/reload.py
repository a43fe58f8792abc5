"""`auditsink reload`: have a running sink take up its changed configuration."""

from pathlib import Path

import click
import orjson

from auditsink.cli.admin_port import AdminPort, url_option
from auditsink.cli.tables import safe


@click.command("reload")
@url_option
@click.option("--force", is_flag=True, help="Remove a destination although it has not got all that waits for it.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="What the sink's admin.token_file holds."
)
def command(url: str, force: bool, token_file: Path | None) -> int:
    """Have a running sink read its configuration again and take up what it can without a restart.

    Destinations, filters, clusters, limits and the log's level are taken up; what needs a restart is named. A file
    that is broken, or that removes a destination which has not got everything, is refused, and nothing changes.
    It needs the admin token; without one: kill -HUP PID.

    \b
    Examples:
      auditsink reload --token-file /etc/auditsink/admin-token
      auditsink reload --token-file token --force
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    try:
        status, content = AdminPort(url, token_file).post("/reload", [("force", "1")] if force else [])
    except click.ClickException as problem:
        if token_file is None and "answers 40" in problem.message:
            raise click.ClickException(f"{problem.message}; without a token: kill -HUP PID") from None
        raise
    said = orjson.loads(content)
    if status != 200:
        raise click.ClickException("\n".join(f"not taken up: {line}" for line in said.get("refused", [])))
    for line in said["said"] or ["nothing is different"]:
        click.echo(safe(line))
    return 0

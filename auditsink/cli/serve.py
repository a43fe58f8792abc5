"""`auditsink serve`: run the sink."""

import shutil
import sys
from functools import partial
from pathlib import Path

import click
import msgspec

from auditsink import process
from auditsink.cli.settings import config_option, config_path, read_config
from auditsink.config import Config, Log
from auditsink.load import embedded_default, load

SAMPLE = Path("tests/data/batch-default-mixed-http.tar.gz")
"""What a real kube-apiserver sent; there in the project's own tree, from which `make run` starts the sink."""
POST = """curl -d '{{"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [{{"auditID": "1"}}]}}' {url}"""
GREETING = """
A sink to try things with: on this machine only, everything below ./data. In another shell:
  post events               {post}
  see events as they pass   {command} tail -f
  see where they are        {command} status --watch   or open {page}
Ctrl-C ends it. For one that stays: {command} init
"""


@click.command("serve")
@config_option
def command(config_file: Path | None) -> int:
    """Run the sink.

    Without a file: 127.0.0.1:9880 into ./data/audit.ndjson, spool in ./data/spool, admin port 127.0.0.1:2020; at a
    terminal it then speaks text and says what to try.
    SIGHUP and `auditsink reload` take up a changed file; `watch: true` in it does so by itself.
    SIGTERM and Ctrl-C finish what was accepted and end within 10 s; a second one ends at once, and nothing is lost.

    \b
    Example:
      auditsink serve -c /etc/auditsink/config.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    config = read_config(config_file)
    if config == embedded_default() and sys.stderr.isatty():
        return process.run(msgspec.structs.replace(config, log=Log(format="text")), lambda: _greet(config))
    path = config_path(config_file)
    return process.run(config, file=path, reread=None if path is None else partial(load, path))


def _greet(config: Config) -> None:
    command = _as_typed(sys.argv[0])
    url = f"http://{config.receive.listen}{config.receive.path}"
    post = f"{command} send {SAMPLE}" if SAMPLE.exists() else POST.format(url=url)
    click.echo(GREETING.format(post=post, command=command, page=f"http://{config.admin.listen}/"), err=True)


def _as_typed(program: str) -> str:
    """This program's name as a person can type it here."""
    if Path(program).name == "__main__.py":
        return "python -m auditsink"
    return Path(program).name if shutil.which(Path(program).name) == program else program

"""`auditsink fluentbit`: the sink, set up by a fluent-bit configuration and started with fluent-bit's arguments."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from auditsink import process
from auditsink.cli.tables import safe
from auditsink.common.redact import STARS
from auditsink.fluentbit.translate import Translation

try:
    from auditsink.fluentbit import start
except ModuleNotFoundError as missing:
    raise click.ClickException(f"{missing.name} is not installed; pip install 'auditsink[fluentbit]'") from None


@click.command("fluentbit")
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="fluent-bit's configuration, classic or YAML.",
)
@click.option(
    "-b",
    "--storage_path",
    "storage",
    default="",
    metavar="DIR",
    help="Where the volume is mounted; else what storage.path says.",
)
@click.option("--print", "only_print", is_flag=True, help="Only translate, and print the configuration.")
@click.option(
    "--record",
    type=click.Choice(["event", "batch"]),
    envvar="AUDITSINK_RECORD",
    help="One record an event, or one EventList a record as fluent-bit sends it.",
)
def command(config_file: Path, storage: str, only_print: bool, record: str | None) -> int:
    """Run the sink in fluent-bit's place: its configuration, its arguments, its HTTP API, its volume.

    With --print the same configuration comes out in auditsink's own words, for `auditsink serve`. Started as root it
    makes DIR/auditsink its own and goes on as user 10001.

    \b
    Example:
      auditsink fluentbit --storage_path=/data --config=/config/fluent-bit.conf
      auditsink fluentbit --config=fluent-bit.yaml --storage_path=/data --print > auditsink.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    translation = start.translated(start.Arguments(config_file, storage, record))
    if only_print:
        start.loaded(translation, _AnyEnvironment(os.environ))
        _print(translation)
        return 0
    config = start.loaded(translation)
    return process.run(config, guest=start.prepare(translation, config))


def _print(translation: Translation) -> None:
    document = start.masked(translation.document)
    if document != translation.document:
        click.echo(f"# {STARS} stands for a secret of the file: put it into one of its own, and name that.")
    if translation.notes:
        click.echo("# Without meaning here:")
    for note in translation.notes:
        click.echo(f"#   {safe(note)}")
    click.echo(start.dumped(document), nl=False)


class _AnyEnvironment(Mapping[str, str]):
    """A variable that is not set here is set where the translation will run; any value does to look at the rest."""

    def __init__(self, real: Mapping[str, str]) -> None:
        self._real = real

    def __getitem__(self, name: str) -> str:
        return self._real.get(name, "1")

    def __contains__(self, _name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._real)

    def __len__(self) -> int:
        return len(self._real)

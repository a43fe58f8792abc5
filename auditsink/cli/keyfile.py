"""`--key-file`: for commands that look into an encrypted spool."""

from pathlib import Path

import click

from auditsink.spool.keys import Keyring

key_file_option = click.option(
    "--key-file", type=click.Path(path_type=Path, dir_okay=False), help="The spool's keys, if it is encrypted."
)


def keyring(key_file: Path | None) -> Keyring | None:
    """The keys in that file. Raises SpoolError."""
    return None if key_file is None else Keyring.load(key_file, "--key-file")

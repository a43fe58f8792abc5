"""`auditsink schema`: the JSON Schema of the configuration file, for editors."""

import click
import orjson

from auditsink.config.destinations import foreign, load_foreign
from auditsink.load.schema import schema


@click.command("schema")
def command() -> int:
    """Print the JSON Schema of the configuration file: editors complete by it and underline mistakes.

    Most take it from the file's first line: # yaml-language-server: $schema=auditsink.schema.json. Destinations that
    other packages bring are in it. `auditsink check` knows more, and is what counts.

    \b
    Example:
      auditsink schema > auditsink.schema.json
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    try:
        others = {name: load_foreign(name) for name in foreign()}
    except ValueError as problem:
        raise click.ClickException(str(problem)) from None
    click.echo(orjson.dumps(schema(others), option=orjson.OPT_INDENT_2))
    return 0

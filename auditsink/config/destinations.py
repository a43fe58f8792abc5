"""`destinations`: which types there are. One of ours is a line here; one of others comes by an entry point.

A package of somebody else names its section under the entry point group `auditsink.destinations`; the entry's name is
what the file says as `type`. See docs/own-destination.md.
"""

from typing import TYPE_CHECKING

from auditsink.config.destination import DestinationSection
from auditsink.config.file import FileConfig, StdoutConfig
from auditsink.config.forward import ForwardConfig
from auditsink.config.http import HttpConfig
from auditsink.config.kafka import KafkaConfig
from auditsink.config.objects import AzureConfig, GcsConfig, LocalConfig, S3Config
from auditsink.config.splunk import SplunkConfig

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

GROUP = "auditsink.destinations"

BuiltIn = (
    SplunkConfig
    | KafkaConfig
    | HttpConfig
    | ForwardConfig
    | FileConfig
    | StdoutConfig
    | S3Config
    | GcsConfig
    | AzureConfig
    | LocalConfig
)


def foreign() -> dict[str, str]:
    """Types of other packages: name and where its section is, `module:Class`. Nothing is imported."""
    return {entry.name: entry.value for entry in _entries()}


def load_foreign(name: str) -> type[DestinationSection]:
    """The section of another package's type. Raises ValueError: a sentence that stands after the key's path."""
    (entry, *others) = (one for one in _entries() if one.name == name)
    if others:
        several = ", ".join(sorted(one.value for one in (entry, *others)))
        raise ValueError(f"{name} is brought by several packages ({several}); remove all but one")
    try:
        found = entry.load()
    except Exception as problem:  # noqa: BLE001 - another's code: whatever it raises is a sentence here
        why = f"{type(problem).__name__}: {problem}"
        raise ValueError(f"{name} ({entry.value}) cannot be loaded: {why}; reinstall that package") from None
    complete = isinstance(found, type) and issubclass(found, DestinationSection)
    if not complete or found.__struct_config__.tag != name or not hasattr(found, "describe"):
        raise ValueError(
            f"{name} ({entry.value}) is no section of a destination with the tag {name!r}; report it to its makers"
        )
    section: type[DestinationSection] = found
    return section


def _entries() -> "EntryPoints":
    from importlib.metadata import entry_points  # noqa: PLC0415 - 1 MB at rest, for types of others alone

    return entry_points(group=GROUP)

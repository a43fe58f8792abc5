"""From a destination's settings to the destination. The only place that knows all types; imports what is configured."""

from importlib import import_module

from auditsink.common.clock import Clock
from auditsink.config import (
    AzureConfig,
    DestinationConfig,
    FileConfig,
    GcsConfig,
    HttpConfig,
    KafkaConfig,
    LocalConfig,
    S3Config,
    SplunkConfig,
    StdoutConfig,
)
from auditsink.delivery.destination import Destination, DestinationError
from auditsink.delivery.settings import key

_OBJECTS = ("objects", "ObjectDestination")
_EXTRAS = {"kafka": "kafka", "objects": "objectstore"}
"""Modules that stand on libraries that not everybody installs."""
_TYPES: dict[type, tuple[str, str]] = {
    SplunkConfig: ("splunk", "SplunkDestination"),
    KafkaConfig: ("kafka", "KafkaDestination"),
    HttpConfig: ("http", "HttpDestination"),
    FileConfig: ("file", "FileDestination"),
    StdoutConfig: ("stdout", "StdoutDestination"),
    S3Config: _OBJECTS,
    GcsConfig: _OBJECTS,
    AzureConfig: _OBJECTS,
    LocalConfig: _OBJECTS,
}


def build(config: DestinationConfig, *, clock: Clock) -> Destination:
    """The destination, not yet connected. Files it needs (token, CA, its own output) are opened or read here.

    Raises DestinationError for settings that cannot work: a missing extra, an unreadable file, an unusable path.
    """
    kind, name = _TYPES[type(config)]
    try:
        module = import_module(f"auditsink.destinations.{kind}")
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("auditsink"):
            raise
        raise DestinationError(
            f"{key(config, 'type')}: {config.__struct_config__.tag} needs the extra: "
            f"pip install 'auditsink[{_EXTRAS.get(kind, kind)}]'"
        ) from None
    destination: Destination = getattr(module, name)(config, clock)
    return destination

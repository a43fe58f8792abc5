"""From a destination's section to the destination; imports what is configured."""

from importlib import import_module

from auditsink.common.clock import Clock
from auditsink.config import DestinationSection
from auditsink.delivery.destination import Destination, DestinationError
from auditsink.delivery.settings import key
from auditsink.destinations.records import RecordShape, ShapedDestination


def build(config: DestinationSection, *, clock: Clock) -> Destination:
    """The destination, not yet connected. Files it needs (token, CA, its own output) are opened or read here.

    Raises DestinationError for settings that cannot work: a missing extra, an unreadable file, an unusable path.
    """
    module, _, name = config.IMPLEMENTATION.partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as missing:
        if not config.EXTRA or (missing.name or "").startswith("auditsink"):
            raise
        raise DestinationError(
            f"{key(config, 'type')}: {config.kind} needs the extra: pip install 'auditsink[{config.EXTRA}]'"
        ) from None
    destination: Destination = getattr(found, name)(config, clock)
    shape = RecordShape.of(config)
    return destination if shape.plain else ShapedDestination(destination, shape)

"""From a destination's section to the destination; imports what is configured."""

from importlib import import_module

from auditsink.common.clock import Clock
from auditsink.config import DestinationSection, LabelledSection
from auditsink.delivery.destination import Destination, UnavailableError
from auditsink.delivery.settings import key
from auditsink.destinations.bodies import SharedBodies, Sharing
from auditsink.destinations.wrappers import LabelledDestination, RecordShape, ShapedDestination


def build(config: DestinationSection, *, clock: Clock, bodies: SharedBodies | None = None) -> Destination:
    """The destination, not yet connected. Files it needs (token, CA, its own output) are opened or read here.

    `bodies`: what it may share with others.

    Blocks. Raises DestinationError for settings that cannot work (an unreadable file, say), UnavailableError for a
    missing extra or an unusable path.
    """
    module, _, name = config.IMPLEMENTATION.partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as missing:
        if not config.EXTRA or (missing.name or "").startswith("auditsink"):
            raise
        raise UnavailableError(
            f"{key(config, 'type')}: {config.kind} needs the extra: pip install 'auditsink[{config.EXTRA}]'"
        ) from None
    destination: Destination = getattr(found, name)(config, clock)
    if bodies is not None and isinstance(destination, Sharing) and destination.form is not None:
        destination.bodies = bodies.share(destination.form)
    shape = RecordShape.of(config)
    if not shape.plain:
        destination = ShapedDestination(destination, shape)
    if isinstance(config, LabelledSection) and config.labels_as != "none":
        destination = LabelledDestination(destination, config.labels_as)
    return destination

"""How each type of destination packs its batches where the file does not say; known before it can be built."""

from auditsink.config import DestinationSection, ObjectConfig, SplunkConfig
from auditsink.delivery import settings
from auditsink.delivery.destination import Limits

# One Kafka batch must fit into a broker's 1,048,588 bytes (message.max.bytes) even where nothing can be compressed.
USUAL = Limits(max_bytes=1_000_000, max_events=1000, max_wait=1.0, in_flight=1)
# 1 MB is the body that every HEC takes; 200 bytes of envelope for each event must fit in as well. Splunk orders by the
# events' own time, so two requests may overtake each other.
_SPLUNK = Limits(max_bytes=800_000, max_events=1000, max_wait=1.0, in_flight=2)
# Each waits seconds for its acknowledgement; two would be 200 kB/s.
_ACKNOWLEDGED = Limits(max_bytes=800_000, max_events=1000, max_wait=1.0, in_flight=16)
# A request costs money, and a reader wants few objects.
_OBJECTS = Limits(max_bytes=16 * 2**20, max_events=100_000, max_wait=60.0, in_flight=1)


def limits(config: DestinationSection) -> Limits:
    """What the destination's section says, and its type's default for the rest."""
    usual = USUAL
    if isinstance(config, SplunkConfig):
        usual = _ACKNOWLEDGED if config.acknowledge else _SPLUNK
    elif isinstance(config, ObjectConfig):
        usual = _OBJECTS
    return settings.limits(config, usual)

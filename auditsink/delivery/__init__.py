"""The contract between `forward`, destinations and filters: all that a destination of somebody else imports.

A type of destination is two classes. Its **section** (a `DestinationSection` with keys of its own) is what stands in
the file; its **destination** (a `Destination`) takes batches and says what came of each attempt, as an `Outcome`.
Retries, backoff, order, isolation of bad events, dead letters, accounting and status are the forwarder's.
docs/own-destination.md walks through a whole one, and `auditsink.testing.conformance` tells whether it keeps what is
asked of it.

Imports none of those that meet here.
"""

from auditsink.config.destination import DestinationSection
from auditsink.config.section import Broken, Section
from auditsink.delivery.destination import Attempt, Batch, Destination, DestinationError, Limits, Origin
from auditsink.delivery.filter import EventFilter, Filtered
from auditsink.delivery.outcome import (
    Delivered,
    EventRejection,
    Misconfigured,
    Outcome,
    Poison,
    Retry,
    RetryCause,
    TooLarge,
)
from auditsink.delivery.settings import Credential, checked_url, key, limits

__all__ = [
    "Attempt",
    "Batch",
    "Broken",
    "Credential",
    "Delivered",
    "Destination",
    "DestinationError",
    "DestinationSection",
    "EventFilter",
    "EventRejection",
    "Filtered",
    "Limits",
    "Misconfigured",
    "Origin",
    "Outcome",
    "Poison",
    "Retry",
    "RetryCause",
    "Section",
    "TooLarge",
    "checked_url",
    "key",
    "limits",
]

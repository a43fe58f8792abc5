"""What a forwarder asks of a destination's filter, and nothing more; `auditsink.filters` is one."""

from dataclasses import dataclass
from typing import Protocol

from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import EventRejection


@dataclass(frozen=True, slots=True)
class Filtered:
    """`batch`: the events to deliver, perhaps none, each with its sequence.

    `unreadable`: places in the batch that was sifted, of events that could not be judged; they become dead letters.
    All others were filtered out.
    """

    batch: Batch
    unreadable: tuple[EventRejection, ...] = ()


class EventFilter(Protocol):
    """The filter of one destination: batches in, what is to be delivered of them out."""

    def __call__(self, batch: Batch) -> Filtered:
        """Reads each event once. Called in any thread, by one at a time; never raises for what is inside an event."""
        ...

"""What `receive` asks of the spool, and nothing more: rings on a disk answer it, and so does a topic of Kafka."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from auditsink.audit.eventlist import Split
from auditsink.spool.types import SpoolRejection, SubmitCallback


class Store(Protocol):
    """Everything belongs to the loop's thread. A ring is the spool's own business: it is got, kept and given back."""

    @property
    def rings(self) -> Mapping[str, Any]:
        """By cluster."""
        ...

    def make_ring(self, cluster: str, made: Callable[[Any], None]) -> None:
        """Have a new cluster's made. `made` is told the ring, perhaps from within, or later why there is none."""
        ...

    def refusal(self, ring: Any) -> SpoolRejection | None:
        """Why a request that begins now would be refused, as far as that is known; cheap."""
        ...

    def submit(self, ring: Any, body: bytes, split: Split, source: str, done: SubmitCallback) -> None:
        """Store a request. `done` is called later in the loop's thread, when the result holds; never from within."""
        ...

"""How large a destination's batches are: learned from what it calls too large. Pure.

A request of several events that is too large halves the ceiling of all batches that are packed from then on; each
batch that nearly fills it and passes raises it a little, up to what is configured. So a receiver that takes less than
we were told refuses a request now and then, and not every batch before it is cut in two.
"""

from dataclasses import replace

from auditsink.delivery.destination import Limits

# `in_flight` full batches raise the ceiling by 1/32 of it: when it is too high again, as many may be refused at once,
# and some 22 times as many have passed since the last time ...
_GROWTH = 32
# ... or by 1/256 of what is configured: it is back from the very bottom after some hundred full batches.
_LEAST_GROWTH = 256


class BatchLimits:
    """One for all lanes of a destination. `limits` is what batches are packed to right now.

    Sizes are bytes of the events that were read for a batch: what a filter takes away later, it takes from the next
    batch as well.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._configured = limits.max_bytes
        self._in_flight = limits.in_flight

    def __repr__(self) -> str:
        return f"<BatchLimits {self.limits.max_bytes} of {self._configured} bytes>"

    def too_large(self, size: int) -> None:
        """A batch of several events and that size was refused. What was under way beside it lowers nothing more."""
        self._set(min(self.limits.max_bytes, max(1, size // 2)))

    def passed(self, size: int) -> None:
        """A batch of that size was taken."""
        now = self.limits.max_bytes
        if now < self._configured and 2 * size > now:
            growth = max(now // _GROWTH, self._configured // _LEAST_GROWTH) // self._in_flight
            self._set(min(self._configured, now + max(1, growth)))

    def _set(self, max_bytes: int) -> None:
        self.limits = replace(self.limits, max_bytes=max_bytes)

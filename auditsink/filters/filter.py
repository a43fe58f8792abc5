"""The filter of one destination: a batch goes in, what of it is to be delivered comes out. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from auditsink.audit import scan
from auditsink.audit.eventlist import Mark
from auditsink.delivery.destination import Batch
from auditsink.delivery.filter import Filtered
from auditsink.delivery.outcome import EventRejection
from auditsink.filters.policy import Decision, Evaluator, Level
from auditsink.filters.reading import UnreadableEventError, read, read_closer, request_of
from auditsink.filters.rewrite import Rewriter
from auditsink.filters.rules import Rules, lower

EVERYTHING = Decision(Level.REQUEST_RESPONSE)
_REMEMBERED = 4096
"""Decisions. A cluster's users, verbs and resources are fewer; a client that makes up more only costs time."""
_CHECKPOINT = b'{"checkpoint":'
_NOT_SPLIT = "the request it came in could not be split, so its events cannot be filtered"


class PolicyFilter:
    """`evaluator` None: no policy, all events go through. `rules` come before it and see more of each event.

    Not for two threads at once.
    """

    def __init__(
        self, evaluator: Evaluator | None, rewriter: Rewriter, *, rules: Rules | None = None, pass_unreadable: bool
    ) -> None:
        self._decide = None if evaluator is None else lru_cache(_REMEMBERED)(evaluator.decide)
        self._rules = rules
        self._rewriter = rewriter
        self._pass_unreadable = pass_unreadable

    def __call__(self, batch: Batch) -> Filtered:
        """See `forward.sifting.Sift`."""
        if batch.marks and Mark.UNSPLIT in batch.marks:
            return self._unsplit(batch)
        events: list[bytes] = []
        sequences: list[int] = []
        unreadable: list[EventRejection] = []
        for place, event in enumerate(batch.events):
            try:
                left = self._sifted(event)
            except (UnreadableEventError, scan.UnreadableError) as problem:
                if not self._pass_unreadable:
                    unreadable.append(
                        EventRejection(place, f"the filter of this destination cannot read it: {problem}")
                    )
                    continue
                left = event
            if left is not None:
                events.append(left)
                sequences.append(batch.sequences[place])
        kept: Sequence[int] = batch.sequences if len(events) == len(batch.events) else sequences
        return Filtered(replace(batch, events=events, sequences=kept), tuple(unreadable))

    def _unsplit(self, batch: Batch) -> Filtered:
        if self._pass_unreadable:
            return Filtered(batch)
        refused = tuple(EventRejection(place, _NOT_SPLIT) for place in range(len(batch.events)))
        return Filtered(replace(batch, events=[], sequences=[]), refused)

    def _sifted(self, event: bytes) -> bytes | None:
        """The event as it is to be delivered; None: not at all."""
        if event.startswith(_CHECKPOINT):  # the sink's own statement, which is about the trail and none of it
            return event
        if self._rules is None:
            seen = read(event)
            request = request_of(seen)
            decision = EVERYTHING if self._decide is None else self._decide(request)
        else:
            closer = read_closer(event)
            seen, request = closer.seen, request_of(closer.seen)
            decision = self._rules.decide(closer, request)
            if self._decide is not None and decision.level != Level.NONE:
                decision = lower(decision, self._decide(request))
        if decision.level == Level.NONE or seen.stage in decision.omit_stages:
            return None
        return self._rewriter.rewritten(event, seen, request, decision)

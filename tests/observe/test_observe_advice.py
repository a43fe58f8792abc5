"""What states mean in words."""

from dataclasses import replace

import pytest
from moments import FILE, SIEM

from auditsink.forward.dead_letter_count import DeadLettersWaiting
from auditsink.forward.reporting import DestinationState, ForwarderStatistics, HeldCluster
from auditsink.observe import status
from auditsink.spool.types import Account

LOSSY = replace(FILE, accounts={"prod": Account(10, 5, 0, 2, 3, 0)})


@pytest.mark.parametrize(
    ("one", "beginnings"),
    [
        (FILE, []),
        (replace(FILE, state=DestinationState.MISCONFIGURED), ["Paused, because"]),
        (replace(FILE, state=DestinationState.RETRYING), ["Takes nothing right now"]),
        (replace(FILE, state=DestinationState.DELIVERING, lag_seconds=59.0), []),
        (replace(FILE, state=DestinationState.DELIVERING, lag_seconds=60.0), ["Delivers, and is behind"]),
        (
            replace(FILE, held={"prod": HeldCluster("no index", 1.0)}),
            ["Takes all but the events of 1 clusters"],
        ),
        (LOSSY, ["Lost 3 events"]),
        (SIEM, ["Lost 1 events", "Takes nothing right now"]),
        (replace(FILE, dead_letters=DeadLettersWaiting({"prod": 5})), ["Refused 5 events"]),
    ],
)
def test_each_state_says_what_it_means_the_worst_first(one: ForwarderStatistics, beginnings: list[str]) -> None:
    found = status.advice(one)
    assert len(found) == len(beginnings)
    assert all(text.startswith(beginning) for text, beginning in zip(found, beginnings, strict=True)), found

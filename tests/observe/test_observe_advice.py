"""What states mean in words, and the verdict over all of them."""

from dataclasses import replace

import pytest
from moments import FILE, SIEM, SPOOL, moment

from auditsink.forward.reporting import DestinationState, ForwarderStatistics, PausedCluster
from auditsink.observe import advice
from auditsink.observe.advice import VerdictLevel
from auditsink.observe.snapshot import Phase, Snapshot
from auditsink.spool.types import Account

CALM = moment(destinations=(FILE,), spool=replace(SPOOL, rings=SPOOL.rings[:1]))
LOSSY = replace(FILE, accounts={"prod": Account(10, 5, 0, 2, 3, 0)})


@pytest.mark.parametrize(
    ("snapshot", "level", "text"),
    [
        (CALM, VerdictLevel.GOOD, "Batches are taken, kept and delivered"),
        (replace(CALM, phase=Phase.STOPPING), VerdictLevel.BAD, "Batches are not taken: the sink is stopping"),
        (
            replace(CALM, destinations=(replace(FILE, state=DestinationState.RETRYING),)),
            VerdictLevel.LOOK,
            "there is something to look",
        ),
        (
            replace(CALM, destinations=(replace(FILE, state=DestinationState.MISCONFIGURED),)),
            VerdictLevel.BAD,
            "needs somebody",
        ),
        (replace(CALM, destinations=(LOSSY,)), VerdictLevel.BAD, "needs somebody"),
        (replace(CALM, spool=SPOOL), VerdictLevel.LOOK, "there is something to look"),
    ],
)
def test_the_verdict_is_the_worst_of_all(snapshot: Snapshot, level: VerdictLevel, text: str):
    found = advice.verdict(snapshot)
    assert found.level is level
    assert text in found.text


@pytest.mark.parametrize(
    ("one", "beginnings"),
    [
        (FILE, []),
        (replace(FILE, state=DestinationState.MISCONFIGURED), ["Paused, because"]),
        (replace(FILE, state=DestinationState.RETRYING), ["Takes nothing right now"]),
        (replace(FILE, state=DestinationState.DELIVERING, lag_seconds=59.0), []),
        (replace(FILE, state=DestinationState.DELIVERING, lag_seconds=60.0), ["Delivers, and is behind"]),
        (
            replace(FILE, paused_clusters={"prod": PausedCluster("no index", 1.0)}),
            ["Takes all but the events of 1 clusters"],
        ),
        (LOSSY, ["Lost 3 events", "Refused 2 events"]),
        (SIEM, ["Lost 1 events", "Takes nothing right now", "Refused 5 events"]),
    ],
)
def test_each_state_says_what_it_means_the_worst_first(one: ForwarderStatistics, beginnings: list[str]):
    found = advice.advice(one)
    assert len(found) == len(beginnings)
    assert all(text.startswith(beginning) for text, beginning in zip(found, beginnings, strict=True)), found

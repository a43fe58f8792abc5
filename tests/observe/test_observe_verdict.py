"""The verdict: a row for each state of a sink, and what is over is none."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from moments import FILE, PROD, RECEIVE, SIEM, SPOOL, moment

from auditsink.forward.dead_letter_count import DeadLettersWaiting, ReasonGroup
from auditsink.forward.reporting import DestinationState, ForwarderStatistics, HeldCluster, LastError
from auditsink.observe.expiry import Expiry
from auditsink.observe.snapshot import Phase, RefusedReload, Snapshot, Trend
from auditsink.observe.verdict import OWN_CERTIFICATE, VerdictLevel, all_of, of_destination, until_full, verdict
from auditsink.receive.statistics import ClusterStatistics, Refusals
from auditsink.spool.types import Account, Drop

NOW = 1_795_388_400_000_000_000  # 2026-11-22 23:00:00 UTC
MINUTE = 60 * 10**9
GOOD, LOOK, BAD = VerdictLevel.GOOD, VerdictLevel.LOOK, VerdictLevel.BAD
RING = replace(PROD, bytes=400, wanted_bytes=100)
WAITING = DeadLettersWaiting({"prod": 75}, (ReasonGroup("HTTP 400", 72, NOW - 536 * MINUTE), ReasonGroup("x", 3, NOW)))


def calm(*destinations: ForwarderStatistics, wanted: int = 100, growth: float | None = None) -> Snapshot:
    """Nothing is wrong but what is given."""
    spool = replace(SPOOL, rings=(replace(RING, wanted_bytes=wanted),))
    return replace(moment(), destinations=destinations or (FILE,), spool=spool, at_ns=NOW, growth=growth)


def siem(
    state: DestinationState = DestinationState.IDLE, minutes: int | None = None, **more: object
) -> ForwarderStatistics:
    """A destination with 100 events pending, in trouble for so many minutes."""
    since = None if minutes is None else NOW - minutes * MINUTE
    errors = () if minutes is None else (LastError("HTTP 503", NOW - MINUTE, NOW - MINUTE),)
    accounts = {"prod": Account(100, 0, 0, 0, 0, 100)}
    given = replace(SIEM, state=state, trouble_since_ns=since, last_errors=errors, accounts=accounts, lag_seconds=0.0)
    return replace(given, **more)  # type: ignore[arg-type] # whatever a test varies


def refused(reason: str, *, ago_seconds: int = 5, peers: Mapping[str, int] | None = None) -> Snapshot:
    """Refusals of one kind that began 41 minutes ago, the last one so many seconds."""
    last = NOW - ago_seconds * 10**9
    row = Refusals(NOW - 41 * MINUTE, last, 12, "no", dict(peers or {"10.0.0.7": 12}))
    late = siem(DestinationState.RETRYING, 41)
    return replace(calm(late), receive=replace(RECEIVE, refusals={reason: row}))


@pytest.mark.parametrize(
    ("snapshot", "level", "text"),
    [
        (calm(), GOOD, "Batches are taken, kept and delivered"),
        (replace(calm(), phase=Phase.STOPPING), BAD, "Batches are not taken: the sink is stopping"),
        (replace(calm(), failures=("delivery to x died",)), BAD, "A part of the sink died: delivery to x died"),
        (
            replace(calm(), spool=replace(SPOOL, rings=(), problem="no room")),
            BAD,
            "Batches are not taken: spool: no room",
        ),
        (
            refused("full"),
            BAD,
            "Batches are refused since 22:19 UTC: the ring is full, because siem has taken nothing for 41 min; 1 more",
        ),
        (
            refused("disk"),
            BAD,
            "Batches are refused since 22:19 UTC: the disk does not take them, from 10.0.0.7; 1 more",
        ),
        (refused("overload"), BAD, "more come at once than receive.max_in_flight allows"),
        (refused("connections"), BAD, "receive.max_connections is reached"),
        (refused("clusters"), BAD, "receive.max_clusters is reached"),
        (refused("too_large"), BAD, "they are larger than receive.max_body allows"),
        (calm(wanted=400, growth=2.4), BAD, "Full in about 25 min at this rate"),
        (calm(wanted=400, growth=0.5), LOOK, "Full in about 2 h at this rate"),
        (calm(wanted=400, growth=0.1), GOOD, "Batches are taken"),
        (calm(wanted=100, growth=100.0), GOOD, "Batches are taken"),
        (calm(wanted=2000, growth=-5.0), LOOK, "The ring is 50% full"),
        (calm(wanted=3600), BAD, "The ring is 90% full"),
        (calm(siem(DestinationState.RETRYING, 29)), LOOK, "siem takes nothing since 22:31 UTC: HTTP 503"),
        (calm(siem(DestinationState.RETRYING, 30)), BAD, "siem takes nothing since 22:30 UTC: HTTP 503"),
        (calm(siem(DestinationState.MISCONFIGURED, 1)), BAD, "cannot as it is set up: HTTP 503"),
        (
            calm(siem(DestinationState.MISCONFIGURED)),
            BAD,
            "siem takes nothing and cannot as it is set up: no answer yet",
        ),
        (calm(siem(DestinationState.DELIVERING, lag_seconds=59.0)), GOOD, "Batches are taken"),
        (calm(siem(DestinationState.DELIVERING, lag_seconds=600.0)), LOOK, "siem is 10 min behind"),
        (calm(siem(last_errors=(LastError("HTTP 503", NOW, NOW),))), GOOD, "Batches are taken"),
        (
            calm(siem(held={"a": HeldCluster("no topic", 1.0), "b": HeldCluster("no", 1.0)})),
            BAD,
            "siem does not take the events of a and 1 more clusters: no topic",
        ),
        (
            calm(siem(dead_letters=WAITING)),
            LOOK,
            "siem refused 72 x HTTP 400, since 14:04 UTC, and 3 more for other reasons",
        ),
        (
            replace(calm(), refused_reload=RefusedReload("c.yaml:3: spool.max_byte: unknown key", NOW - 3 * MINUTE)),
            LOOK,
            "was refused at 22:57 UTC, the one before stays in force: c.yaml:3: spool.max_byte: unknown key",
        ),
        (replace(calm(), log_lines_skipped=3), LOOK, "3 lines of the log were skipped"),
        (replace(calm(), receive=replace(RECEIVE, problems=("tokens: is empty",))), LOOK, "receive: tokens: is empty"),
        (
            replace(calm(), receive=replace(RECEIVE, clusters={"a": ClusterStatistics(unsplit=2)})),
            LOOK,
            "2 batches could not be split",
        ),
        (replace(calm(), spool=replace(SPOOL, rings=(replace(RING, damaged_bytes=8),))), LOOK, "8 bytes in the spool"),
    ],
)
def test_each_state_has_its_verdict(snapshot: Snapshot, level: VerdictLevel, text: str) -> None:
    found = verdict(snapshot)
    assert (found.level, text in found.text) == (level, True), found


def test_a_destination_that_the_ring_waits_for_gets_worse_as_it_fills() -> None:
    late = siem(DestinationState.RETRYING, 1)
    other = replace(late, name="lake", accounts={"prod": Account(100, 90, 0, 0, 0, 10)})
    assert of_destination(late, calm(late, other, wanted=1000))[0].level is LOOK
    assert of_destination(late, calm(late, other, wanted=3600))[0].level is BAD
    assert of_destination(late, calm(late, other, wanted=400, growth=2.4))[0].level is BAD
    assert of_destination(other, calm(late, other, wanted=3600))[0].level is LOOK, "the ring does not wait for it"


@pytest.mark.parametrize("reason", ["unauthorized", "forbidden", "tls", "not_found", "not_an_event_list", "rate"])
def test_strangers_and_misdirected_clients_are_worth_a_look(reason: str) -> None:
    quiet = replace(refused(reason), destinations=(FILE,))
    found = verdict(quiet)
    assert (found.level, found.until_loss_seconds) == (LOOK, None)
    assert "since 22:19 UTC" in found.text


def test_a_handshake_that_fails_is_told_with_its_reason_and_not_as_a_missing_token() -> None:
    text = verdict(replace(refused("tls"), destinations=(FILE,))).text
    assert text == "12 connections since 22:19 UTC failed, from 10.0.0.7; the last: no"


def test_refusals_that_are_over_are_no_verdict() -> None:
    assert verdict(replace(refused("full", ago_seconds=61), destinations=(FILE,))).level is GOOD


def test_what_was_dropped_lately_is_bad_and_what_was_dropped_long_ago_is_history() -> None:
    drop = Drop(0, 9, 10, NOW - 30 * MINUTE)
    rings = (replace(RING, drops={"siem": drop}),)
    recent = replace(calm(siem()), spool=replace(SPOOL, rings=rings))
    assert "siem never gets 10 events that were dropped from a full ring, the last at 22:30 UTC" in verdict(recent).text
    assert (verdict(recent).level, verdict(recent).until_loss_seconds) == (BAD, None)
    assert verdict(replace(recent, at_ns=NOW + 60 * MINUTE)).level is GOOD


def test_what_is_dropped_now_goes_before_the_ring_that_is_full() -> None:
    drop = Drop(0, 9, 10, NOW - MINUTE // 2)
    rings = (replace(RING, drops={"siem": drop}, wanted_bytes=SPOOL.max_bytes),)
    found = verdict(replace(calm(siem()), spool=replace(SPOOL, rings=rings)))
    assert found.text.startswith("siem never gets 10 events")
    assert (found.level, found.until_loss_seconds) == (BAD, 0)


def test_a_verdict_says_since_when_how_long_and_what_to_type() -> None:
    found = verdict(replace(calm(siem(DestinationState.RETRYING, 41), wanted=2400, growth=1.0)))
    assert found.document() == {
        "level": "bad",
        "text": "Full in about 27 min at this rate, because siem has taken nothing for 41 min; 1 more to look at",
        "since": None,
        "until_loss_seconds": 1600,
        "commands": ["auditsink status"],
    }
    (_, second) = all_of(calm(siem(DestinationState.RETRYING, 41), wanted=2400, growth=1.0))
    assert second.document()["since"] == "2026-11-22T22:19:00Z"
    assert second.commands == ("auditsink check -c FILE --connect",)


def test_the_day_stands_beside_a_time_that_is_not_todays() -> None:
    found = verdict(calm(siem(DestinationState.RETRYING, 24 * 60)))
    assert "since 2026-11-21 23:00 UTC" in found.text


def test_a_trend_is_taken_over_minutes() -> None:
    trend = Trend()
    assert [trend.add(float(at), at * 10) for at in range(0, 20, 10)] == [None, None]
    assert trend.add(20.0, 200) == pytest.approx(10.0)
    for at in range(30, 1000, 10):
        trend.add(float(at), 200)
    assert trend.add(1000.0, 200) == pytest.approx(0.0)


def test_a_ring_without_a_limit_or_a_trend_is_never_called_filling() -> None:
    assert until_full(calm(wanted=400)) is None
    assert until_full(replace(calm(growth=5.0), spool=replace(SPOOL, max_bytes=0))) is None


DAY = 86400.0


@pytest.mark.parametrize(
    ("key", "span", "expected", "said"),
    [
        (OWN_CERTIFICATE, (-9 * DAY, -DAY), (BAD, 0), "ended 2026-11-21 23:00 UTC; a kube-apiserver refuses it"),
        (OWN_CERTIFICATE, (DAY, 9 * DAY), (BAD, 0), "is valid from 2026-11-23 23:00 UTC; a kube-apiserver refuses it"),
        (OWN_CERTIFICATE, (-DAY, DAY), (LOOK, DAY), "ends 2026-11-23 23:00 UTC; write another into the file"),
        ("destinations[0].tls.ca_file", (-9 * DAY, -DAY), (LOOK, None), "ended 2026-11-21 23:00 UTC; write another"),
        (OWN_CERTIFICATE, (-DAY, 3 * DAY), (GOOD, None), "Batches are taken"),
    ],
)
def test_a_certificate_that_nobody_can_use_is_no_good_state(
    key: str, span: tuple[float, float], expected: tuple[VerdictLevel, float | None], said: str
) -> None:
    begins, ends = (NOW / 1e9 + seconds for seconds in span)
    found = verdict(replace(calm(), expiries=(Expiry(key, ends, begins),)))
    assert (found.level, found.until_loss_seconds) == expected
    assert said in found.text

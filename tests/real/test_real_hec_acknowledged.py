"""The Splunk destination against a HEC with indexer acknowledgement that this project did not write.

That HEC decodes each event, so events are compared by their meaning, numbers as floating point.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import corpus
import pytest
import pytest_asyncio
from otelhec import NAME, TOKEN, CollectorHec, End
from rows import Rows
from running import Sink, eventually

REFUSED = ("long-integer", "huge-exponent")
"""Hostile events with a number that 64-bit floating point does not hold: this HEC answers code 6 to them."""
DEEP = ("nested-objects", "nested-arrays")
"""Those that Python cannot decode as OTLP: their `auditID` alone is compared."""

RESTART_SECONDS = 11
"""That this HEC is away: longer than the pause between two questions, which is how the sink gets to know of it where
no connection rests (this HEC closes each on which it was asked in vain)."""

acknowledged = pytest.mark.parametrize("acknowledge", [False, True], ids=["accepted", "acknowledged"])


@pytest_asyncio.fixture
async def hec(tmp_path: Path) -> AsyncIterator[CollectorHec]:
    async with End() as end:
        yield CollectorHec(tmp_path / "otelcol", end)


def siem(hec: CollectorHec, **settings: Any) -> dict[str, Any]:
    usual = {"batch": {"max_wait": "50ms"}, "backoff": {"initial": "50ms", "max": "200ms"}}
    return {"name": "siem", "type": "splunk", "url": hec.url, "token": TOKEN} | usual | settings


def said(document: object) -> str:
    """Equal for documents that say the same; half a surrogate pair, which UTF-8 cannot hold, as its replacement."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def meaning(event: bytes) -> str:
    """What an event says to a decoder whose numbers are floating point."""
    return said(json.loads(event.decode(errors="replace"), parse_int=float))


def arrived(hec: CollectorHec) -> Counter[str]:
    return Counter(said(one["event"]) for one in hec.end.envelopes())


def events_of(bodies: Iterable[corpus.Body]) -> list[bytes]:
    return [event for body in bodies for event in body.events]


def way(*, acknowledge: bool) -> str:
    return "acknowledged" if acknowledge else "accepted"


@pytest.mark.quick
@acknowledged
async def test_the_whole_corpus_arrives_once_with_what_its_envelopes_say(
    tmp_path: Path, hec: CollectorHec, rows: Rows, acknowledge: bool
) -> None:
    bodies = list(corpus.bodies())
    events = events_of(bodies)
    settings: dict[str, Any] = {
        "index": "audit_{cluster}",
        "source": "apiserver:{cluster}",
        "sourcetype": "kube:apiserver:auditlog",
    }
    settings |= {"host": "{cluster}.example", "fields": {"stage": "prod"}, "acknowledge": acknowledge}
    async with hec.life(), Sink(tmp_path / "sink", [siem(hec, **settings)]) as sink:
        sink.receive += "/blue"
        await sink.apiserver([body.data for body in bodies])
        status = await sink.delivered()

    assert arrived(hec) == Counter(map(meaning, events))
    assert status["destinations"][0]["delivered"] == len(events)
    for one in hec.end.envelopes():
        assert (one["index"], one["source"], one["host"]) == ("audit_blue", "apiserver:blue", "blue.example")
        assert (one["sourcetype"], one["fields"]["stage"]) == ("kube:apiserver:auditlog", "prod")
        assert 1_600_000_000 < one["time"] < 2_600_000_000
    rows(server=NAME, thrown=f"the corpus, {way(acknowledge=acknowledge)}", into=len(events), out=hec.end.count)


@pytest.mark.quick
@acknowledged
async def test_hostile_events_cost_only_themselves(
    tmp_path: Path, hec: CollectorHec, rows: Rows, acknowledge: bool
) -> None:
    bodies = corpus.hostile_bodies()
    events = events_of(bodies)
    refused = [event for event in events if _names(event, REFUSED)]
    deep = [event for event in events if _names(event, DEEP)]
    whole = [body.data for body in bodies if body.events == [body.data]]
    plain = [event for event in events if event not in refused and event not in deep and event not in whole]
    async with hec.life(), Sink(tmp_path / "sink", [siem(hec, acknowledge=acknowledge)]) as sink:
        await sink.apiserver([body.data for body in bodies])
        status = await sink.delivered()
        letters = (sink.spool / "deadletters" / "siem" / "letters.ndjson").read_text().splitlines()

    dead = [json.loads(line) for line in letters]
    assert Counter(meaning(one["event"].encode()) for one in dead) == Counter(map(meaning, refused))
    assert all("code 6" in one["reason"] for one in dead)
    assert status["destinations"][0]["delivered"] == hec.end.count == len(events) - len(refused)
    texts = list(hec.end.texts())
    found = Counter(said(hec.end.event(text)) for text in texts if not _names(text.encode(), DEEP))
    assert Counter(map(meaning, plain)) <= found
    assert sum("auditsink.io/unsplit" in text for text in texts) == len(whole)
    assert sum(_names(text.encode(), DEEP) for text in texts) == len(deep)
    rows(
        server=NAME,
        thrown=f"hostile events, {way(acknowledge=acknowledge)}",
        into=len(events),
        out=hec.end.count,
        dead_lettered=len(dead),
        note="numbers that it cannot hold",
    )


def _names(text: bytes, names: Iterable[str]) -> bool:
    """Whether it is a hostile event of such a name, in the corpus' JSON or in OTLP's."""
    named = rf'"(?:together-)?(?:{"|".join(names)})"'
    pattern = r'"auditID"(?::|,"value":\{"stringValue":)' + named
    return re.search(pattern.encode(), text) is not None


@pytest.mark.quick
async def test_a_wrong_token_pauses_and_the_right_one_in_its_file_goes_on_at_once(
    tmp_path: Path, hec: CollectorHec, rows: Rows
) -> None:
    bodies = list(corpus.bodies("batch-default-mixed-http"))
    events = events_of(bodies)
    token = tmp_path / "token"
    token.write_text("the-wrong-token")
    destination = siem(hec, token=None, token_file=str(token), acknowledge=True)
    async with hec.life(), Sink(tmp_path / "sink", [destination]) as sink:
        await sink.apiserver([body.data for body in bodies])
        status = await sink.until(lambda now: now["destinations"][0]["state"] == "misconfigured")
        assert "HTTP 401" in status["destinations"][0]["last_error"]
        assert (status["destinations"][0]["pending"], hec.end.count) == (len(events), 0)
        token.write_text(TOKEN)
        await sink.delivered()
    assert arrived(hec) == Counter(map(meaning, events))
    assert not any("the-wrong-token" in str(line) or TOKEN in str(line) for line in sink.lines)
    rows(server=NAME, thrown="a wrong token, then the right one", into=len(events), out=hec.end.count)


@pytest.mark.parametrize(
    "acknowledge", [pytest.param(False, marks=pytest.mark.quick, id="accepted"), pytest.param(True, id="acknowledged")]
)
async def test_it_is_killed_and_comes_back_under_load(
    tmp_path: Path, hec: CollectorHec, rows: Rows, acknowledge: bool
) -> None:
    """What it answered is at our end. A request comes twice whose answer was lost, or what it meant by it forgotten."""
    bodies = [corpus.plain_body(f"load-{part}", count=20, padding=400) for part in range(600)]
    events = events_of(bodies)
    size, lives = 200, 4
    destination = siem(hec, batch={"max_wait": "10ms", "max_events": size}, acknowledge=acknowledge)
    async with Sink(tmp_path / "sink", [destination]) as sink:
        posting: asyncio.Task[Any] | None = None
        for life in range(1, lives):
            async with hec.life():
                posting = posting or asyncio.create_task(sink.apiserver([body.data for body in bodies]))
                await eventually(lambda: hec.end.count >= life * len(events) // (2 * lives))  # noqa: B023 - awaited right here
        async with hec.life():
            assert posting is not None
            await posting
            await sink.delivered()
    found = arrived(hec)
    assert set(found) == set(map(meaning, events))
    rows(
        server=NAME,
        thrown=f"SIGKILL and restart, {lives - 1} times under load, {way(acknowledge=acknowledge)}",
        into=len(events),
        out=len(found),
        repeated=hec.end.count - len(found),
        note=f"{16 if acknowledge else 2} requests of at most {size} in flight",
    )


async def test_the_cursor_moves_at_the_acknowledgement_and_a_kill_before_it_loses_nothing(
    tmp_path: Path, hec: CollectorHec, rows: Rows
) -> None:
    """What waits for an acknowledgement is sent again after a restart: this HEC has forgotten it, and counts from 1."""
    bodies = [corpus.plain_body(f"waits-{part}", count=20) for part in range(30)]
    events = events_of(bodies)
    destination = siem(hec, batch={"max_events": 20}, acknowledge=True)
    async with Sink(tmp_path / "sink", [destination]) as sink:
        async with hec.life(acknowledges=False):
            await sink.apiserver([body.data for body in bodies[:10]])
            await eventually(lambda: hec.end.count >= 200)
            before = (await sink.status())["destinations"][0]
        await asyncio.sleep(RESTART_SECONDS)
        async with hec.life():
            await sink.apiserver([body.data for body in bodies[10:]])
            await sink.delivered()
    assert (before["delivered"], before["pending"], before["dead_lettered"]) == (0, 200, 0)
    found = arrived(hec)
    assert set(found) == set(map(meaning, events))
    assert hec.end.count - len(found) >= 200
    rows(
        server=NAME,
        thrown="SIGKILL while 10 requests wait for acknowledgement",
        into=len(events),
        out=len(found),
        repeated=hec.end.count - len(found),
        note="at most 16 requests of 20 in flight",
    )

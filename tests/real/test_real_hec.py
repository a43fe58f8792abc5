"""The Splunk destination against a HEC that this project did not write.

That HEC parses each event and writes it anew, so events are compared by their meaning, not their bytes.
It knows no acknowledgement; see test_real_hec_acknowledged for one that does.
"""

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import corpus
import pytest
import trustme
from fluentbit import TOKEN, FluentBit
from rows import Rows
from running import COMMAND, Sink, eventually

PLAIN = [name for name in corpus.EVENTS if name != "hostile-patches"]


@pytest.fixture
def hec(tmp_path: Path) -> FluentBit:
    return FluentBit(tmp_path / "fluent-bit")


def siem(hec: FluentBit, **settings: Any) -> dict[str, Any]:
    return {"name": "siem", "type": "splunk", "url": hec.url, "token": TOKEN, "batch": {"max_wait": "50ms"}} | settings


def meaning(event: bytes) -> str:
    """Equal for documents that say the same; what is not UTF-8 as the sink promises to send it."""
    return json.dumps(json.loads(event.decode(errors="replace")), sort_keys=True)


def arrived(envelopes: Iterable[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(one["event"], sort_keys=True) for one in envelopes)


async def written(hec: FluentBit, count: int) -> list[dict[str, Any]]:
    """What it took, once it has written so many."""
    await eventually(lambda: len(hec.taken()) >= count)
    return hec.taken()


async def test_the_whole_corpus_arrives_once_with_what_its_envelopes_say(
    tmp_path: Path, hec: FluentBit, rows: Rows
) -> None:
    bodies = list(corpus.bodies())
    events = [event for body in bodies for event in body.events]
    settings = {"index": "audit_{cluster}", "source": "apiserver:{cluster}", "sourcetype": "kube:apiserver:auditlog"}
    destination = siem(hec, **settings, host="{cluster}.example", fields={"stage": "prod"})
    async with hec.life(), Sink(tmp_path / "sink", [destination]) as sink:
        sink.receive += "/blue"
        await sink.apiserver([body.data for body in bodies[::2]])
        sink.receive = sink.receive.removesuffix("blue") + "green"
        await sink.apiserver([body.data for body in bodies[1::2]])
        status = await sink.delivered()
        taken = await written(hec, len(events))

    assert arrived(taken) == Counter(map(meaning, events))
    rows(server=hec.version, thrown="the corpus, gzip, templates", into=len(events), out=len(taken))
    assert status["destinations"][0]["delivered"] == len(events)
    for cluster, share in (("blue", bodies[::2]), ("green", bodies[1::2])):
        mine = [one for one in taken if one["index"] == f"audit_{cluster}"]
        assert len(mine) == sum(len(body.events) for body in share)
        assert {(one["source"], one["sourcetype"], one["host"]) for one in mine} == {
            (f"apiserver:{cluster}", "kube:apiserver:auditlog", f"{cluster}.example")
        }
        assert all(one["fields"]["stage"] == "prod" for one in mine)
    assert all(1_600_000_000 < one["time"] < 2_600_000_000 for one in taken)


async def test_events_that_it_cannot_take_cost_only_themselves_when_each_goes_alone(
    tmp_path: Path, hec: FluentBit, rows: Rows
) -> None:
    """This HEC answers 200 and drops what stands behind an event that it cannot parse: only `max_events: 1` helps."""
    bodies = corpus.hostile_bodies()
    events = [event for body in bodies for event in body.events]
    harmless = [meaning(event) for event in events if b'"auditID":"before-' in event or b'"auditID":"after-' in event]
    async with (
        hec.life(),
        Sink(tmp_path / "sink", [siem(hec, batch={"max_wait": "1ms", "max_events": 1})]) as sink,
    ):
        await sink.apiserver([body.data for body in bodies])
        status = await sink.delivered()
        await eventually(lambda: Counter(harmless) <= arrived(hec.taken()))

    one = status["destinations"][0]
    assert one["delivered"] + one["dead_lettered"] == len(events)
    rows(
        server=hec.version,
        thrown="hostile events, each alone",
        into=len(events),
        out=len({json.dumps(envelope["event"], sort_keys=True) for envelope in hec.taken()}),
        dead_lettered=one["dead_lettered"],
        note="it answers 200 to what it then drops",
    )


async def test_a_revoked_token_pauses_and_a_new_one_in_its_file_goes_on_at_once(
    tmp_path: Path, hec: FluentBit, rows: Rows
) -> None:
    bodies = list(corpus.bodies("batch-default-mixed-http"))
    events = [event for body in bodies for event in body.events]
    half = len(bodies) // 2
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with Sink(tmp_path / "sink", [siem(hec, token=None, token_file=str(token))]) as sink:
        async with hec.life():
            await sink.apiserver([body.data for body in bodies[:half]])
            await sink.delivered()
            await written(hec, sum(len(body.events) for body in bodies[:half]))
        async with hec.life("the-new-token"):
            await sink.apiserver([body.data for body in bodies[half:]])
            status = await sink.until(lambda now: now["destinations"][0]["state"] == "misconfigured")
            assert "code 4" in status["destinations"][0]["last_error"]
            token.write_text("the-new-token")
            await sink.delivered()
            taken = await written(hec, len(events))
    assert arrived(taken) == Counter(map(meaning, events))
    assert not any("the-new-token" in str(line) or TOKEN in str(line) for line in sink.lines)
    rows(server=hec.version, thrown="the token revoked and replaced", into=len(events), out=len(taken))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_it_ends_and_comes_back_under_load(
    tmp_path: Path, hec: FluentBit, rows: Rows, number: signal.Signals
) -> None:
    """What it acknowledged it keeps (its buffer is on disk); a request whose answer was lost comes twice."""
    bodies = [corpus.plain_body(f"load-{part}", count=20, padding=400) for part in range(600)]
    events = [event for body in bodies for event in body.events]
    size = 200
    destination = siem(hec, batch={"max_wait": "10ms", "max_events": size}, backoff={"initial": "50ms", "max": "200ms"})
    async with Sink(tmp_path / "sink", [destination]) as sink:
        posting: asyncio.Task[Any] | None = None
        lives = 4
        for life in range(1, lives):
            async with hec.life() as pid:
                posting = posting or asyncio.create_task(sink.apiserver([body.data for body in bodies]))
                await eventually(lambda: len(hec.taken()) >= life * len(events) // (2 * lives))  # noqa: B023 - awaited right here
                os.kill(pid, number)
                await eventually(lambda: not Path(f"/proc/{pid}/fd/0").exists())  # a zombie has none
        async with hec.life():
            assert posting is not None
            await posting
            await sink.delivered()
            await eventually(lambda: set(map(meaning, events)) <= set(arrived(hec.taken())))
            await asyncio.sleep(1)  # the last repeats, if any
            taken = hec.taken()
    found = arrived(taken)
    assert set(found) == set(map(meaning, events))
    repeats = len(taken) - len(found)
    rows(
        server=hec.version,
        thrown=f"{number.name} and restart, {lives - 1} times under load",
        into=len(events),
        out=len(found),
        repeated=repeats,
        note=f"2 requests of at most {size} in flight; its own buffer may repeat too",
    )


async def test_tls_with_a_ca_of_ones_own(tmp_path: Path, hec: FluentBit, rows: Rows) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("hec.example")
    for name, blob in (("ca", authority.cert_pem), ("key", issued.private_key_pem)):
        blob.write_to_path(str(tmp_path / f"{name}.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "crt.pem"))
    tls = {"tls": "on", "tls.crt_file": str(tmp_path / "crt.pem"), "tls.key_file": str(tmp_path / "key.pem")}
    hec.url = hec.url.replace("http:", "https:")
    bodies = list(corpus.bodies("blocking-rr-h1tls"))
    events = [event for body in bodies for event in body.events]
    trust = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "hec.example"}
    async with hec.life(**tls), Sink(tmp_path / "sink", [siem(hec, tls=trust)]) as sink:
        await sink.apiserver([body.data for body in bodies])
        await sink.delivered()
        taken = await written(hec, len(events))
    assert arrived(taken) == Counter(map(meaning, events))
    rows(server=hec.version, thrown="TLS, own CA and server name", into=len(events), out=len(taken))


async def test_requests_larger_than_it_takes_become_smaller(tmp_path: Path, hec: FluentBit, rows: Rows) -> None:
    bodies = list(corpus.bodies("batch-default-mixed-http"))
    events = [event for body in bodies for event in body.events]
    async with (
        hec.life(buffer_max_size="64k"),
        Sink(tmp_path / "sink", [siem(hec, compression="none")]) as sink,
    ):
        await sink.apiserver([body.data for body in bodies])
        status = await sink.delivered()
        taken = await written(hec, len(events))
    one = status["destinations"][0]
    assert (one["delivered"], one["dropped"], one["dead_lettered"]) == (len(events), 0, 0)
    found = arrived(taken)
    assert set(found) == set(map(meaning, events))
    rows(
        server=hec.version,
        thrown="requests over its buffer of 64 kB",
        into=len(events),
        out=len(found),
        repeated=len(taken) - len(found),
    )


async def test_check_tells_a_good_token_from_a_bad_one(tmp_path: Path, hec: FluentBit) -> None:
    config = tmp_path / "config.yaml"

    async def check(token: str) -> tuple[int, str]:
        one = json.dumps(siem(hec, token=token))
        config.write_text(f"spool: {{path: {tmp_path}/spool, max_bytes: 64MiB}}\ndestinations: [{one}]\n")
        command = (*COMMAND, "check", "-c", config, "--connect")
        run = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
        said, _ = await run.communicate()
        assert run.returncode is not None
        return run.returncode, said.decode()

    async with hec.life():
        good = await check(TOKEN)
        bad = await check("wrong-token")
    gone = await check(TOKEN)

    assert (good[0], "siem: takes events" in good[1]) == (0, True), good
    assert (bad[0], "code 4" in bad[1], "wrong-token" in bad[1]) == (1, True, False)
    assert (gone[0], "cannot connect" in gone[1]) == (1, True)


async def test_a_hec_without_acknowledgement_is_told_apart(tmp_path: Path, hec: FluentBit) -> None:
    body = corpus.plain_body("ack")
    async with hec.life(), Sink(tmp_path / "sink", [siem(hec, acknowledge=True)]) as sink:
        await sink.post(body.data)
        status = await sink.until(lambda now: now["destinations"][0]["state"] == "misconfigured")
    assert "ackId" in status["destinations"][0]["last_error"]
    assert status["destinations"][0]["pending"] == len(body.events)

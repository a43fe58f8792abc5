"""A whole sink against a HEC that lies, breaks off, trickles, floods, redirects: each event once, or accounted for."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import corpus
import pytest
from running import Sink, check_accounts

from auditsink.testing.hec import HecServer, html, reply
from auditsink.testing.scripted import Received, Reply

TOKEN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
Cut = Literal["before", "middle"]
CUTS: list[Cut] = ["before", "middle"]
BUSY = [8, 9, 18, 19, 20, 23, 26, 27]


def siem(server: HecServer, **settings: Any) -> dict[str, Any]:
    return {
        "name": "siem",
        "type": "splunk",
        "url": server.url,
        "token": TOKEN,
        "batch": {"max_wait": "10ms", "max_events": 50},
        "backoff": {"initial": "10ms", "max": "20ms"},
    } | settings


def bodies(count: int) -> list[corpus.Body]:
    return [corpus.plain_body(f"hec-{number}", count=10) for number in range(count)]


def events_of(posted: list[corpus.Body]) -> list[bytes]:
    return [event for body in posted for event in body.events]


def taken(server: HecServer) -> Counter[bytes]:
    return Counter(bytes(one.event) for one in server.events)


async def deliver(place: Path, server: HecServer, posted: list[corpus.Body], **settings: Any) -> dict[str, Any]:
    """Post all, wait until nothing is pending; the destination's account."""
    async with Sink(place, [siem(server, **settings)]) as sink:
        await sink.apiserver([body.data for body in posted])
        status = await sink.delivered()
        check_accounts(status)
        assert TOKEN not in str(sink.lines)
    found: dict[str, Any] = status["destinations"][0]
    return found


TROUBLE: list[Reply] = [
    *(reply(code) for code in BUSY),
    *(html(status) for status in (500, 502, 503, 504, 408, 429)),
    *(reply(0, cut=cut, commit=False) for cut in CUTS),
    *(reply(9, retry_after=wish) for wish in ("-1", "nan", "1e9x", "", "Thu, 99 Foo")),
]


async def test_passing_trouble_costs_nothing(tmp_path: Path) -> None:
    """Every busy code, pages of proxies, connections that break off, wishes that make no sense."""
    posted = bodies(40)
    async with HecServer(token=TOKEN, script=TROUBLE) as server:
        account = await deliver(tmp_path, server, posted)
        assert not server.script
    assert taken(server) == Counter(events_of(posted))
    assert account["delivered"] == len(events_of(posted))


@pytest.mark.parametrize("cut", CUTS)
async def test_a_receiver_that_commits_and_breaks_off_gets_that_one_request_again(
    tmp_path: Path, cut: Literal["before", "middle"]
) -> None:
    posted = bodies(20)
    script: list[Reply | None] = [None, reply(0, commit=True, cut=cut)]
    async with HecServer(token=TOKEN, script=script) as server:
        await deliver(tmp_path, server, posted, in_flight=1)
    found = taken(server)
    assert set(found) == set(events_of(posted))
    again = [event for event, times in found.items() if times > 1]
    broken = server.requests[1].body
    assert all(event in broken for event in again)
    assert 0 < sum(found.values()) - len(found) == len(again) <= 50


class Liar(HecServer):
    """Refuses events that hold `bad`, and names another one than that, or none, or what is no number."""

    def __init__(self, number: object) -> None:
        super().__init__(token=TOKEN)
        self.number = number

    async def respond(self, request: Received) -> Reply:
        if request.path.endswith("/event") and b"bad" in request.body:
            number = self.number
            if number == "off by one":
                number = request.body[: request.body.index(b"bad")].count(b'"auditID"')
            return reply(6, number=number)
        return await super().respond(request)


@pytest.mark.parametrize("number", ["off by one", 10**6, -1, "3"])
async def test_a_wrong_event_number_condemns_nobody_else(tmp_path: Path, number: object) -> None:
    bad = corpus.event("refused", b'"bad"')
    posted = [*bodies(10), corpus.Body("bad", corpus.event_list([bad]), [bad]), *bodies(10)]
    posted[11:] = [corpus.plain_body(f"later-{part}", count=10) for part in range(10)]
    async with Liar(number) as server:
        account = await deliver(tmp_path, server, posted)
    good = [event for event in events_of(posted) if event != bad]
    assert taken(server) == Counter(good)
    assert (account["delivered"], account["dead_lettered"]) == (len(good), 1)


async def test_a_firewalls_page_costs_the_event_that_provokes_it(tmp_path: Path) -> None:
    class Firewall(HecServer):
        async def respond(self, request: Received) -> Reply:
            return html(403) if b"<script>" in request.body else await super().respond(request)

    attack = corpus.event("attack", b'"<script>alert(1)</script>"')
    posted = [*bodies(5), corpus.Body("attack", corpus.event_list([attack]), [attack]), corpus.plain_body("after")]
    async with Firewall(token=TOKEN) as server:
        account = await deliver(tmp_path, server, posted)
    assert taken(server) == Counter(event for event in events_of(posted) if event != attack)
    assert (account["dead_lettered"], account["dropped"]) == (1, 0)


@contextlib.asynccontextmanager
async def raw(answers: list[bytes], server: HecServer, *, drip: float = 0.0) -> AsyncIterator[str]:
    """The URL of a port that answers the first requests with bytes, one each, and hands the others to `server`.

    With `drip` the bytes come one by one, so many seconds apart.
    """

    under_way: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        async with contextlib.AsyncExitStack() as closing:
            closing.callback(writer.close)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                if answers:
                    await _say(answers.pop(0), writer, drip)
                    return
                theirs, ours = await asyncio.open_connection("127.0.0.1", server.port)
                closing.callback(ours.close)
                ours.write(head)
                await asyncio.gather(_pump(reader, ours), _pump(theirs, writer))

    port = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with port:
        yield f"http://127.0.0.1:{port.sockets[0].getsockname()[1]}"
        tasks = [task for task in under_way if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _say(answer: bytes, writer: asyncio.StreamWriter, drip: float) -> None:
    for drop in [answer] if drip == 0 else [answer[at : at + 1] for at in range(len(answer))]:
        writer.write(drop)
        await writer.drain()
        await asyncio.sleep(drip)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await source.read(65536):
            target.write(block)
            await target.drain()
        target.write_eof()


async def test_floods_and_nonsense_cost_neither_memory_nor_events(tmp_path: Path) -> None:
    flood = b"HTTP/1.1 503 Busy\r\nContent-Length: 104857600\r\n\r\n" + b"x" * 104_857_600
    answers = [
        flood,
        b"HTTP/1.1 503 Busy\r\n" + b"X-More: y\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 99999 ?\r\n\r\n",
        b"",
    ]
    posted = bodies(20)
    async with (
        HecServer(token=TOKEN) as server,
        raw(answers, server) as url,
        Sink(tmp_path, [siem(server, url=url)]) as sink,
    ):
        await sink.post(posted[0].data)
        before = sink.resident
        await sink.apiserver([body.data for body in posted[1:]])
        status = await sink.delivered()
        assert sink.peak - before < 48 * 2**20
    assert not answers
    assert taken(server) == Counter(events_of(posted))
    assert status["destinations"][0]["dropped"] == 0


async def test_an_answer_that_trickles_ends_with_the_timeout(tmp_path: Path) -> None:
    """A drop before each timeout of a read would keep a request alive for ever; the whole request has one."""
    posted = bodies(5)
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"x" * 9999]
    async with HecServer(token=TOKEN) as server, raw(answers, server, drip=0.05) as url:
        account = await deliver(tmp_path, server, posted, timeout="6s", url=url)
    assert taken(server) == Counter(events_of(posted))
    assert account["delivered"] == 50


async def test_a_redirect_is_never_followed_and_pauses(tmp_path: Path) -> None:
    async with HecServer(token=TOKEN) as elsewhere:
        moved = Reply(307, headers={"Location": f"{elsewhere.url}/services/collector/event"})
        async with HecServer(token=TOKEN, script=[moved] * 100) as server, Sink(tmp_path, [siem(server)]) as sink:
            body = bodies(1)[0]
            await sink.post(body.data)
            status = await sink.until(lambda now: now["destinations"][0]["state"] == "misconfigured")
            assert "redirects are not followed" in status["destinations"][0]["last_error"]
            assert status["destinations"][0]["pending"] == len(body.events)
    assert elsewhere.requests == []

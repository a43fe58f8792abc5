"""The tail, single events and dead letters as a client of the admin port sees them, on a whole sink."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from corpus import bodies, event_list

from auditsink import load
from auditsink.admin import stream as module
from auditsink.admin.content import MOST_LISTENERS
from auditsink.admin.pages import FILES
from auditsink.delivery.destination import Batch
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letters import DeadLetters, place
from auditsink.service import Sink

TOKEN = "0123456789abcdef-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@asynccontextmanager
async def running(place: Path, *, token: bool, listen: str = "127.0.0.1") -> AsyncIterator[Sink]:
    (place / "token").write_text(TOKEN)
    config = {
        "receive": {"listen": "127.0.0.1:0"},
        "spool": {"path": str(place / "spool"), "max_bytes": "64MiB"},
        "admin": {"listen": f"{listen}:0"} | ({"token_file": str(place / "token")} if token else {}),
        "destinations": [{"name": "disk", "type": "file", "path": str(place / "audit.ndjson")}],
    }
    sink = Sink(load.parse(json.dumps(config).encode(), "f.yaml", {}))
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop(2.0)


async def ask(
    sink: Sink, path: str, *, headers: dict[str, str] | None = None, **body: Any
) -> tuple[int, dict[str, str], bytes]:
    method = "POST" if body else "GET"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, sink.addresses()["admin"] + path, headers=headers, **body) as answer,
    ):
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()


async def post(sink: Sink, body: bytes, cluster: str = "prod") -> None:
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{sink.addresses()['receive']}/{cluster}", data=body)
        assert answer.status == 200


async def test_the_newest_events_are_told_and_fetched_byte_for_byte(tmp_path: Path) -> None:
    body = next(iter(bodies("hostile-patches")))
    async with running(tmp_path, token=False) as sink:
        await post(sink, body.data)
        code, _, content = await ask(sink, "/tail?last=1000")
        assert code == 200
        lines = [json.loads(line) for line in content.splitlines()]
        assert lines[0] == {"looked_at": len(body.events)}
        for line in lines[1:]:
            code, headers, event = await ask(sink, f"/event?cluster=prod&sequence={line['sequence']}")
            assert (code, event) == (200, body.events[line["sequence"]])
            assert headers["x-auditsink-bytes"] == str(len(event))
            assert (await ask(sink, f"/event?cluster=prod&sequence={line['sequence']}&most=3"))[2] == event[:3]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/tail?last=-1", 400), ("/tail?last=x", 400), ("/tail?last=9999999", 400), ("/tail?last=99999", 200),
        ("/tail?last=%C2%B2", 400), (f"/tail?user={'x' * 300}", 400), ("/event", 400),
        ("/event?cluster=none&sequence=0", 400),
        ("/event?cluster=prod&sequence=-1", 400), ("/event?cluster=prod&sequence=1", 404),
        ("/event?cluster=prod&sequence=18446744073709551615", 400), ("/event?cluster=../prod&sequence=0", 400),
        ("/letters/event?destination=..%2F..&id=a", 404),
    ],
)  # fmt: skip
async def test_odd_questions_get_an_answer(tmp_path: Path, path: str, code: int) -> None:
    async with running(tmp_path, token=False) as sink:
        await post(sink, event_list([b'{"verb":"get"}']))
        assert (await ask(sink, path))[0] == code


async def test_content_and_changes_need_the_token(tmp_path: Path) -> None:
    change = {"destination": "disk", "ids": None}
    async with running(tmp_path, token=True) as sink:
        for path in ("/tail", "/event?cluster=prod&sequence=0", "/letters", "/letters/event"):
            code, headers, _ = await ask(sink, path)
            assert (code, headers["www-authenticate"]) == (401, 'Bearer realm="auditsink"')
        assert (await ask(sink, "/tail", headers=BEARER))[0] == 200
        assert (await ask(sink, "/letters/drop", json=change))[0] == 401
        assert (await ask(sink, "/letters/drop", json=change, headers=BEARER))[::2] == (200, b'{"dropped":0}')
        told = json.loads((await ask(sink, "/letters/replay", json=change, headers=BEARER))[2])
        assert told == {"delivered": 0, "of": 0, "refused": [], "stopped": None}


async def test_on_the_network_content_is_not_shown_without_a_token(tmp_path: Path) -> None:
    async with running(tmp_path, token=False, listen="0.0.0.0") as sink:
        assert (await ask(sink, "/status"))[0] == 200
        assert (await ask(sink, "/tail"))[0] == 403
        assert json.loads((await ask(sink, "/access"))[2]) == {"token": False, "open": False}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"destination":"disk"}', b'{"destination":1,"ids":[]}', b"\xff" * 9]
)
async def test_a_change_says_what_it_means(tmp_path: Path, body: bytes) -> None:
    headers = BEARER | {"Content-Type": "application/json"}
    async with running(tmp_path, token=True) as sink:
        for path in ("/letters/drop", "/letters/replay"):
            assert (await ask(sink, path, data=body, headers=headers))[0] == 400
        assert (await ask(sink, "/letters/drop", data=b"x" * 100_000, headers=headers))[0] == 413


async def test_dead_letters_are_grouped_by_reason_and_dropped_by_group(tmp_path: Path) -> None:
    letters = [refused(n, "prod" if n % 3 else "test", f"HTTP {400 + n % 2}") for n in range(12)]
    async with running(tmp_path, token=True) as sink:
        queue = DeadLetters(place(tmp_path / "spool", "disk"))
        await asyncio.to_thread(queue.append, letters)
        (listed,) = json.loads((await ask(sink, "/letters", headers=BEARER))[2])["destinations"]
        first, second = listed["groups"]
        assert (first["reason"], first["count"], first["clusters"]) == ("HTTP 400", 6, {"prod": 4, "test": 2})
        assert (second["reason"], second["count"], listed["count"], listed["ungrouped"]) == ("HTTP 401", 6, 12, 0)
        assert datetime.fromisoformat(first["since"]) == letters[0].refused_at

        async def dropped(**choice: object) -> tuple[int, bytes]:
            body = {"destination": "disk", "ids": None, **choice}
            return (await ask(sink, "/letters/drop", json=body, headers=BEARER))[::2]

        assert (await dropped(reason="HTTP 4"))[1] == b'{"dropped":0}'
        assert (await dropped(reason="HTTP 400", cluster="test"))[1] == b'{"dropped":2}'
        assert (await dropped(reason="HTTP 400", refused_until=second["since"]))[1] == b'{"dropped":0}'
        assert (await dropped(reason="HTTP 400", refused_until="2026-01-01T00:00:00"))[0] == 400
        # One that came after somebody looked is not meant.
        await asyncio.to_thread(queue.append, [refused(12, "prod", "HTTP 400")])
        assert (await dropped(reason="HTTP 400", refused_until=first["last"]))[1] == b'{"dropped":4}'
        left = [(one.sequence, one.reason) for one in queue]
        assert left == [(n, "HTTP 401") for n in range(1, 12, 2)] + [(12, "HTTP 400")]
        assert (await dropped())[1] == b'{"dropped":7}'


def refused(number: int, cluster: str, reason: str) -> DeadLetter:
    batch = Batch(cluster, "", [b'{"n":%d}' % number], [number], 10**18)
    return DeadLetter.of("disk", batch, 0, reason, 10**18 + number * 10**9)


async def test_an_unknown_destination_cannot_be_replayed(tmp_path: Path) -> None:
    change = {"destination": "gone", "ids": None}
    async with running(tmp_path, token=True) as sink:
        assert (await ask(sink, "/letters/replay", json=change, headers=BEARER))[0] == 409


async def test_listeners_are_bounded_and_end_with_the_sink(tmp_path: Path) -> None:
    async with running(tmp_path, token=False) as sink, aiohttp.ClientSession() as session:
        url = sink.addresses()["admin"] + "/tail?follow=1&last=1"
        streams = [await session.get(url) for _ in range(MOST_LISTENERS)]
        assert {stream.status for stream in streams} == {200}
        async with session.get(url) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        streams.pop().close()
        async with asyncio.timeout(30):
            while (again := await session.get(url)).status == 503:  # noqa: ASYNC110 - the server notices when it does
                await asyncio.sleep(0.02)
        streams.append(again)
        await post(sink, event_list([b'{"verb":"get"}']))
        first = await streams[0].content.readline()
        assert json.loads(first) == {"looked_at": 0}
        assert json.loads(await streams[0].content.readline())["verb"] == "get"
        await sink.stop(2.0)
        async with asyncio.timeout(30):
            await streams[1].content.read()
        for stream in streams:
            stream.close()


async def test_the_live_status_is_one_document_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 3600.0)
    async with running(tmp_path, token=False) as sink, aiohttp.ClientSession() as session:
        streams = [await session.get(sink.addresses()["admin"] + "/stream") for _ in range(3)]
        documents = [await stream.content.readline() for stream in streams]
        assert documents[0].startswith(b"data: {")
        assert json.loads(documents[0][6:])["destinations"][0]["name"] == "disk"
        assert len(set(documents)) == 1
        for stream in streams:
            stream.close()
        history = json.loads((await ask(sink, "/history"))[2])
        assert history["fine"]["destinations"][0]["name"] == "disk"


@pytest.mark.parametrize(
    "path", ["/page/../server.py", "/page/..%2fserver.py", "/page/%2e%2e/server.py", "/page/x.js", "/page/"]
)
async def test_only_the_pages_own_files_are_served(tmp_path: Path, path: str) -> None:
    async with running(tmp_path, token=False) as sink:
        host, port = sink.addresses()["admin"].removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"import" not in answer


async def test_the_whole_of_the_page_is_there(tmp_path: Path) -> None:
    async with running(tmp_path, token=False) as sink:
        for name, kind in FILES.items():
            code, headers, content = await ask(sink, f"/page/{name}")
            assert (code, headers["content-type"], bool(content)) == (200, kind, True)
            assert b"unsafe" not in headers["content-security-policy"].encode()
        directory = Path(load.__file__).parents[1] / "admin" / "page"
        assert {file.name for file in directory.iterdir()} == set(FILES)

"""OAuth2 client credentials against a token server that answers by script (RFC 6749), and what its answers mean."""

import contextlib
import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from destinationkit import batch, event

from auditsink.common.secret import Secret
from auditsink.common.units import Duration
from auditsink.config import HttpAuth, HttpConfig, OAuth2
from auditsink.delivery.destination import DestinationError
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry
from auditsink.destinations.authorization import Token, read
from auditsink.destinations.http import HttpDestination
from auditsink.http.answers import HttpAnswer
from auditsink.testing.clock import FakeClock
from auditsink.testing.collector import Collector
from auditsink.testing.scripted import Received, Reply, ScriptedServer

CLIENT_SECRET = "s3cr3t+/ö"


class TokenServer(ScriptedServer):
    """Gives `token-1`, `token-2` and so on to whoever shows the secret."""

    def __init__(self, *, lifetime: object = 3600, script: tuple[Reply | None, ...] = ()) -> None:
        super().__init__(script=script)
        self.given = 0
        self._lifetime = lifetime

    @property
    def forms(self) -> list[dict[str, list[str]]]:
        return [parse_qs(request.body.decode()) for request in self.requests]

    async def respond(self, request: Received) -> Reply:
        self.given += 1
        lifetime = {} if self._lifetime is None else {"expires_in": self._lifetime}
        document = {"access_token": f"token-{self.given}", "token_type": "Bearer"} | lifetime
        return Reply(200, json.dumps(document).encode())


class Hook(Collector):
    """A collector that takes the tokens in `good`."""

    def __init__(self, *good: str, refusal: int = 401) -> None:
        super().__init__()
        self.good = set(good)
        self.refusal = refusal

    async def respond(self, request: Received) -> Reply:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.good:
            return Reply(self.refusal)
        return await super().respond(request)


class Sending:
    """A destination, its clock, and one batch after the other."""

    def __init__(self, hook: Hook, tokens: TokenServer, **settings: Any) -> None:
        self.clock = FakeClock()
        oauth2 = OAuth2(
            **{
                "token_url": f"{tokens.url}/token",
                "client_id": "sink",
                "client_secret": Secret(CLIENT_SECRET),
                **settings,
            }
        )
        config = HttpConfig(name="hook", url=hook.url, auth=HttpAuth(oauth2=oauth2), timeout=Duration(60))
        self.destination = HttpDestination(config, self.clock)

    async def send(self) -> Outcome:
        attempt = await self.destination.prepare(batch([event()]))
        return await attempt()


@contextlib.asynccontextmanager
async def sending(hook: Hook, tokens: TokenServer, **settings: Any) -> AsyncIterator[Sending]:
    async with hook, tokens:
        made = Sending(hook, tokens, **settings)
        try:
            yield made
        finally:
            await made.destination.close()


async def test_a_token_is_fetched_once_and_shown_with_every_request() -> None:
    tokens = TokenServer()
    async with sending(Hook("token-1"), tokens, scope="audit.write", audience="siem") as sink:
        assert [await sink.send() for _ in range(3)] == [Delivered()] * 3

    assert tokens.forms == [{"grant_type": ["client_credentials"], "scope": ["audit.write"], "audience": ["siem"]}]
    encoded = b64encode(b"sink:s3cr3t%2B%2F%C3%B6").decode()
    assert tokens.requests[0].headers["authorization"] == f"Basic {encoded}"


async def test_the_secret_may_go_in_the_form() -> None:
    tokens = TokenServer()
    async with sending(Hook("token-1"), tokens, send_as="post") as sink:
        assert await sink.send() == Delivered()

    assert tokens.forms == [
        {"grant_type": ["client_credentials"], "client_id": ["sink"], "client_secret": [CLIENT_SECRET]}
    ]
    assert "authorization" not in tokens.requests[0].headers


async def test_the_secret_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old\n")
    tokens = TokenServer(lifetime=10)
    async with sending(
        Hook("token-1", "token-2"), tokens, client_secret=None, client_secret_file=file, send_as="post"
    ) as sink:
        await sink.send()
        file.write_text("newer\n")
        await sink.clock.advance(10)
        await sink.send()

    assert [form["client_secret"] for form in tokens.forms] == [["old"], ["newer"]]


@pytest.mark.parametrize(("lifetime", "kept"), [(3600, 3539), ("3600", 3539), (60, 29), (None, 10**9)])
async def test_a_token_is_renewed_before_its_end(lifetime: object, kept: int) -> None:
    tokens = TokenServer(lifetime=lifetime)
    async with sending(Hook("token-1", "token-2"), tokens) as sink:
        await sink.send()
        await sink.clock.advance(kept)
        await sink.send()
        assert tokens.given == 1
        await sink.clock.advance(2)
        assert await sink.send() == Delivered()
        assert tokens.given == (1 if lifetime is None else 2)


async def test_a_token_that_is_refused_is_fetched_anew_once() -> None:
    tokens = TokenServer()
    async with sending(Hook("token-2"), tokens) as sink:
        assert await sink.send() == Delivered()
        assert tokens.given == 2


async def test_a_new_token_that_is_refused_too_needs_a_person() -> None:
    tokens, hook = TokenServer(), Hook()
    async with sending(hook, tokens) as sink:
        assert isinstance(await sink.send(), Misconfigured)
        assert (tokens.given, len(hook.requests)) == (2, 2)


async def test_a_token_that_has_run_out_is_fetched_anew_where_that_is_told_by_403() -> None:
    """Azure says so, and a token server need not say how long its tokens live: it would be shown for ever."""
    tokens, hook = TokenServer(lifetime=None), Hook("token-1", refusal=403)
    async with sending(hook, tokens) as sink:
        assert await sink.send() == Delivered()
        await sink.clock.advance(3600)
        hook.good = {"token-2"}
        assert await sink.send() == Delivered()
    assert tokens.given == 2


async def test_a_403_to_a_new_token_is_about_rights_and_fetches_none() -> None:
    tokens = TokenServer()
    async with sending(Hook(refusal=403), tokens) as sink:
        for _ in range(3):
            assert isinstance(await sink.send(), Misconfigured)
    assert tokens.given == 1


async def test_while_the_token_server_is_down_the_old_token_serves_to_its_end() -> None:
    tokens = TokenServer(script=(None, Reply(503), Reply(503)))
    async with sending(Hook("token-1", "token-2"), tokens) as sink:
        await sink.send()
        await sink.clock.advance(3545)
        assert [await sink.send() for _ in range(3)] == [Delivered()] * 3
        assert len(tokens.requests) == 2  # it is not asked again at once
        await sink.clock.advance(60)
        assert isinstance(await sink.send(), Retry)
        assert await sink.send() == Delivered()
        assert tokens.given == 2


async def test_a_token_server_that_is_not_there_is_tried_again() -> None:
    hook, tokens = Hook(), TokenServer()
    async with sending(hook, tokens) as sink:
        await tokens.stop()
        found = await sink.send()
    assert isinstance(found, Retry)
    assert found.why.startswith("no token from the token server: http://127.0.0.1:")
    assert hook.requests == []


def error(status: int, name: str, **headers: str) -> HttpAnswer:
    return HttpAnswer(status, headers, json.dumps({"error": name, "error_description": "because"}).encode())


@pytest.mark.parametrize("name", ["invalid_client", "invalid_request", "invalid_scope", "unauthorized_client"])
@pytest.mark.parametrize("status", [400, 401])
def test_what_the_token_server_refuses_needs_a_person(status: int, name: str) -> None:
    assert read(error(status, name)) == Misconfigured(f"the token server refuses: {name} because; check auth.oauth2")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (error(400, "temporarily_unavailable"), Retry),
        (error(400, "server_error"), Retry),
        (HttpAnswer(429, {}, b""), Retry),
        (HttpAnswer(500, {}, b"<html>"), Retry),
        (HttpAnswer(503, {}, b""), Retry),
        (HttpAnswer(400, {}, b"<html>"), Misconfigured),
        (HttpAnswer(302, {}, b""), Misconfigured),
        (HttpAnswer(404, {}, b""), Misconfigured),
        (HttpAnswer(413, {}, b""), Misconfigured),
        (HttpAnswer(200, {}, b"<html>"), Misconfigured),
        (HttpAnswer(200, {}, b"{}"), Misconfigured),
        (HttpAnswer(200, {}, b"[" * 100_000), Misconfigured),
        (HttpAnswer(200, {}, b'{"access_token":"a b"}'), Misconfigured),
        (HttpAnswer(200, {}, b'{"access_token":"a\\r\\nX: y"}'), Misconfigured),
        (HttpAnswer(200, {}, b'{"access_token":"a","token_type":"mac"}'), Misconfigured),
        (HttpAnswer(200, {}, b'{"access_token":"a","expires_in":"soon"}'), Misconfigured),
        (HttpAnswer(200, {}, b'{"access_token":"a","token_type":"bearer","expires_in":"60"}'), Token),
    ],
)
def test_other_answers_of_a_token_server(given: HttpAnswer, kind: type) -> None:
    assert isinstance(read(given), kind)


@pytest.mark.parametrize("lifetime", [-5, 0])
async def test_a_token_that_is_over_when_it_comes_is_used_once(lifetime: float) -> None:
    tokens = TokenServer(lifetime=lifetime)
    async with sending(Hook("token-1", "token-2"), tokens) as sink:
        assert [await sink.send(), await sink.send()] == [Delivered()] * 2
    assert tokens.given == 2


async def test_nothing_tells_the_secret_or_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = TokenServer(script=(Reply(401, json.dumps({"error": "invalid_client"}).encode()), None))
    said = []
    async with sending(Hook(), tokens, send_as="post") as sink:
        said += [await sink.send(), await sink.send(), repr(vars(sink.destination))]
    told = f"{said} {caplog.text}"
    assert "invalid_client" in told
    assert "s3cr3t" not in told
    assert "token-1" not in told


def test_a_missing_secret_file_names_its_key(tmp_path: Path) -> None:
    oauth2 = OAuth2(token_url="https://h/t", client_id="c", client_secret_file=tmp_path / "none")
    with pytest.raises(DestinationError, match=r"destinations\[hook\]\.auth\.oauth2\.client_secret_file: "):
        HttpDestination(HttpConfig(name="hook", url="http://h", auth=HttpAuth(oauth2=oauth2)), FakeClock())

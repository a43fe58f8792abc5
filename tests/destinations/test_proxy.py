"""Through a proxy: CONNECT for https, the whole address for http, its credentials, its refusals."""

import asyncio
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import trustme
from destinationkit import batch, event
from proxykit import SmallProxy

from auditsink.common.secret import Secret
from auditsink.config import ClientTls, HttpConfig, Proxy, SplunkConfig
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause
from auditsink.destinations import build
from auditsink.testing.clock import FakeClock
from auditsink.testing.collector import Collector
from auditsink.testing.hec import HecServer

BASIC = "Basic " + b64encode(b"jane:p4ssword").decode()


def secure(folder: Path) -> tuple[ssl.SSLContext, ClientTls]:
    """A server's context for 127.0.0.1, and what a client needs to trust it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return context, ClientTls(ca_file=folder / "ca.pem")


async def deliver(url: str, proxy: Proxy, count: int = 1, **settings: Any) -> Outcome:
    """The outcome of the last of so many batches."""
    destination = build(HttpConfig(name="hook", url=url, proxy=proxy, **settings), clock=FakeClock())
    try:
        for number in range(count):
            attempt = await destination.prepare(batch([event(number)]))
            outcome = await attempt()
    finally:
        await destination.close()
    return outcome


async def test_https_goes_through_a_tunnel_that_shows_the_proxy_nothing(tmp_path: Path) -> None:
    context, tls = secure(tmp_path)
    async with Collector(tls=context) as server, SmallProxy() as proxy:
        assert await deliver(server.url, Proxy(url=proxy.url), count=2, tls=tls) == Delivered()

    assert proxy.asked == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]
    assert server.events == [event(0), event(1)]
    assert b"auditID" not in proxy.seen


async def test_http_goes_through_with_its_whole_address() -> None:
    async with Collector() as server, SmallProxy() as proxy:
        assert await deliver(f"{server.url}/x?y=z", Proxy(url=proxy.url)) == Delivered()

    assert proxy.asked == [f"POST {server.url}/x?y=z HTTP/1.1"]
    assert server.events == [event(0)]


@pytest.mark.parametrize("over_tls", [True, False])
async def test_credentials_go_to_the_proxy_and_not_beyond(tmp_path: Path, over_tls: bool) -> None:
    context, tls = secure(tmp_path)
    settings: dict[str, Any] = {"tls": tls} if over_tls else {}
    with_password: dict[str, Any] = {"username": "jane", "password": Secret("p4ssword")}
    async with Collector(tls=context if over_tls else None) as server, SmallProxy(credentials=BASIC) as proxy:
        refused = await deliver(server.url, Proxy(url=proxy.url), **settings)
        assert await deliver(server.url, Proxy(url=proxy.url, **with_password), count=3, **settings) == Delivered()

    assert isinstance(refused, Misconfigured)
    assert "407" in refused.why
    assert "proxy.username" in refused.why
    assert proxy.shown[-1] == BASIC
    assert all("proxy-authorization" not in request.headers for request in server.requests)


@pytest.mark.parametrize(("status", "kind"), [(403, Misconfigured), (502, Retry), (503, Retry), (429, Retry)])
async def test_what_a_proxy_refuses_is_told(tmp_path: Path, status: int, kind: type[Misconfigured | Retry]) -> None:
    context, tls = secure(tmp_path)
    secret = Proxy(url="http://x", username="jane", password=Secret("p4ssword"))
    async with Collector(tls=context) as server, SmallProxy(refuse=status) as proxy:
        settings = Proxy(url=proxy.url, username=secret.username, password=secret.password)
        outcome = await deliver(server.url, settings, tls=tls)

    assert isinstance(outcome, kind)
    assert f"the proxy answers HTTP {status}" in outcome.why
    assert "p4ss" not in outcome.why
    assert server.requests == []


@pytest.mark.parametrize("status", [401, 407])
async def test_a_wrong_password_is_told_as_one(tmp_path: Path, status: int) -> None:
    context, tls = secure(tmp_path)
    async with Collector(tls=context) as server, SmallProxy(refuse=status) as proxy:
        outcome = await deliver(server.url, Proxy(url=proxy.url), tls=tls)
    assert isinstance(outcome, Misconfigured)
    assert "proxy.username" in outcome.why


async def test_a_proxy_that_is_not_there_is_tried_again() -> None:
    async with SmallProxy() as proxy:
        pass
    outcome = await deliver("http://collector.invalid/", Proxy(url=proxy.url))
    assert outcome == Retry(
        "http://collector.invalid: cannot connect to its proxy (Connection refused)", cause=RetryCause.ELSEWHERE
    )


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n"])
async def test_a_proxy_that_breaks_off_casts_no_suspicion_on_the_batch(said: bytes, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy = Proxy(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        outcome = await deliver("https://collector.invalid/", proxy, tls=secure(tmp_path)[1])
    assert isinstance(outcome, Retry)
    assert outcome.cause is RetryCause.ELSEWHERE


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Collector() as server, SmallProxy() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        destination = build(HttpConfig(name="hook", url=server.url), clock=FakeClock())
        attempt = await destination.prepare(batch([event()]))
        assert await attempt() == Delivered()
        await destination.close()
    assert proxy.asked == []


async def test_splunk_goes_through_a_proxy_too() -> None:
    token = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    async with HecServer(token=token) as server, SmallProxy(credentials=BASIC) as proxy:
        settings = Proxy(url=proxy.url, username="jane", password=Secret("p4ssword"))
        destination = build(
            SplunkConfig(name="siem", url=server.url, token=Secret(token), proxy=settings), clock=FakeClock()
        )
        attempt = await destination.prepare(batch([event()]))
        assert await attempt() == Delivered()
        await destination.close()
    assert proxy.asked == [f"POST {server.url}/services/collector/event HTTP/1.1"]
    assert [bytes(one.event) for one in server.events] == [event()]

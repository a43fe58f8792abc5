"""Through tinyproxy, which wants a password."""

import contextlib
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import corpus
import pytest
import trustme
from ground import free_port, listens, running, tool
from rows import Rows
from running import Sink

from auditsink.testing.collector import Collector

_SETTINGS = """
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 20
BasicAuth jane p4ssword
LogLevel Info
"""


@contextlib.asynccontextmanager
async def tinyproxy(place: Path) -> AsyncIterator[str]:
    """The proxy, running; its URL. What it did stands in `tinyproxy.out`."""
    program = tool("tinyproxy", "apt-get install tinyproxy")
    port = free_port()
    settings = place / "tinyproxy.conf"
    settings.write_text(_SETTINGS.format(port=port))
    async with running([program, "-d", "-c", settings], place / "tinyproxy.out", lambda: listens(port)):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.quick
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_every_event_comes_through_the_proxy(tmp_path: Path, rows: Rows, scheme: str) -> None:
    bodies = [corpus.plain_body(f"id-{number}", 20) for number in range(20)]
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with Collector(tls=context if scheme == "https" else None) as end, tinyproxy(tmp_path) as proxy:
        password = {"url": proxy, "username": "jane", "password": "p4ssword"}
        destinations = [
            {"name": "right", "type": "http", "url": end.url, "proxy": password, "batch": {"max_events": 30}},
            {"name": "wrong", "type": "http", "url": end.url, "proxy": password | {"password": "an0ther-one"}},
        ]
        if scheme == "https":
            destinations = [one | {"tls": {"ca_file": str(tmp_path / "ca.pem")}} for one in destinations]
        async with Sink(tmp_path / "sink", destinations) as sink:
            await sink.apiserver([body.data for body in bodies])
            status = await sink.until(
                lambda found: (
                    found["destinations"][0]["pending"] == 0 and found["destinations"][1]["state"] == "misconfigured"
                )
            )
    right, wrong = status["destinations"]
    events = [event for body in bodies for event in body.events]
    assert end.events == events
    assert (right["delivered"], wrong["pending"]) == (len(events), len(events))
    assert ("proxy.username" if scheme == "https" else "a proxy in between") in wrong["last_error"]
    assert all("proxy-authorization" not in request.headers for request in end.requests)
    said = f"{sink.lines} {status}"
    assert not any(secret in said for secret in ("p4ssword", "an0ther", b64encode(b"jane:p4ssword").decode()))
    asked = (tmp_path / "tinyproxy.out").read_text()
    assert "CONNECT" in asked if scheme == "https" else "POST" in asked
    rows(server="tinyproxy", thrown=f"{scheme}, a right and a wrong password", into=len(events), out=len(end.events))

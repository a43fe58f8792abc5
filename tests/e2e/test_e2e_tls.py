"""A real sink's HTTPS under attack: what it negotiates, whose certificates it takes, and certificates that change."""

import asyncio
import socket
import ssl
import subprocess
import warnings
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import corpus
import pytest
import trustme
from running import Sink, eventually

from auditsink.apiserver.webhook import Webhook, tls_context

TODAY = datetime.now(UTC)
MODERN = {
    f"ECDHE-RSA-{rest}" for rest in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
}  # with an RSA certificate; ECDHE-ECDSA-* with the other kind
ROTATIONS = 3
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Ground:
    """The sink's files, and clients of all kinds."""

    def __init__(self, place: Path, kind: trustme.KeyType = trustme.KeyType.ECDSA) -> None:
        self.place = place
        self.ca, self.client_ca = trustme.CA(), trustme.CA()
        self._kind = kind
        self.renew()

    def renew(self) -> None:
        """A new certificate for the sink, and whatever `client_ca` is now."""
        issued = self.ca.issue_cert("127.0.0.1", "localhost", key_type=self._kind)
        issued.private_key_pem.write_to_path(self.place / "tls.key")
        issued.cert_chain_pems[0].write_to_path(self.place / "tls.crt")
        self.trust(self.client_ca)

    def trust(self, *client_cas: trustme.CA) -> None:
        """Whose clients come in from now on."""
        (self.place / "ca.crt").write_bytes(b"".join(one.cert_pem.bytes() for one in client_cas))

    def sink(self, *, clients: bool = False, **sections: Any) -> Sink:
        """With HTTPS; `clients`: they must show a certificate."""
        names = {"cert_file": "tls.crt", "key_file": "tls.key"} | ({"client_ca_file": "ca.crt"} if clients else {})
        tls = {key: str(self.place / name) for key, name in names.items()}
        disk = {"name": "disk", "type": "file", "path": str(self.place / "audit.ndjson")}
        return Sink(self.place / "sink", [disk], receive={"tls": tls}, **sections)

    def client(self, shown: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """What a client brings along."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if shown is not None:
            shown.configure_cert(context)
        return context


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def is_welcome(sink: Sink, context: ssl.SSLContext) -> bool:
    return ask(sink, context)[0] == 200


def ask(
    sink: Sink, context: ssl.SSLContext, path: str = "", *, name: str | None = "localhost", session: Any = None
) -> tuple[int, Any]:
    """Post on a connection of its own; the status (0: nobody let it in) and the session."""
    parts = urlsplit(sink.receive)
    body = corpus.plain_body("tls").data
    head = f"POST {parts.path}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=name, session=session) as wire,
        ):
            wire.sendall(head.encode() + body)
            answer = wire.recv(65536)
            return int(answer.split()[1]) if answer else 0, wire.session
    except (ssl.SSLError, ConnectionError):
        return 0, None


def offered(context: ssl.SSLContext, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """The context with that and nothing else to offer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1: that is what is tried
        context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    return context


def every_cipher() -> list[str]:
    """Of TLS 1.2 and before, as far as this OpenSSL can speak them, the broken ones included."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return [one["name"] for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]


async def test_only_modern_tls_is_spoken(tmp_path: Path) -> None:
    """Each cipher alone, each old version, no SNI, and another negotiation on a connection that is open."""
    ground = Ground(tmp_path, trustme.KeyType.RSA)
    async with ground.sink() as sink:

        async def status(version: ssl.TLSVersion, ciphers: str) -> int:
            return (await asyncio.to_thread(ask, sink, offered(ground.client(), version, ciphers)))[0]

        taken = {one for one in every_cipher() if await status(ssl.TLSVersion.TLSv1_2, f"{one}:@SECLEVEL=0") == 200}
        assert taken == MODERN
        for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            assert await status(old, "ALL:@SECLEVEL=0") == 0
        assert await status(ssl.TLSVersion.TLSv1_3, "ALL") == 200
        nameless = ground.client()
        nameless.check_hostname = False
        assert (await asyncio.to_thread(ask, sink, nameless, name=None))[0] == 200
        said = await asyncio.to_thread(renegotiate, sink)
        assert "no renegotiation" in said
        assert (await asyncio.to_thread(ask, sink, ground.client()))[0] == 200


def renegotiate(sink: Sink) -> str:
    """What `openssl s_client` says when it asks for another negotiation."""
    address = urlsplit(sink.receive).netloc
    command = ["openssl", "s_client", "-connect", address, "-tls1_2"]
    return subprocess.run(command, input="R\n", capture_output=True, text=True, timeout=60, check=False).stderr


def refused(ground: Ground) -> dict[str, trustme.LeafCert | None]:
    """Certificates that nobody may come in with."""
    own, stranger = ground.client_ca, trustme.CA()
    good = own.issue_cert("apiserver")
    padding = [stranger.cert_pem.bytes()] * 400  # past the 100 kB that OpenSSL takes
    endless = trustme.LeafCert(good.private_key_pem.bytes(), good.cert_chain_pems[0].bytes(), padding)
    return {
        "none": None,
        "of another CA": stranger.issue_cert("apiserver"),
        "run out": own.issue_cert("apiserver", not_before=TODAY - timedelta(9), not_after=TODAY - timedelta(1)),
        "not yet valid": own.issue_cert("apiserver", not_before=TODAY + timedelta(1), not_after=TODAY + timedelta(9)),
        "of the server's CA": ground.ca.issue_cert("apiserver"),
        "with a chain of 400": endless,
        "of a CA with the same name": _same_name(own).issue_cert("apiserver"),
    }


def _same_name(ca: trustme.CA) -> trustme.CA:
    """Another key under the same subject."""
    fake = trustme.CA()
    fake._certificate = ca._certificate
    return fake


async def test_only_certificates_of_the_client_ca_come_in_and_only_for_their_cluster(ground: Ground) -> None:
    """And the port goes on for those who may."""
    members = [{"name": "prod", "certificates": ["cn:prod"]}, {"name": "test", "certificates": ["cn:test"]}]
    prod = ground.client_ca.issue_cert("apiserver", common_name="prod")
    nobody = ground.client_ca.issue_cert("apiserver", common_name="prod.example")
    async with ground.sink(clients=True, clusters={"members": members}) as sink:

        async def status(shown: trustme.LeafCert | None, path: str = "") -> int:
            return (await asyncio.to_thread(ask, sink, ground.client(shown), path))[0]

        assert {name: await status(one) for name, one in refused(ground).items()} == dict.fromkeys(refused(ground), 0)
        assert [await status(prod), await status(prod, "/prod"), await status(prod, "/test")] == [200, 200, 403]
        assert await status(nobody) == 403
        rejected = (await sink.status())["rejected_requests"]
        assert (rejected["tls"], rejected["forbidden"]) == (len(refused(ground)), 2)
        assert [one["cluster"] for one in (await sink.status())["clusters"]] == ["prod"]


async def test_a_client_that_shows_no_certificate_is_told_that_it_is_tls(ground: Ground) -> None:
    """`auditsink send` ends at once then, and says so."""
    async with (
        ground.sink(clients=True) as sink,
        Webhook(sink.receive.replace("127.0.0.1", "localhost"), tls=ground.client()) as webhook,
    ):
        answer = await webhook.post(corpus.plain_body("tls").data, 30)
    assert (answer.status, answer.tls) == (0, True)
    assert "CERTIFICATE_REQUIRED" in answer.problem


async def test_certificates_change_under_load_and_no_request_fails(ground: Ground) -> None:
    """New ones for the sink, again and again; who shows one of a client CA that is gone stays out, resumed or not."""
    staying = trustme.CA()
    shown = staying.issue_cert("apiserver")
    shown.private_key_and_cert_chain_pem.write_to_path(ground.place / "shown.pem")
    ground.ca.cert_pem.write_to_path(ground.place / "server-ca.pem")
    statuses: list[int] = []
    rotated = asyncio.Event()

    async def kept(sink: Sink) -> None:
        pem = ground.place / "shown.pem"
        async with Webhook(sink.receive, tls=tls_context(ground.place / "server-ca.pem", pem, pem)) as webhook:
            while not rotated.is_set():
                statuses.append((await webhook.post(corpus.plain_body("kept").data, 30)).status)

    async def fresh(sink: Sink) -> None:
        while not rotated.is_set():
            statuses.append((await asyncio.to_thread(ask, sink, ground.client(shown)))[0])

    ground.trust(ground.client_ca, staying)
    async with ground.sink(clients=True) as sink:
        load = [asyncio.create_task(one(sink)) for one in (kept, kept, fresh)]
        for _ in range(ROTATIONS):
            leaving = {version: ground.client(ground.client_ca.issue_cert("x")) for version in VERSIONS}
            sessions = {}
            for version, context in leaving.items():
                status, sessions[version] = await asyncio.to_thread(ask, sink, offered(context, version, "DEFAULT"))
                assert status == 200
            ground.client_ca = trustme.CA()
            ground.renew()
            ground.trust(ground.client_ca, staying)
            coming = ground.client(ground.client_ca.issue_cert("y"))
            await eventually(partial(is_welcome, sink, coming))
            for version, context in leaving.items():
                assert (await asyncio.to_thread(ask, sink, context, session=sessions[version]))[0] == 0
                assert (await asyncio.to_thread(ask, sink, context))[0] == 0
        rotated.set()
        await asyncio.gather(*load)
    assert set(statuses) == {200}
    assert len(statuses) > 3 * ROTATIONS, "three clients posted while certificates changed, however slow the machine"


async def test_an_open_connection_ends_when_what_let_it_in_is_gone(ground: Ground) -> None:
    """It is answered once more, is told that this was the last answer, and does not come back."""
    context = ground.client(ground.client_ca.issue_cert("apiserver"))
    async with ground.sink(clients=True) as sink:
        parts = urlsplit(sink.receive)
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port, ssl=context, server_hostname="localhost"
        )
        request = f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        writer.write(request)
        assert b"connection: close" not in (await reader.readuntil(b"}")).lower()
        ground.client_ca = trustme.CA()
        ground.renew()
        await eventually(
            lambda: any(
                one["message"].startswith("certificates, tokens or clusters have changed") for one in sink.lines
            )
        )
        writer.write(request * 2)
        told = await reader.read()
        writer.close()
        assert told.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in told.lower()
        assert (await asyncio.to_thread(ask, sink, context))[0] == 0

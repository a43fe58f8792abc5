"""The HTTP client over TLS: whom it believes, what it shows of itself, and when its files are read again."""

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as form
from httpkit import SECRET, client

from auditsink.config import ClientTls
from auditsink.delivery.outcome import Misconfigured
from auditsink.http.answers import HttpAnswer
from auditsink.http.client import TransportProblem
from auditsink.http.tls import Tls
from auditsink.testing.collector import Collector


async def test_plain_http_to_a_port_that_wants_tls_is_told(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with Collector(tls=context) as server:
        url = server.url.replace("https", "http")
        async with client(url) as http:
            problem = await http.post(url, b"{}", {})
    assert isinstance(problem, TransportProblem)
    assert "write https:// into url" in problem.why or "connection broke" in problem.why


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, *names: str, client_ca: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    if client_ca is not None:
        client_ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(**settings: Any) -> Tls:
    return Tls(ClientTls(**settings), "destinations[siem].tls")


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


async def test_a_certificate_of_the_configured_ca_is_taken(authority: trustme.CA, ca_file: Path) -> None:
    async with (
        Collector(tls=server_tls(authority, "127.0.0.1")) as server,
        client(server.url, client_tls(ca_file=ca_file)) as http,
    ):
        answer = await http.post(server.url, b"", {})

    assert isinstance(answer, HttpAnswer)
    assert answer.status == 400


@pytest.mark.parametrize(("names", "ours"), [(("127.0.0.1",), False), (("other.example",), True)])
async def test_a_certificate_of_another_ca_or_name_needs_a_person(
    authority: trustme.CA, ca_file: Path, names: tuple[str, ...], ours: bool
) -> None:
    signer = authority if ours else trustme.CA()
    async with (
        Collector(tls=server_tls(signer, *names)) as server,
        client(server.url, client_tls(ca_file=ca_file)) as http,
    ):
        problem = await http.post(server.url, b"", SECRET)

    assert isinstance(problem, TransportProblem)
    assert isinstance(problem.outcome(), Misconfigured)
    assert "tls.ca_file" in problem.why
    assert server.requests == []


async def test_the_expected_name_can_be_another_one_and_is_sent_as_sni(authority: trustme.CA, ca_file: Path) -> None:
    asked = []
    context = server_tls(authority, "hec.example")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with (
        Collector(tls=context) as server,
        client(server.url, client_tls(ca_file=ca_file, server_name="hec.example")) as http,
    ):
        answer = await http.post(server.url, b"", {})

    assert isinstance(answer, HttpAnswer)
    assert asked == ["hec.example"]


async def test_skipping_verification_is_possible_and_loud(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tls = client_tls(insecure_skip_verify=True)
    async with Collector(tls=server_tls(trustme.CA(), "other.example")) as server, client(server.url, tls) as http:
        answer = await http.post(server.url, b"", {})

    assert isinstance(answer, HttpAnswer)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "destinations[siem].tls.insecure_skip_verify"
    ]


def write_client_certificate(authority: trustme.CA, folder: Path) -> None:
    certificate = authority.issue_cert("auditsink@example.com")
    (folder / "cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())


async def test_a_client_certificate_is_shown_and_read_again_when_it_changes(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = trustme.CA(), trustme.CA()
    write_client_certificate(first, tmp_path)
    tls = client_tls(ca_file=ca_file, cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
    context = server_tls(authority, "127.0.0.1", client_ca=first)

    async with Collector(tls=context) as server, client(server.url, tls) as http:
        assert isinstance(await http.post(server.url, b"", {}), HttpAnswer)
    async with (
        Collector(tls=server_tls(authority, "127.0.0.1", client_ca=second)) as server,
        client(server.url, tls) as http,
    ):
        assert isinstance(await http.post(server.url, b"", {}), TransportProblem)
        (tmp_path / "key.pem").write_bytes(b"half written")
        with caplog.at_level(logging.WARNING):
            assert isinstance(await http.post(server.url, b"", {}), TransportProblem)
        assert "the last good files stay in use" in caplog.text
        write_client_certificate(second, tmp_path)
        assert isinstance(await http.post(server.url, b"", {}), HttpAnswer)


def test_an_encrypted_key_is_an_error_and_not_a_question(authority: trustme.CA, tmp_path: Path) -> None:
    certificate = authority.issue_cert("auditsink@example.com")
    key = form.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"x"))
    (tmp_path / "cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(encrypted)

    with pytest.raises(Exception, match="its unencrypted key"):
        client_tls(cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")

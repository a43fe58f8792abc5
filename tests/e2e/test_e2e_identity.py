"""The commands as a person types them, over TLS: who may post, for which cluster, and no secret anywhere."""

import asyncio
import sys
from pathlib import Path

import corpus
import pytest
import trustme
from running import Sink

from auditsink.apiserver.webhook import Webhook, tls_context
from auditsink.common.secret import Secret
from auditsink.testing.collector import Collector

TOKENS = {"prod": "token-of-prod-7f3a", "test": "token-of-test-91bc"}
BEARER = "bearer-of-the-collector-5d2e"
ARCHIVE = "batch50-request-h2tls"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Certificates and tokens for both sides."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("127.0.0.1", "apiserver"):
        issued = ca.issue_cert(name)
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    (tmp_path / "tokens").write_text("".join(f"{cluster} {token}\n" for cluster, token in TOKENS.items()))
    for cluster, token in TOKENS.items():
        (tmp_path / cluster).write_text(token + "\n")
    (tmp_path / "wrong").write_text("token-of-nobody-0000\n")
    (tmp_path / "bearer").write_text(BEARER)
    return tmp_path


async def auditsink(*arguments: object) -> tuple[int | None, str]:
    """A command in a process of its own; exit code and all it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auditsink", *map(str, arguments),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_tokens_and_certificates_let_in_and_show_nowhere(files: Path) -> None:
    """The token names the cluster; another path is refused; nothing that was ever said holds a secret."""
    tls = {name: str(files / file) for name, file in (
        ("cert_file", "127.0.0.1.pem"), ("key_file", "127.0.0.1.key"), ("client_ca_file", "ca.pem"),
    )}  # fmt: skip
    receive = {"tls": tls, "tokens_file": str(files / "tokens")}
    shown = ["--ca", files / "ca.pem", "--cert", files / "apiserver.pem", "--key", files / "apiserver.key"]
    async with Collector(authorization=f"Bearer {BEARER}") as collector:
        hook = {"name": "hook", "type": "http", "url": collector.url, "auth": {"bearer_file": str(files / "bearer")}}
        async with Sink(files / "sink", [hook], receive=receive) as sink:
            code, said = await auditsink(
                "send", corpus.archive(ARCHIVE), "--url", sink.receive, "--token-file", files / "prod", *shown
            )
            assert (code, said.splitlines()[-1].partition(" bytes")[0]) == (0, "sent 38 batches, 758 events, 792,574")
            assert await post(sink, files, "test", "/prod") == 403
            assert await post(sink, files, "test", "/test") == 200
            assert await post(sink, files, "wrong") == 401
            assert await post(sink, files, None) == 401
            status = await sink.delivered()
            told = [said, str(status), await sink.get("/metrics"), await sink.get("/"), await sink.get("/readyz")]
            told.append((await auditsink("check", "-c", sink.config, "--connect"))[1])
            told.append((await auditsink("status", "--url", sink.admin))[1])
            assert (await sink.stop())[0] == 0
        told.append(str(sink.lines))
    assert {one["cluster"]: one["spool"]["next_sequence"] for one in status["clusters"]} == {"prod": 758, "test": 3}
    assert status["rejected_requests"]["unauthorized"] == 2
    assert status["rejected_requests"]["forbidden"] == 1
    assert corpus.digests(collector.events) == corpus.digests(
        corpus.events(ARCHIVE) + corpus.plain_body("by-token").events
    )
    assert [
        secret for secret in (*TOKENS.values(), BEARER, "token-of-nobody-0000") for text in told if secret in text
    ] == []
    assert "  hook: takes events" in told[5]


async def post(sink: Sink, files: Path, token: str | None, path: str = "") -> int:
    """Post once with a token; the status."""
    tls = tls_context(files / "ca.pem", files / "apiserver.pem", files / "apiserver.key")
    secret = Secret((files / token).read_text().strip()) if token else None
    async with Webhook(sink.receive + path, tls=tls, token=(lambda: secret) if secret else None) as webhook:
        return (await webhook.post(corpus.plain_body("by-token").data, 30)).status

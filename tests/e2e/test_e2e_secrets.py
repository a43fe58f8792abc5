"""A real sink with every kind of secret, shown to servers that say it back, in success, refusal, crash and abort.

Nothing that leaves the process may hold one: no log line, page, metric, error, command's output or file.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import corpus
import pytest
from failing_sink import MARK as INJECTED
from parrot import MARK, Parrot
from running import Sink
from vault import Vault, sections

from auditsink import cli
from auditsink.apiserver.webhook import Webhook, tls_context
from auditsink.common.secret import Secret
from auditsink.load import load
from auditsink.testing.collector import Collector

FAILING = (sys.executable, "-X", "faulthandler", str(Path(__file__).with_name("failing_sink.py")))
PAGES = ("/", "/status", "/metrics", "/readyz", "/livez", "/history", "/access", "/reservations", "/page/page.js")


def destinations(vault: Vault, parrot: str, collector: str, place: Path) -> list[dict[str, Any]]:
    """One for each way to show a secret, and one that succeeds."""

    def file(name: str, *, token: bool = True) -> str:
        return vault.file(name.replace(" ", "-"), vault.token(name) if token else vault.password(name))

    def hook(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "type": "http", "url": f"{parrot}/{kind}", "compression": "none", **more}

    def bearer(name: str) -> dict[str, str]:
        return {"bearer_file": file(name)}

    def user(name: str) -> dict[str, str]:
        return {"username": "sink", "password_file": file(name, token=False)}

    def oauth(name: str, **more: str) -> dict[str, Any]:
        section = {"token_url": f"{parrot}/token", "client_id": "sink", "client_secret_file": file(name, token=False)}
        return {"oauth2": section | more}

    one = {"max_events": 1}
    return [
        {"name": "siem", "type": "splunk", "url": parrot, "token_file": file("hec token")},
        {"name": "good", "type": "http", "url": collector, "auth": {"bearer": "${AUDITSINK_TEST_BEARER}"}},
        *(hook(f"status-{kind}", kind, auth=bearer(f"bearer {kind}")) for kind in ("401", "403", "413", "500")),
        hook("away", "redirect", auth=bearer("bearer away")),
        hook("named", "401", auth=user("basic password")),
        hook("bulk", "bulk", format="elasticsearch", auth=user("bulk password"), batch=one),
        hook("loki", "push", format="loki", auth=bearer("loki token"), batch=one),
        hook("granted", "200", auth=oauth("client secret")),
        hook("posted", "200", auth=oauth("posted secret", send_as="post")),
        hook("around", "407", proxy={"url": parrot, **user("proxy password")}),
        {
            "name": "lake",
            "type": "kafka",
            "timeout": "1s",
            "bootstrap_servers": [parrot.removeprefix("http://")],
            "security": {"mechanism": "PLAIN", **user("kafka password")},
        },
        {
            "name": "store",
            "type": "s3",
            "timeout": "1s",
            "bucket": "audit-trail",
            "batch": {"max_wait": "10ms"},
            "endpoint": parrot,
            "access_key_id": "AKIAEXAMPLE",
            "secret_access_key_file": file("s3 secret"),
        },
        {"name": "disk", "type": "file", "path": str(place / "audit.ndjson")},
    ]


async def auditsink(*arguments: object) -> str:
    """A command in a process of its own; all it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auditsink", *map(str, arguments),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode()


def help_texts(capsys: pytest.CaptureFixture[str]) -> str:
    """Of all commands; with defaults and variables, if one were ever to show them."""
    assert [cli.run([name, "--help"]) for name in cli.COMMANDS] == [0] * len(cli.COMMANDS)
    return capsys.readouterr().out


async def post(sink: Sink, vault: Vault, token: str, path: str = "") -> str:
    """Post with a token; the status and the body."""
    tls = tls_context(*(vault.place / name for name in ("ca.pem", "apiserver.pem", "apiserver.key")))
    secret = Secret(token)
    async with Webhook(sink.receive + path, tls=tls, token=lambda: secret) as webhook:
        answer = await webhook.post(corpus.plain_body(path or "-").data, 30)
        return f"{answer.status} {answer}"


async def pages(sink: Sink, token: str) -> list[str]:
    """Everything that the admin port shows, with the token, with a wrong one and without; and the first of a stream."""
    told = []
    async with aiohttp.ClientSession() as session:
        for path in (*PAGES, "/tail?last=100", "/letters?destination=bulk", "/nothing"):
            for headers in ({}, {"Authorization": f"Bearer {token}"}, {"Authorization": f"Bearer {token}x"}):
                async with session.get(sink.admin + path, headers=headers) as answer:
                    told.append(f"{answer.status} {answer.headers} {await answer.text()}")
        async with session.get(sink.admin + "/stream") as stream:
            told.append((await stream.content.readline()).decode())
    return told


async def commands(sink: Sink, vault: Vault) -> list[str]:
    """What every command that looks at a sink says of this one."""
    at, token = ("--url", sink.admin), ("--token-file", vault.place / "admin")
    keys = ("--key-file", vault.place / "spool.keys")
    several: list[tuple[object, ...]] = [
        ("check", "-c", sink.config, "--connect"),
        ("status", *at),
        ("doctor", "-c", sink.config),
        ("tail", *at, *token, "-n", "100"),
        ("tail", *at),
        ("deadletter", "ls", "-c", sink.config),
        ("deadletter", "replay", "-c", sink.config),
        ("spool", "cat", "--path", sink.spool, *keys),
    ]
    return list(await asyncio.gather(*(auditsink(*one) for one in several)))


def left_behind(place: Path, vault: Vault, config: Path) -> list[bytes]:
    """All that lies on the disk, but what the operator wrote."""
    found = [path for path in place.rglob("*") if path.is_file() and vault.place not in path.parents]
    return [path.read_bytes() for path in found if path != config]


def tried(status: dict[str, Any]) -> bool:
    """Every destination has had its answer, and the good ones have all events."""
    ends = {one["name"]: one for one in status["destinations"]}
    good = [ends.pop(name)["delivered"] for name in ("good", "disk", "checkpoints")]
    return good == [3, 3, 3] and all(one["last_error"] or one["dead_lettered"] for one in ends.values())


def check_that_it_was_tried(vault: Vault, parrot: Parrot, sink: Sink, told: list[str], files: list[bytes]) -> None:
    """The secrets were in use, and the texts that quoted them got as far as they can."""
    silent = {"token of", "admin", "encryption", "signing", "TLS", "inline", "kafka", "s3"}
    shown = {value for name, value in vault.values.items() if not name.startswith(tuple(silent))}
    assert shown <= parrot.heard
    logged = str(sink.lines)
    assert MARK in logged
    assert logged.count(INJECTED) >= 8  # an error and its cause, in each of four places
    assert "Fatal Python error: Aborted" in logged
    assert sum(MARK in text for text in told) >= 3  # status, page and dead letters
    assert any(MARK.encode() in content for content in files)  # the dead letters' file


async def test_no_secret_shows_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every server says back what it was shown; then parts fail with every secret in the error; then SIGABRT."""
    vault = Vault(tmp_path / "vault")
    monkeypatch.setenv("AUDITSINK_TEST_BEARER", vault.token("inline bearer"))
    async with Parrot() as parrot, Collector() as collector:
        ways = destinations(vault, parrot.url, collector.url, tmp_path)
        async with Sink(tmp_path / "sink", ways, command=FAILING, **sections(vault, tmp_path)) as sink:
            told = [
                await post(sink, vault, vault.values["token of prod"]),
                await post(sink, vault, vault.values["token of prod"], "/test"),
                await post(sink, vault, "token-of-nobody-0000"),
            ]
            assert [one[:3] for one in told] == ["200", "403", "401"]
            await sink.until(tried)
            told += await pages(sink, vault.values["admin token"])
            told += await commands(sink, vault)
            sink.signal(signal.SIGABRT)
            assert await sink.ended() == -signal.SIGABRT
        told += [str(sink.lines), repr(sink), repr(load(sink.config)), help_texts(capsys)]
        files = left_behind(tmp_path, vault, sink.config)
    assert {one.headers["authorization"] for one in collector.requests} == {f"Bearer {vault.values['inline bearer']}"}
    check_that_it_was_tried(vault, parrot, sink, told, files)
    shown = [text.encode() for text in told] + files
    assert sorted({name for name, form in vault.forms() for text in shown if form in text}) == []

"""Getting in to the brokers of a spool: by password, by certificate, with the rights of docs/scale.md and no others."""

import asyncio
import json
from pathlib import Path
from typing import Any

import corpus
import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
from kafka_secured import CERTIFICATE_USER, PASSWORD, USER, Secured
from kafka_server import SERVER
from rows import Rows
from running import Sink, check_accounts

from auditsink import cli

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.quick]

WAYS_IN: dict[str, tuple[str, dict[str, Any]]] = {
    "PLAIN": ("SASL", {"mechanism": "PLAIN"}),
    "SCRAM-SHA-256": ("SASL", {"mechanism": "SCRAM-SHA-256"}),
    "SCRAM-SHA-512-TLS": ("SASLTLS", {"mechanism": "SCRAM-SHA-512", "tls": {}}),
    "mTLS": ("MTLS", {"tls": {"cert_file": "", "key_file": ""}}),
}
KEPT_OUT: dict[str, tuple[str, dict[str, Any], str]] = {
    "a wrong PLAIN password": ("SASL", {"mechanism": "PLAIN"}, "check security.mechanism, username and password"),
    "a wrong SCRAM password": ("SASLTLS", {"mechanism": "SCRAM-SHA-512", "tls": {}}, "check security.mechanism"),
    "an unknown CA": ("TLS", {"tls": {}}, "check security.tls"),
    "a certificate that has ended": ("ENDED", {"tls": {}}, "check security.tls"),
}
_OF_TOPIC = ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "WRITE", "READ")


async def grant(broker: Secured, user: str, topic: str, *, but: str = "") -> None:
    """The rights that docs/scale.md lists, `but` one."""
    wanted = [
        *((ResourceType.TOPIC, topic, one) for one in (*_OF_TOPIC, "DELETE")),
        *((ResourceType.TOPIC, f"{topic}.dead", one) for one in _OF_TOPIC),
        (ResourceType.GROUP, f"{topic}.out", "READ"),
        (ResourceType.BROKER, "kafka-cluster", "DESCRIBE"),
    ]
    literal, allow = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
    bindings = [
        AclBinding(kind, name, literal, f"User:{user}", "*", AclOperation[one], allow)
        for kind, name, one in wanted
        if f"{kind.name}-{one}" != but
    ]
    admin = broker.admin()  # it must live until it is answered
    for answer in admin.create_acls(bindings).values():
        await asyncio.to_thread(answer.result, 30)


def spool(broker: Secured, listener: str, topic: str, settings: dict[str, Any], password: Path) -> dict[str, Any]:
    security = dict(settings)
    if "mechanism" in security:
        security |= {"username": USER, "password_file": str(password)}
    if "tls" in security:
        own = {"cert_file": str(broker.cert_file), "key_file": str(broker.key_file)}
        security["tls"] = {"ca_file": str(broker.ca_file), **{name: own[name] for name in security["tls"]}}
    return {
        "type": "kafka", "bootstrap_servers": broker.at(listener), "topic": topic, "partitions": 2,
        "replication_factor": 1, "accept_loss": True, "max_bytes": "4GiB", "security": security,
    }  # fmt: skip


def out(place: Path) -> dict[str, Any]:
    return {"name": "out", "type": "file", "path": str(place / "out.ndjson")}


@pytest.mark.parametrize("way", WAYS_IN)
async def test_a_way_in_with_the_documented_rights(
    broker: Secured, tmp_path: Path, rows: Rows, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    listener, settings = WAYS_IN[way]
    (tmp_path / "password").write_text(PASSWORD)
    topic = f"spool-{way}"
    await grant(broker, CERTIFICATE_USER if way == "mTLS" else USER, topic)
    body = corpus.plain_body("in", count=50)
    section = spool(broker, listener, topic, settings, tmp_path / "password")
    sink = Sink(tmp_path / "sink", [out(tmp_path)], spool=section)
    check = ["check", "-c", str(sink.config), "--connect"]
    assert await asyncio.to_thread(cli.run, check) == 0
    assert f"spool.topic {topic}: is not there yet; the first start makes it" in capfd.readouterr().out
    async with sink:
        assert await asyncio.to_thread(cli.run, check) == 0
        said = capfd.readouterr()
        assert f"spool.dead_letter_topic {topic}.dead: 1 partitions, 1 replicas; can be used" in said.out
        assert f"spool.topic {topic}: risky: has a partition with one replica" in said.out
        assert (await sink.post(body.data))[0] == 200
        status = await sink.until(lambda found: bool(found["destinations"][0]["delivered"] == 50))
        check_accounts(status)
        status = await sink.until(lambda found: found["spool"]["bytes"] > 0)
        assert status["worries"] == []
        told = [json.dumps(status), await sink.get("/metrics"), str(sink.lines), str(said)]
        assert (await sink.stop())[0] == 0
    assert not any(PASSWORD in one for one in [*told, str(sink.lines)])
    assert (tmp_path / "out.ndjson").read_bytes().splitlines() == list(body.events)
    rows(server=SERVER, thrown=f"a spool, in by {way}", into=50, out=50, repeated=0)


@pytest.mark.parametrize("fault", KEPT_OUT)
async def test_who_is_kept_out_is_told_why_and_what_to_mend(
    broker: Secured, tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: str
) -> None:
    listener, settings, words = KEPT_OUT[fault]
    (tmp_path / "password").write_text("wr0ng-and-secret")
    section = spool(broker, listener, "kept-out", settings, tmp_path / "password")
    if fault == "an unknown CA":
        section["security"]["tls"]["ca_file"] = str(broker.cert_file)
    sink = Sink(tmp_path / "sink", [out(tmp_path)], spool=section)
    await sink.launch()
    assert await sink.ended() == 1
    told = str(sink.lines)
    assert await asyncio.to_thread(cli.run, ["check", "-c", str(sink.config), "--connect"]) == 1
    said = capfd.readouterr().err
    assert words in said
    assert "wr0ng" not in said
    assert "spool.topic kept-out: localhost:" in told
    assert words in told
    assert "wr0ng" not in told


@pytest.mark.parametrize("right", ["TOPIC-DESCRIBE_CONFIGS", "TOPIC-CREATE", "GROUP-READ"])
async def test_a_right_that_is_missing_is_told(broker: Secured, tmp_path: Path, right: str) -> None:
    """Before the start ends where that can be seen; of a group only in the group."""
    (tmp_path / "password").write_text(PASSWORD)
    topic = f"spool-without-{right}"
    await grant(broker, USER, topic, but=right)
    section = spool(broker, "SASL", topic, {"mechanism": "PLAIN"}, tmp_path / "password")
    sink = Sink(tmp_path / "sink", [out(tmp_path)], spool=section)
    if right != "GROUP-READ":
        await sink.launch()
        assert await sink.ended() == 1
        told = str(sink.lines)
    else:
        async with sink:
            status = await sink.until(lambda found: "docs/scale.md" in str(found["worries"]))
            told = str(status["worries"])
    assert "give the user the rights that docs/scale.md lists" in told
    assert PASSWORD not in told

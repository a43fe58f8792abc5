"""Getting in to Apache Kafka, and being kept out: the sink says why, keeps the events, and comes back by itself."""

from pathlib import Path
from typing import Any

import corpus
import pytest
from kafka_reading import read, values
from kafka_secured import CERTIFICATE_USER, PASSWORD, USER, Secured
from kafka_server import SERVER
from kafkarig import figures, lake, trouble
from rows import Rows
from running import Sink

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAYS_IN: dict[str, tuple[str, dict[str, Any]]] = {
    "PLAIN": ("SASL", {"mechanism": "PLAIN"}),
    "SCRAM-SHA-256": ("SASL", {"mechanism": "SCRAM-SHA-256"}),
    "SCRAM-SHA-512": ("SASL", {"mechanism": "SCRAM-SHA-512"}),
    "SCRAM-SHA-512 over TLS": ("SASLTLS", {"mechanism": "SCRAM-SHA-512", "tls": {}}),
    "mTLS": ("MTLS", {"tls": {"cert_file": "", "key_file": ""}}),
}


def security(broker: Secured, settings: dict[str, Any], password: Path) -> dict[str, Any]:
    """The `security` section, with its files filled in."""
    made = dict(settings)
    if "mechanism" in made:
        made |= {"username": USER, "password_file": str(password)}
    if "tls" in made:
        own = {"cert_file": str(broker.cert_file), "key_file": str(broker.key_file)}
        made["tls"] = {"ca_file": str(broker.ca_file), **{name: own[name] for name in made["tls"]}}
    return made


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    return file


@pytest.fixture
def wrong_password(tmp_path: Path) -> Path:
    file = tmp_path / "wrong-password"
    file.write_text("wr0ng")
    return file


@pytest.mark.quick
@pytest.mark.parametrize("way", WAYS_IN)
async def test_a_way_in(broker: Secured, tmp_path: Path, rows: Rows, password: Path, way: str) -> None:
    listener, settings = WAYS_IN[way]
    topic = f"in-{way.replace(' ', '-')}"
    await broker.create(topic)
    await broker.grant(CERTIFICATE_USER if way == "mTLS" else USER, topic)
    body = corpus.plain_body("in", count=50)
    destination = lake(broker.at(listener), topic=topic, security=security(broker, settings, password))
    async with Sink(tmp_path / "sink", [destination]) as sink:
        assert (await sink.post(body.data))[0] == 200
        status = await sink.delivered()
        assert PASSWORD not in str(sink.lines)

    found = await read(broker.servers, topic)
    assert values(found) == body.events
    rows(server=SERVER, thrown=f"in by {way}", **figures(found, status))


KEPT_OUT: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "a wrong PLAIN password": ("SASL", {"mechanism": "PLAIN"}, ("misconfigured", "check security.mechanism")),
    "a wrong SCRAM password": ("SASL", {"mechanism": "SCRAM-SHA-512"}, ("misconfigured", "check security.mechanism")),
    "an unknown CA": ("TLS", {"tls": {}}, ("misconfigured", "security.tls")),
    "a certificate that has ended": ("ENDED", {"tls": {}}, ("misconfigured", "security.tls")),
    "no client certificate": ("MTLS", {"tls": {}}, ("retrying",)),
    "TLS to a plain port": ("PLAINTEXT", {"tls": {}}, ("retrying",)),
    "no TLS to a TLS port": ("TLS", {}, ("retrying",)),
}


@pytest.mark.quick
@pytest.mark.parametrize("fault", KEPT_OUT)
async def test_kept_out_and_then_let_in(
    broker: Secured, tmp_path: Path, rows: Rows, wrong_password: Path, fault: str
) -> None:
    """Nothing is lost: after the operator has corrected the configuration all is delivered."""
    listener, settings, (state, *words) = KEPT_OUT[fault]
    topic = f"out-{fault.replace(' ', '-')}"
    await broker.create(topic)
    body = corpus.plain_body("out", count=50)
    wrong = security(broker, settings, wrong_password)
    if fault == "an unknown CA":
        wrong["tls"]["ca_file"] = str(broker.cert_file)
    async with Sink(tmp_path / "wrong", [lake(broker.at(listener), topic=topic, security=wrong)]) as sink:
        assert (await sink.post(body.data))[0] == 200
        status = await trouble(sink, state, *words)
        assert (status["pending"], status["dead_lettered"]) == (50, 0)
        assert "wr0ng" not in str(sink.lines)
        said = status["last_error"]
        assert (await sink.stop())[0] == 0
    spool = {"path": str(sink.spool)}
    async with Sink(tmp_path / "right", [lake(broker.servers, topic=topic)], spool=spool) as sink:
        status = await sink.delivered()

    found = await read(broker.servers, topic)
    assert values(found) == body.events
    rows(server=SERVER, thrown=fault, **figures(found, status), note=f"{state}: {said}")


@pytest.mark.parametrize("topic", ["forbidden", "forbidden.{cluster}"])
async def test_authorisation_refused_and_then_granted(
    broker: Secured, tmp_path: Path, rows: Rows, password: Path, topic: str
) -> None:
    """A right that is taken away pauses the destination; given back, delivery goes on without a restart."""
    name = topic.replace("{cluster}", "default")
    await broker.create(name)
    await broker.grant(USER, name)
    first, second = corpus.plain_body("first", count=30), corpus.plain_body("second", count=30)
    ways = security(broker, {"mechanism": "SCRAM-SHA-256"}, password)
    async with Sink(tmp_path / "sink", [lake(broker.at("SASL"), topic=topic, security=ways)]) as sink:
        assert (await sink.post(first.data))[0] == 200
        await sink.delivered()
        await broker.revoke(USER, name)
        assert (await sink.post(second.data))[0] == 200
        status = await trouble(sink, "misconfigured", "right to write")
        assert (status["delivered"], status["pending"]) == (30, 30)
        await broker.grant(USER, name)
        status = await sink.delivered()

    found = await read(broker.servers, name)
    assert values(found) == first.events + second.events
    rows(server=SERVER, thrown=f"a right revoked and granted again, topic {topic}", **figures(found, status))

"""The forward destination against a scripted input: acknowledgements, TLS, the shared key, and whatever goes wrong."""

import asyncio
import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from destinationkit import HOSTILE, RECEIVED_NS, batch, event
from msgspec.structs import replace

from auditsink.common.secret import Secret
from auditsink.common.units import Duration
from auditsink.config import ClientTls, ForwardConfig
from auditsink.delivery.destination import DestinationError
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause
from auditsink.destinations import fluentd_wire as wire
from auditsink.destinations.fluentd import ForwardDestination
from auditsink.testing.clock import FakeClock
from auditsink.testing.fluentd import Act, ForwardServer


def destination(server: ForwardServer, **settings: Any) -> ForwardDestination:
    settings = {"name": "tailer", "timeout": 60.0, **settings}
    return ForwardDestination(ForwardConfig(address=f"127.0.0.1:{server.port}", **settings), FakeClock())


async def delivered(one: ForwardDestination, events: Sequence[bytes], cluster: str = "prod") -> Outcome:
    attempt = await one.prepare(batch(events, cluster=cluster))
    return await attempt()


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("acknowledge", [True, False])
async def test_events_arrive_as_maps_with_their_own_time(compression: str, *, acknowledge: bool) -> None:
    async with ForwardServer() as server:
        one = destination(server, compression=compression, acknowledge=acknowledge, tag="audit.{cluster}")

        assert await delivered(one, [event(0), event(1)]) == Delivered()
        await asyncio.wait_for(server.arrived.wait(), 60)
        await one.close()

    (message,) = server.messages
    assert message.tag == "audit.prod"
    assert message.option["size"] == 2
    assert ("chunk" in message.option, "compressed" in message.option) == (acknowledge, compression == "gzip")
    assert message.entries == [((1795382018, 661308000), json.loads(event(number))) for number in (0, 1)]


async def test_a_connection_is_kept_and_order_with_it() -> None:
    async with ForwardServer() as server:
        one = destination(server)
        for number in range(3):
            assert await delivered(one, [event(number)]) == Delivered()
        await one.close()

    assert server.connections == 1
    assert [record["auditID"] for record in server.records] == ["id-0", "id-1", "id-2"]


async def test_a_connection_is_renewed_after_a_while() -> None:
    async with ForwardServer() as server:
        clock = FakeClock()
        config = ForwardConfig(name="tailer", address=f"127.0.0.1:{server.port}")
        one = ForwardDestination(config, clock)
        await delivered(one, [event(0)])
        await clock.advance(451)
        await delivered(one, [event(1)])
        await one.close()

    assert server.connections == 2


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("close", "the connection was closed before the acknowledgement"),
        ("other chunk", "the acknowledgement is for another chunk"),
        ("nothing", "no answer within 0.01 s"),
    ],
)
async def test_without_its_acknowledgement_a_batch_goes_again_and_arrives(act: Act, expected: str) -> None:
    async with ForwardServer(script=[act]) as server:
        one = destination(server)
        attempt = await one.prepare(batch([event()]))
        await one.probe()  # connected
        patient = one._config
        if act == "nothing":
            one._config = replace(patient, timeout=Duration(0.01))  # only what is to fail is hurried
        first = await attempt()
        one._config = patient
        second = await attempt()
        await one.close()

    assert isinstance(first, Retry)
    assert expected in first.why
    assert first.cause is not RetryCause.ELSEWHERE, "the other side may have it"
    assert second == Delivered()
    assert server.records[-1] == json.loads(event())


async def test_a_resting_connection_that_was_closed_is_not_used() -> None:
    async with ForwardServer(script=["last"]) as server:
        one = destination(server)
        assert await delivered(one, [event(0)]) == Delivered()
        attempt = await one.prepare(batch([event(1)]))
        outcome = await attempt()
        if not isinstance(outcome, Delivered):  # the end of the connection was still on its way
            outcome = await attempt()
        await one.close()

    assert outcome == Delivered()
    assert [record["auditID"] for record in server.records] == ["id-0", "id-1"]


async def test_something_else_at_the_address_is_a_misconfiguration() -> None:
    async with ForwardServer(script=["http"]) as server:
        one = destination(server)
        outcome = await delivered(one, [event()])

    assert isinstance(outcome, Misconfigured)
    assert "no forward input" in outcome.why


async def test_nobody_there_is_tried_again() -> None:
    async with ForwardServer() as server:
        pass
    outcome = await delivered(destination(server), [event()])

    assert isinstance(outcome, Retry)
    assert str(server.port) in outcome.why
    assert outcome.cause is RetryCause.ELSEWHERE, "no event is looked for in a batch that was not sent"


async def test_a_look_up_that_does_not_return_is_no_fault_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", hangs)
    async with ForwardServer() as server:
        outcome = await delivered(destination(server, timeout=0.01), [event()])

    assert isinstance(outcome, Retry)
    assert "no connection within 0.01 s; check the look-up of its name" in outcome.why
    assert outcome.cause is RetryCause.ELSEWHERE


@pytest.mark.parametrize("users", [{}, {"audit": "s3cret"}])
async def test_who_knows_the_key_is_let_in(users: dict[str, str]) -> None:
    async with ForwardServer(shared_key="between-us", users=users) as server:
        login = {"username": "audit", "password": Secret("s3cret")} if users else {}
        one = destination(server, shared_key=Secret("between-us"), hostname="sink-0", **login)

        assert await one.probe() == Delivered()
        assert await delivered(one, [event()]) == Delivered()
        await one.close()

    assert server.connections == 1
    assert server.records == [json.loads(event())]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"shared_key": Secret("something-else")}, "shared_key mismatch"),
        (
            {"shared_key": Secret("between-us"), "username": "audit", "password": Secret("wrong-one")},
            "username/password mismatch",
        ),
        ({}, "asks for a shared key"),
    ],
)
async def test_who_does_not_is_told_so(settings: dict[str, Any], expected: str) -> None:
    async with ForwardServer(shared_key="between-us", users={"audit": "s3cret"}) as server:
        outcome = await delivered(destination(server, **settings), [event()])

    assert isinstance(outcome, Misconfigured)
    assert expected in outcome.why
    assert "between-us" not in outcome.why
    assert server.messages == []


async def test_an_impostor_gets_no_event() -> None:
    async with ForwardServer(shared_key="between-us", impostor=True) as server:
        outcome = await delivered(destination(server, shared_key=Secret("between-us")), [event()])

    assert isinstance(outcome, Misconfigured)
    assert "does not prove" in outcome.why
    assert server.messages == []


async def test_a_key_where_none_is_asked_for_waits_for_the_greeting_in_vain() -> None:
    async with ForwardServer() as server:
        outcome = await delivered(destination(server, shared_key=Secret("between-us"), timeout=0.2), [event()])

    assert isinstance(outcome, Retry)
    assert "shared_key" in outcome.why
    assert outcome.cause is RetryCause.ELSEWHERE


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def _server_context(authority: trustme.CA, *, client: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("audittailer").configure_cert(context)
    if client:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _client(authority: trustme.CA, place: Path, name: str = "audittailer", *, certificate: bool = True) -> ClientTls:
    authority.cert_pem.write_to_path(str(place / "ca.crt"))
    if not certificate:
        return ClientTls(ca_file=place / "ca.crt", server_name=name)
    mine = authority.issue_cert("client")
    mine.private_key_pem.write_to_path(str(place / "tls.key"))
    mine.cert_chain_pems[0].write_to_path(str(place / "tls.crt"))
    return ClientTls(
        ca_file=place / "ca.crt", cert_file=place / "tls.crt", key_file=place / "tls.key", server_name=name
    )


async def test_both_sides_show_certificates(authority: trustme.CA, tmp_path: Path) -> None:
    async with ForwardServer(tls=_server_context(authority, client=True)) as server:
        one = destination(server, tls=_client(authority, tmp_path))

        assert await delivered(one, [event()]) == Delivered()
        await one.close()

    assert server.records == [json.loads(event())]


async def test_another_name_in_the_certificate_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    async with ForwardServer(tls=_server_context(authority, client=False)) as server:
        outcome = await delivered(destination(server, tls=_client(authority, tmp_path, "elsewhere")), [event()])

    assert isinstance(outcome, Misconfigured)
    assert "certificate is refused" in outcome.why


async def test_a_certificate_that_is_missing_is_no_delivery(authority: trustme.CA, tmp_path: Path) -> None:
    async with ForwardServer(tls=_server_context(authority, client=True)) as server:
        outcome = await delivered(
            destination(server, tls=_client(authority, tmp_path, certificate=False), timeout=1.0), [event()]
        )

    assert isinstance(outcome, Retry)
    assert server.messages == []


async def test_tls_to_a_port_that_speaks_none(authority: trustme.CA, tmp_path: Path) -> None:
    async with ForwardServer(script=["http"]) as server:
        outcome = await delivered(destination(server, tls=_client(authority, tmp_path), timeout=1.0), [event()])

    assert isinstance(outcome, Misconfigured | Retry)
    assert server.messages == []


@pytest.mark.parametrize("kind", HOSTILE)
async def test_no_event_stops_its_message(kind: str) -> None:
    async with ForwardServer() as server:
        one = destination(server)
        assert await delivered(one, [HOSTILE[kind], event(1)]) == Delivered()
        await one.close()

    odd, after = server.records
    assert after == json.loads(event(1))
    text = HOSTILE[kind].decode(errors="replace")
    assert odd == {wire.UNREADABLE: text} or odd["auditID"] == "id-0"


@pytest.mark.parametrize(("depth", "text"), [(5, False), (99, False), (100, True), (9_000, True)])
@pytest.mark.parametrize("around", ["%s", '{"s":"]]}}[[","v":%s}'], ids=["plain", "brackets in a text"])
def test_what_nests_deeper_than_receivers_take_is_text(depth: int, around: str, *, text: bool) -> None:
    more = around != "%s"
    nested = around.replace("%s", "[" * (depth - more) + "]" * (depth - more))

    record = wire.record(f'{{"a":{nested}}}'.encode())

    assert (wire.UNREADABLE.encode() in record) == text


def test_a_number_that_has_no_place_makes_the_event_text() -> None:
    assert b'"n": 1' in wire.record(b'{"n": 1%s}' % (b"0" * 40))


def test_an_event_without_a_time_has_that_of_its_arrival() -> None:
    found = wire.entries(batch([b"{}"]), [b"{}"], whole_seconds=True)

    assert found == b"\x92\xce" + (RECEIVED_NS // 10**9).to_bytes(4) + b"\x80"


def test_an_address_that_is_none_is_told_by_its_key() -> None:
    with pytest.raises(DestinationError, match=r"destinations\[tailer\]\.address: is no address"):
        ForwardDestination(ForwardConfig(name="tailer", address="nonsense"), FakeClock())

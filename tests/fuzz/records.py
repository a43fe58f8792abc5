"""TLS on the receive port under hostile records: instead of a handshake, in the middle of one, and behind it.

OpenSSL reads them; what is fuzzed is what we do with what it says. Bytes are mutated as records and not as plain text.
"""

import asyncio
import contextlib
import functools
import ssl

import trustme
from receivekit import Client as Wired
from receivekit import FakeSpool, make_port, request

from auditsink.receive.listener import ListenerState
from auditsink.receive.tls import TlsTransport

_PIECE = 700


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's; made once, for keys take their time."""
    ca = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.issue_cert("localhost").configure_cert(server)
    ca.configure_trust(client)
    return server, client


class _Secured(Wired):
    """A `Client` of the kit whose connection is TLS, and a real TLS client that talks to it."""

    def __init__(self, port: ListenerState) -> None:
        super().__init__(port)
        self.connection.connection_lost(None)  # the plain one
        server, client = contexts()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = client.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.connection = TlsTransport(port, server)  # type: ignore[assignment]  # both are protocols
        self.connection.connection_made(self.wire)

    def flight(self) -> bytes:
        """What the client says next, to bring the handshake on."""
        self._incoming.write(bytes(self.wire.sent))
        self.wire.sent.clear()
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    def ciphertext(self, plain: bytes) -> bytes:
        """The client's records, once hands are shaken."""
        self._tls.write(plain)
        return self._outgoing.read()

    def throw(self, data: bytes) -> None:
        """As it comes from a socket: in pieces, while the other side reads."""
        for start in range(0, len(data), _PIECE):
            if self.wire.closed or self.wire.paused:
                return
            self.send(data[start : start + _PIECE])


def hello() -> bytes:
    """A client's first flight."""
    with asyncio.Runner() as runner:
        return runner.run(_hello())


async def _hello() -> bytes:
    return _Secured(make_port(FakeSpool())).flight()


def records(data: bytes) -> None:
    """Wherever they come, nothing raises, and what was held is given back when the client is gone."""
    with asyncio.Runner() as runner:
        runner.run(_records(data))


async def _records(data: bytes) -> None:
    for said_before in range(4):
        port = make_port(FakeSpool(), max_body=65536, max_in_flight=65536)
        client = _Secured(port)
        for _ in range(min(said_before, 2)):  # the hello; then what ends the handshake
            client.throw(client.flight())
        assert (client.connection._connection is not None) is (said_before >= 2), "hands are shaken"  # type: ignore[attr-defined]
        if said_before == 3:
            whole = client.ciphertext(request())
            cut = len(data) % len(whole)
            client.throw(whole[:cut])  # a true record that goes on as something else
        client.throw(data)
        for _ in range(20):
            await asyncio.sleep(0)
        client.hang_up()
        assert port.ingest.memory.held == 0
        assert not port.connections.open

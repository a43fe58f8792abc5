"""TLS between a socket's transport and a `ReceiveConnection`, over `ssl.MemoryBIO`.

asyncio's own TLS gives every connection a read buffer of 256 KiB, filled with zeros: 2,000 idle clients would hold
512 MiB. Here the buffers are the listener's, one of each for all connections, and a connection takes the context that
is current when it begins, so that new certificates need no new listener.
"""

import asyncio
import contextlib
import ssl
from enum import Enum
from typing import Any, cast

from auditsink.receive.certificates import peer_of
from auditsink.receive.connection import ReceiveConnection
from auditsink.receive.listener import ListenerState
from auditsink.receive.responses import HttpRejection, RejectionReason

HANDSHAKE_SECONDS = 10.0

_DISTRUST = "the client does not trust the certificate in receive.tls.cert_file; compare its CA with the kubeconfig's"
_ALERTS = {
    "TLSV1_ALERT_UNKNOWN_CA": _DISTRUST,
    "SSLV3_ALERT_BAD_CERTIFICATE": _DISTRUST,  # what an apiserver says to any certificate that it does not take
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "to the client the certificate in receive.tls.cert_file has ended",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate, which receive.tls.client_ca_file asks for",
    "CERTIFICATE_VERIFY_FAILED": "the client's certificate is not one of receive.tls.client_ca_file that is valid now",
    "HTTP_REQUEST": "the client speaks http, and this port https; write https into its kubeconfig",
}
"""What OpenSSL's reasons mean here; another stands for itself."""

_SPOKE_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    b'{"error":"this port speaks HTTPS, and the client began without TLS"}'
)


class _Left(Enum):
    """What follows the bytes that were decrypted."""

    MORE = 1
    NOTHING = 2
    END = 3
    GARBAGE = 4


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """A protocol for the socket's transport, and, after the handshake, a transport for a `ReceiveConnection`."""

    def __init__(self, listener: ListenerState, context: ssl.SSLContext) -> None:
        super().__init__()
        self._listener = listener
        self._wire: asyncio.Transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._connection: ReceiveConnection | None = None  # from the end of the handshake on
        self._since = listener.now
        self._paused = False
        self._closed = False  # our close_notify is out: what comes is counted and not read
        self._retired = False

    # A protocol: what asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there, and begins the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        self._listener.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._closed = True
        if self._connection is None:
            self._listener.connections.leave(self)
        else:
            self._connection.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next bytes from the socket go."""
        return self._listener.buffers.cipher

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        if self._closed:
            if self._connection is not None:
                self._connection.buffer_updated(nbytes)
            return
        self._incoming.write(self._listener.buffers.cipher[:nbytes])
        if self._connection is None:
            self._shake_hands()
        else:
            self._pump()

    def eof_received(self) -> bool:
        """The client sends no more."""
        return self._connection is not None and self._connection.eof_received()

    def pause_writing(self) -> None:
        """The client does not read."""
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        if self._connection is not None:
            self._connection.resume_writing()

    # What the listener calls during the handshake; then it knows the connection instead.

    @property
    def busy(self) -> bool:
        """No request has begun."""
        return False

    def sweep(self, now: float) -> None:
        """End a handshake that takes too long."""
        if now - self._since > HANDSHAKE_SECONDS:
            self._listener.refused(HttpRejection(RejectionReason.TLS, "the handshake took too long"), self._peer())
            self.abort()

    def retire(self) -> None:
        """The certificates have changed while this handshake goes on with those of before."""
        self._retired = True

    # A transport: what the connection calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if not self._closed:
            try:
                self._tls.write(data)
            except ssl.SSLError:
                self.abort()
            else:
                self._flush()

    def write_eof(self) -> None:
        """Send no more; go on reading."""
        self._say_goodbye()
        self._wire.write_eof()

    def can_write_eof(self) -> bool:
        """After a close_notify the rest is counted and not read, which is all that a `ReceiveConnection` asks for."""
        return True

    def pause_reading(self) -> None:
        """Hand on no more until `resume_reading`."""
        self._paused = True
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        """Hand on what is there already, then read again."""
        self._paused = False
        self._wire.resume_reading()
        self._listener.ingest.soon(self._pump)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As of the socket's transport."""
        self._wire.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of the socket's transport."""
        return self._wire.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether `close` was called or the client is gone."""
        return self._wire.is_closing()

    def close(self) -> None:
        """Close when everything is out."""
        self._say_goodbye()
        self._wire.close()

    def abort(self) -> None:
        """Close at once."""
        self._closed = True
        self._wire.abort()

    # Between the two.

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as problem:
            self._fail(problem)
        else:
            self._flush()
            self._listener.connections.leave(self)
            self._connection = ReceiveConnection(self._listener, peer_of(self._tls.getpeercert()))
            self._connection.connection_made(self)
            if self._retired:
                self._connection.retire()
            self._pump()

    def _fail(self, problem: ssl.SSLError) -> None:
        reason = problem.reason or "no TLS"
        verify = getattr(problem, "verify_message", "")
        why = f"{_ALERTS.get(reason, reason)}{f' ({verify})' if verify else ''}"
        sentence = f"the handshake failed: {why}"
        self._listener.refused(HttpRejection(RejectionReason.TLS, sentence), self._peer())
        if reason == "HTTP_REQUEST":
            self._wire.write(_SPOKE_HTTP)
        else:
            self._flush()  # the alert
        self._closed = True
        self._wire.close()

    def _pump(self) -> None:
        """Decrypt and hand on, as long as the connection wants more."""
        connection = self._connection
        assert connection is not None
        left = _Left.MORE
        while left is _Left.MORE and not self._paused and not self._closed:
            filled, left = self._decrypt(connection.get_buffer(-1))
            if filled:
                connection.buffer_updated(filled)
        self._flush()
        if left is _Left.GARBAGE:
            self.abort()
        elif left is _Left.END and not connection.eof_received():
            self.close()

    def _decrypt(self, buffer: memoryview) -> tuple[int, "_Left"]:
        """Fill the buffer as far as possible; says how far, and what is left."""
        filled = 0
        try:
            while filled < len(buffer):
                # With a buffer it gives the number of bytes, which typeshed does not know.
                count = cast(int, self._tls.read(len(buffer) - filled, buffer[filled:]))
                if not count:
                    return filled, _Left.END
                filled += count
        except ssl.SSLWantReadError:
            return filled, _Left.NOTHING
        except ssl.SSLZeroReturnError:
            return filled, _Left.END
        except ssl.SSLError:
            return filled, _Left.GARBAGE
        return filled, _Left.MORE

    def _say_goodbye(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(ssl.SSLError):  # it wants to wait for the client's goodbye, and we do not
                self._tls.unwrap()
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._wire.write(self._outgoing.read())

    def _peer(self) -> object:
        return self._wire.get_extra_info("peername")

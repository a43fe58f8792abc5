"""The `forward` destination: the shell around `fluentd_wire` that connects, shakes hands, sends and awaits the answer.

A connection carries one message at a time and is kept. With `acknowledge` delivered means that the other side said so;
without, that the bytes are in the connection, and what a broken one swallowed is lost.
"""

import asyncio
import contextlib
import secrets
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass, replace
from functools import partial
from random import random

from auditsink.common.clock import Clock
from auditsink.common.listen import parse_address
from auditsink.config import ForwardConfig
from auditsink.delivery.destination import Attempt, Batch, DestinationError, Limits
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry, RetryCause
from auditsink.delivery.settings import Credential, key, limits
from auditsink.destinations import fluentd_wire as wire
from auditsink.destinations.encoding import gzip, utf8_documents
from auditsink.http.tls import Tls

_DEFAULT = Limits(max_bytes=1_000_000, max_events=1000, max_wait=1.0, in_flight=1)

RENEWED_SECONDS = 300
"""A connection's life, and up to half as much more, so that not all end at once."""
_PIECE = 65536
_CHUNK_ID = 16  # bytes: what the specification says makes one unique


@dataclass(slots=True, eq=False)
class _Link:
    """A connection that is ready for a message. `context`: the TLS files that it was made with.

    `until`: monotonic seconds, after which another is made: a name may lead elsewhere by then.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    context: ssl.SSLContext | None
    until: float


class _RefusedError(Exception):
    """The handshake came to an outcome that lets no message through."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class ForwardDestination:
    """See `delivery.destination.Destination`."""

    type = "forward"

    def __init__(self, config: ForwardConfig, clock: Clock) -> None:
        """Raises DestinationError."""
        self.name = config.name
        self.limits = limits(config, _DEFAULT)
        self._config = config
        self._clock = clock
        try:
            self._host, self._port = parse_address(config.address)
        except ValueError as problem:
            raise DestinationError(f"{key(config, 'address')}: {problem}") from None
        self._tls = Tls(config.tls, key(config, "tls")) if config.tls is not None else None
        self._shared_key = _credential(config, "shared_key")
        self._password = _credential(config, "password")
        self._resting: list[_Link] = []
        self._open: set[_Link] = set()

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        config = self._config
        documents = utf8_documents(batch)
        content = await asyncio.to_thread(wire.entries, batch, documents, whole_seconds=config.time_as_integer)
        compressed = config.compression == "gzip"
        content = await gzip(content) if compressed else content
        chunk = b64encode(secrets.token_bytes(_CHUNK_ID)).decode() if config.acknowledge else None
        tag = config.tag.replace("{cluster}", batch.cluster)
        return partial(
            self._attempt, wire.message(tag, content, size=len(documents), compressed=compressed, chunk=chunk), chunk
        )

    async def probe(self) -> Outcome:
        """Connect and shake hands; a message without events would be one."""
        return await self._attempt(b"", None)

    async def close(self) -> None:
        """See `Destination.close`."""
        several, self._open = self._open, set()
        self._resting.clear()
        for link in several:
            link.writer.transport.abort()

    async def _attempt(self, message: bytes, chunk: str | None) -> Outcome:
        where = self._config.address
        ready = False
        try:
            async with asyncio.timeout(self._config.timeout):
                link = self._rested() or await self._connected()
                ready = True
                return await self._exchange(link, message, chunk)
        except _RefusedError as refused:
            return refused.outcome
        except TimeoutError:
            within = f"within {self._config.timeout:g} s"
            if ready:
                return Retry(f"{where}: no answer {within}", cause=RetryCause.TIMED_OUT)
            why = f"{where}: no connection {within}; check the look-up of its name, and firewalls in between"
            more = "" if self._shared_key is None else ", and that the other side asks for a shared_key"
            return Retry(why + more, cause=RetryCause.ELSEWHERE)
        except (wire.NoForwardError, OSError, asyncio.IncompleteReadError) as problem:
            outcome = _explained(where, problem)
            if isinstance(outcome, Retry) and not ready:  # no event had been sent yet, so none is to be suspected
                return replace(outcome, cause=RetryCause.ELSEWHERE)
            return outcome

    async def _exchange(self, link: _Link, message: bytes, chunk: str | None) -> Outcome:
        try:
            if message:
                link.writer.write(message)
                await link.writer.drain()
            outcome: Outcome = Delivered() if chunk is None else wire.acknowledged(await _document(link), chunk)
        except BaseException:
            self._drop(link)
            raise
        if isinstance(outcome, Delivered):
            self._resting.append(link)
        else:
            self._drop(link)
        return outcome

    def _rested(self) -> _Link | None:
        """One that the other side has not closed meanwhile, made with the files of now."""
        context = None if self._tls is None else self._tls.context()
        while self._resting:
            link = self._resting.pop()
            young = self._clock.monotonic() < link.until
            if link.context is context and young and not link.writer.is_closing() and not link.reader.at_eof():
                return link
            self._drop(link)
        return None

    async def _connected(self) -> _Link:
        context = None if self._tls is None else self._tls.context()
        name = None if context is None else self._host
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context, server_hostname=name)
        link = _Link(reader, writer, context, self._clock.monotonic() + RENEWED_SECONDS * (1 + random() / 2))
        self._open.add(link)
        try:
            if self._shared_key is not None:
                await self._shake_hands(link)
        except BaseException:
            self._drop(link)
            raise
        return link

    async def _shake_hands(self, link: _Link) -> None:
        assert self._shared_key is not None
        me = wire.ForwardIdentity(
            self._config.hostname or socket.gethostname(),
            self._shared_key.reveal(),
            self._config.username or "",
            "" if self._password is None else self._password.reveal(),
        )
        asked = wire.helo(await _document(link))
        salt = secrets.token_hex(_CHUNK_ID)
        link.writer.write(wire.ping(me, asked, salt))
        await link.writer.drain()
        outcome = wire.pong(await _document(link), me, asked, salt)
        if not isinstance(outcome, Delivered):
            raise _RefusedError(outcome)

    def _drop(self, link: _Link) -> None:
        self._open.discard(link)
        with contextlib.suppress(OSError, RuntimeError):
            link.writer.transport.abort()


def _explained(where: str, problem: Exception) -> Outcome:
    """What went wrong before there was an answer."""
    match problem:
        case wire.NoForwardError():
            return Misconfigured(f"{where}: {problem}")
        case ssl.SSLCertVerificationError():
            said = problem.verify_message
            return Misconfigured(f"{where}: its certificate is refused ({said}); check tls.ca_file and tls.server_name")
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE"):
            return Misconfigured(f"{where}: does not speak TLS; take out tls, or check address")
        case ssl.SSLError():
            why = (problem.reason or "no reason given").replace("_", " ").lower()
            said = f"{where}: TLS failed ({why}); check tls, the certificate that is shown and the other's log"
            return Retry(said, cause=RetryCause.ELSEWHERE)
        case asyncio.IncompleteReadError():
            return Retry(f"{where}: the connection was closed before the acknowledgement; look into the other's log")
        case _:
            return Retry(f"{where}: {getattr(problem, 'strerror', None) or 'cannot be reached'}")


async def _document(link: _Link) -> object:
    """The next one. Raises NoForwardError, and IncompleteReadError when the other side has closed."""
    received = b""
    while True:
        piece = await link.reader.read(_PIECE)
        if not piece:
            raise asyncio.IncompleteReadError(received, None)
        received += piece
        if (said := wire.answer(received)) is not None:
            return said


def _credential(config: ForwardConfig, name: str) -> Credential | None:
    inline, file = getattr(config, name), getattr(config, f"{name}_file")
    if inline is None and file is None:
        return None
    return Credential(key(config, name), inline, file, header_safe=False)

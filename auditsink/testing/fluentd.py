"""A forward input by script: reads what is sent with the `msgpack` library, answers as fluentd does, or misbehaves.

It is no fluentd: `tests/real` has that. It exists for what a real one does not do when it is asked to.
"""

import asyncio
import hashlib
import secrets
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import msgpack
from isal import isal_zlib

Act = Literal["ack", "last", "other chunk", "close", "nothing", "http"]
"""What becomes of one message; `last`: acknowledged, and the end of the connection. The last three lose it."""


@dataclass(frozen=True, slots=True)
class ForwardMessage:
    """`entries`: time (seconds and nanoseconds) and record of each event."""

    tag: str
    entries: list[tuple[tuple[int, int], dict[str, Any]]]
    option: dict[str, Any]


@dataclass(slots=True)
class ForwardServer:
    """An async context manager. `script`: an act for each message, `ack` after its end."""

    tls: ssl.SSLContext | None = None
    shared_key: str | None = None
    users: dict[str, str] = field(default_factory=dict)
    script: list[Act] = field(default_factory=list)
    impostor: bool = False
    """Says PONG without knowing the key."""
    messages: list[ForwardMessage] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first message that was taken."""
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def records(self) -> list[dict[str, Any]]:
        """All that was taken, in order."""
        return [record for message in self.messages for _, record in message.entries]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        unpacker = msgpack.Unpacker(raw=False, max_buffer_size=2**26)
        try:
            if self.shared_key is None or await self._let_in(reader, writer, unpacker):
                while (sent := await _next(reader, unpacker)) is not None:
                    if not self._take(sent, writer):
                        break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _take(self, sent: Any, writer: asyncio.StreamWriter) -> bool:
        act = self.script.pop(0) if self.script else "ack"
        tag, content, option = sent
        if act == "http":
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        if act in ("close", "http"):
            return False
        if act == "nothing":
            return True
        if option.get("compressed") == "gzip":
            content = isal_zlib.decompress(content, 31)
        self.messages.append(ForwardMessage(tag, list(_entries(content)), option))
        self.arrived.set()
        if "chunk" in option:
            writer.write(msgpack.packb({"ack": option["chunk"] if act != "other chunk" else "another"}))
        return act != "last"

    async def _let_in(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unpacker: msgpack.Unpacker
    ) -> bool:
        assert self.shared_key is not None
        nonce, salt = secrets.token_bytes(16), secrets.token_bytes(16) if self.users else b""
        writer.write(msgpack.packb(["HELO", {"nonce": nonce, "auth": salt, "keepalive": True}]))
        said = await _next(reader, unpacker)
        if said is None:
            return False
        _, hostname, salt_text, proof, user, password = said
        key_salt = salt_text.encode()  # text, as fluent-bit asks for
        known = _sha(salt, user.encode(), self.users.get(user, "").encode()) if self.users else ""
        good: bool = proof == _sha(key_salt, hostname.encode(), nonce, self.shared_key.encode())
        reason = "" if good else "shared_key mismatch"
        if good and self.users and (user not in self.users or password != known):
            good, reason = False, "username/password mismatch"
        mine = _sha(key_salt, b"server", nonce, (b"guess" if self.impostor else self.shared_key.encode()))
        writer.write(msgpack.packb(["PONG", good or self.impostor, reason, "server", mine if good else ""]))
        return good


async def _next(reader: asyncio.StreamReader, unpacker: msgpack.Unpacker) -> Any:
    while True:
        try:
            return unpacker.unpack()
        except msgpack.OutOfData:
            pass
        piece = await reader.read(65536)
        if not piece:
            return None
        unpacker.feed(piece)


def _entries(content: bytes) -> Iterable[tuple[tuple[int, int], dict[str, Any]]]:
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=2**26)
    unpacker.feed(content)
    for time, record in unpacker:
        if isinstance(time, int):
            yield (time, 0), record
        else:
            assert time.code == 0
            yield (int.from_bytes(time.data[:4]), int.from_bytes(time.data[4:])), record


def _sha(*parts: bytes) -> str:
    return hashlib.sha512(b"".join(parts)).hexdigest()

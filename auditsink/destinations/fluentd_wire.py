"""Fluentd's forward protocol (version 1 of its specification), the pure part: events to a message, answers to meanings.

    [tag, entries, {"chunk": id, "size": events, "compressed": "gzip"}]       PackedForward, CompressedPackedForward
    {"ack": id}                                                               when the option `chunk` was there
    ["HELO", {...}], ["PING", ...], ["PONG", ...]                              before all else, with a shared key

`entries` are `[time, record]` one after the other, gzipped as a whole. A record is a map, so each event is decoded
here, unlike anywhere else: of equal names the last one stays, and a number that has no place in msgpack makes the
event one of text, under `UNREADABLE`; so does nesting that receivers do not take.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack
import msgspec

from auditsink.audit.times import event_times
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Retry
from auditsink.http.answers import foreign

UNREADABLE = "auditsink.io/raw"
"""The one member of a record whose event cannot be a map."""

MOST_DEPTH = 100
"""Objects and arrays within each other. fluentd's msgpack gives up at 128, and closes the connection for the batch."""
_LOOKS = 16  # into the brackets; real events nest ten deep
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]\0"))

_from_json = msgspec.json.Decoder().decode
_to_msgpack = msgspec.msgpack.Encoder().encode
_ENTRY = b"\x92"
_EVENT_TIME = b"\xd7\x00"
_UINT32 = 0xCE
_LONGEST_ANSWER = 65536


def entries(batch: Batch, documents: Sequence[bytes], *, whole_seconds: bool) -> bytes:
    """Each document as `[time, record]`. Takes some 10 ms for a megabyte: run it off the loop."""
    pieces: list[bytes] = []
    times = event_times(documents, batch.received_ns)
    for document, time, shallow in zip(documents, times, _plainly_shallow(documents), strict=True):
        pieces += (_ENTRY, _time(time, whole_seconds), record(document, shallow=shallow))
    return b"".join(pieces)


def record(document: bytes, *, shallow: bool = False) -> bytes:
    """The document as a map in msgpack. Never raises for what is inside. `shallow`: it is known to be."""
    try:
        plain = _from_json(document)
        if isinstance(plain, dict) and (shallow or _shallow(plain)):
            return _to_msgpack(plain)
    except (msgspec.MsgspecError, RecursionError, OverflowError, ValueError):
        pass
    return _to_msgpack({UNREADABLE: document.decode(errors="replace")})


def _plainly_shallow(documents: Sequence[bytes]) -> list[bool]:
    """Of which the brackets alone show it: those in strings may hide it. One look at all of them together."""
    brackets = b"\0".join(documents).translate(None, _NO_BRACKETS)
    for _ in range(_LOOKS):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    left = [not one for one in brackets.split(b"\0")]
    return left if len(left) == len(documents) else [False] * len(documents)


def _shallow(plain: object) -> bool:
    """Whether nothing in it is nested deeper than receivers take."""
    level: list[Any] = [plain]
    for _ in range(MOST_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return True
    return False


def _time(time: bytes, whole_seconds: bool) -> bytes:
    """What `event_time` returned as EventTime (seconds and nanoseconds), or as a number for old receivers.

    Times past 2106 do not fit into the 32 bits of either.
    """
    seconds = min(int(time[:-7]), 2**32 - 1).to_bytes(4)
    if whole_seconds:
        return bytes([_UINT32]) + seconds
    return _EVENT_TIME + seconds + (int(time[-6:]) * 1000).to_bytes(4)


def message(tag: str, content: bytes, *, size: int, compressed: bool, chunk: str | None) -> bytes:
    """What goes over the connection. `content`: `entries`, gzipped if `compressed`. `chunk`: asks for an answer."""
    option: dict[str, object] = {"size": size}
    if compressed:
        option["compressed"] = "gzip"
    if chunk is not None:
        option["chunk"] = chunk
    return _to_msgpack([tag, content, option])


class NoForwardError(Exception):
    """The other side does not speak this protocol: a sentence."""


def answer(received: bytes) -> object:
    """The one document that was received, its texts as bytes; None while it is incomplete. Raises NoForwardError.

    Read by `msgpack`, which takes the nonces that fluent-bit sends as text and that are none.
    """
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=_LONGEST_ANSWER)
    try:
        unpacker.feed(received)
        said: object = unpacker.unpack()
    except msgpack.OutOfData:
        return None
    except (ValueError, TypeError, msgpack.BufferFull, msgpack.UnpackException):  # TypeError: a map with a map as key
        said = None
    if isinstance(said, list | dict):
        return said
    raise NoForwardError("what answers there is no forward input of fluentd or fluent-bit; check address and tls")


def acknowledged(said: object, chunk: str) -> Outcome:
    """What the answer to a message means."""
    if isinstance(said, dict) and b"ack" in said:
        mine = said[b"ack"] == chunk.encode()
        return Delivered() if mine else Retry("the acknowledgement is for another chunk")
    if isinstance(said, list) and said[:1] == [b"HELO"]:
        return Misconfigured("the other side asks for a shared key; set shared_key_file")
    return Retry("the answer is no acknowledgement")


class ForwardIdentity(NamedTuple):
    """Who we are: our host name, the key that both sides know, perhaps a user of the other side."""

    hostname: str
    shared_key: str
    username: str = ""
    password: str = ""


class Helo(NamedTuple):
    """What the other side begins with. `auth`: the salt of a password, empty when none is asked for."""

    nonce: bytes
    auth: bytes


def helo(said: object) -> Helo:
    """Raises NoForwardError."""
    if isinstance(said, list) and len(said) == 2 and said[0] == b"HELO" and isinstance(said[1], dict):
        return Helo(_bytes(said[1].get(b"nonce")), _bytes(said[1].get(b"auth")))
    raise NoForwardError("the other side does not begin with HELO: it has no shared key, or is no forward input")


def ping(me: ForwardIdentity, asked: Helo, salt: str) -> bytes:
    """The proof that we know the key, and the password if one is asked for. fluent-bit asks for a salt of text."""
    name, password = "", ""
    if asked.auth:
        name = me.username
        password = hashlib.sha512(asked.auth + me.username.encode() + me.password.encode()).hexdigest()
    proof = _digest(salt, me.hostname, asked.nonce, me.shared_key)
    return _to_msgpack(["PING", me.hostname, salt, proof, name, password])


def pong(said: object, me: ForwardIdentity, asked: Helo, salt: str) -> Outcome:
    """Whether we are let in, by one who knows the key too. Raises NoForwardError."""
    if not (isinstance(said, list) and len(said) == 5 and said[0] == b"PONG"):
        raise NoForwardError("the other side does not answer PING with PONG; it is no forward input")
    _, taken, reason, hostname, proof = said
    if not taken:
        return Misconfigured(
            f"the other side does not let us in ({foreign(_text(reason))}); check shared_key, username and password"
        )
    if not hmac.compare_digest(_digest(salt, _text(hostname), asked.nonce, me.shared_key), _text(proof)):
        return Misconfigured("the other side does not prove that it knows the shared key; check address and shared_key")
    return Delivered()


def _digest(salt: str, hostname: str, nonce: bytes, shared_key: str) -> str:
    return hashlib.sha512(salt.encode() + hostname.encode() + nonce + shared_key.encode()).hexdigest()


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b""

"""HEC's concatenated envelopes, taken apart by other means than those that the sink puts them together with."""

import re
from collections.abc import Iterator

import msgspec

from auditsink.testing.json_cut import check, members, skip_space


class Envelope(msgspec.Struct):
    """One event as it arrived; `event` and `time` are the raw bytes of their values."""

    event: msgspec.Raw = msgspec.Raw(b"")
    time: msgspec.Raw = msgspec.Raw(b"")
    host: str | None = None
    source: str | None = None
    sourcetype: str | None = None
    index: str | None = None
    fields: dict[str, str | int | float | bool | list[str] | None] = {}


class BadEnvelopeError(ValueError):
    """Which envelope is bad (from 0), and the code that Splunk answers."""

    def __init__(self, number: int, code: int) -> None:
        super().__init__(number, code)
        self.number = number
        self.code = code


def envelopes(body: bytes) -> Iterator[Envelope]:
    """The concatenated envelopes of a body. Raises BadEnvelopeError at the first bad one."""
    at = skip_space(body, 0)
    number = 0
    while at < len(body):
        try:
            envelope, at = _next_envelope(body, at)
            event = bytes(envelope.event)
            event.decode()  # msgspec does not look into what it leaves raw
        except msgspec.ValidationError as problem:
            raise BadEnvelopeError(number, 15 if "$.fields" in str(problem) else 6) from None
        except ValueError:
            raise BadEnvelopeError(number, 6) from None
        if event in (b"", b"null"):
            raise BadEnvelopeError(number, 12)
        if event == b'""':
            raise BadEnvelopeError(number, 13)
        yield envelope
        at = skip_space(body, at)
        number += 1


_decode = msgspec.json.Decoder(Envelope).decode
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")


def _next_envelope(body: bytes, start: int) -> tuple[Envelope, int]:
    rest = memoryview(body)[start:]
    try:
        return _copied(_decode(rest)), len(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as problem:
        # msgspec takes one document only, and says where the next one starts (counting from 1).
        trailing = _TRAILING.search(str(problem))
        if trailing is not None:
            end = int(trailing[1]) - 1
            return _copied(_decode(rest[:end])), start + end
    except RecursionError:
        pass
    check(bytes(rest))
    return _cut(body, start)


def _cut(body: bytes, start: int) -> tuple[Envelope, int]:
    found, end = members(body, start)
    others = (b'"%b":%b' % pair for pair in found.items() if pair[0] != b"event")
    envelope = _copied(_decode(b"{%b}" % b",".join(others)))
    envelope.event = msgspec.Raw(found.get(b"event", b""))
    return envelope, end


def _copied(envelope: Envelope) -> Envelope:
    # A Raw keeps the whole body alive; a test of a million events must not.
    envelope.event = envelope.event.copy()
    envelope.time = envelope.time.copy()
    return envelope

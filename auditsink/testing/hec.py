"""A Splunk HTTP Event Collector for tests, which can misbehave in every way that real ones do.

    async with HecServer(token="t", script=[reply(9), None]) as splunk:
        ...  # point the sink at splunk.url: the first request is told "server is busy", the second one is taken
    splunk.events[0].event  # the bytes of the first event, as they arrived

Without a script it behaves like Splunk: it checks the token, parses the envelopes, refuses a bad one with its number
and, with `acknowledge`, hands out ids that it calls true exactly once. Envelopes are taken apart by other means than
those that the sink puts them together with.
"""

import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec
import orjson

from auditsink.testing.json_cut import check, members, skip_space
from auditsink.testing.scripted import Received, Reply, ScriptedServer


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


_TEXTS: dict[int, tuple[int, str]] = {
    0: (200, "Success"),
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    16: (400, "Query string authorization is not enabled"),
    17: (200, "HEC is healthy"),
    18: (503, "HEC is unhealthy, queues are full"),
    19: (503, "HEC is unhealthy, ack service unavailable"),
    20: (503, "HEC is unhealthy, queues are full, ack service unavailable"),
    21: (401, "Invalid token"),
    22: (403, "Token disabled"),
    23: (503, "Server is shutting down"),
    24: (200, "Success, queue near capacity"),
    25: (200, "Success, ack channel near capacity"),
    26: (429, "Queue at capacity"),
    27: (429, "ACK channel at capacity"),
}

_NO_NUMBER = object()


def reply(
    code: int,
    *,
    number: object = _NO_NUMBER,
    ack_id: int | None = None,
    status: int | None = None,
    retry_after: str | None = None,
    cut: Literal["before", "middle"] | None = None,
    commit: bool | None = None,
    delay: float = 0.0,
) -> Reply:
    """An answer with one of HEC's codes, and the status and text that belong to it.

    `number` becomes `invalid-event-number`, of whatever type. Taken as committed when the code says so.
    """
    usual, text = _TEXTS[code]
    document: dict[str, object] = {"text": text, "code": code}
    if number is not _NO_NUMBER:
        document["invalid-event-number"] = number
    if ack_id is not None:
        document["ackId"] = ack_id
    return Reply(
        status=usual if status is None else status,
        body=orjson.dumps(document),
        headers={"Content-Type": "application/json"} | ({"Retry-After": retry_after} if retry_after else {}),
        commit=usual == 200 if commit is None else commit,
        cut=cut,
        delay=delay,
    )


def html(status: int) -> Reply:
    """What a proxy before Splunk answers."""
    return Reply(status, b"<html><body><h1>%d</h1></body></html>" % status, {"Content-Type": "text/html"})


class HecServer(ScriptedServer):
    """See the module. `events` is what was taken, in order; repeats are there twice."""

    def __init__(
        self,
        *,
        token: str = "11111111-2222-3333-4444-555555555555",
        script: Iterable[Reply | None] = (),
        ack_script: Iterable[Reply | None] = (),
        acknowledge: Literal["off", "on", "never"] = "off",
        indexes: frozenset[str] | None = None,
        max_body: int = 1_000_000,
        refuse: Callable[[bytes], int | None] | None = None,
        keep_before_refused: bool = False,
        health: Reply | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`refuse` gives the code for an event to be refused with; `indexes` the only ones that exist.

        `acknowledge`: `never` hands out ids that never turn true. `keep_before_refused`: whether the events before a
        refused one are kept (public sources do not agree on what Splunk does).
        """
        super().__init__(script=script, tls=tls)
        self.token = token
        self.ack_script = list(ack_script)
        self.events: list[Envelope] = []
        self.health = health or reply(17)
        self._acknowledge = acknowledge
        self._indexes = indexes
        self._max_body = max_body
        self._refuse = refuse
        self._keep_before_refused = keep_before_refused
        self._next_ack: dict[str, int] = {}
        self._untold: set[tuple[str, int]] = set()

    def scripted(self, request: Received) -> list[Reply | None]:
        """Events and questions for acknowledgements have a script each."""
        path = request.path.partition("?")[0]
        if path.endswith("/ack"):
            return self.ack_script
        return self.script if path.endswith("/event") else []

    async def respond(self, request: Received) -> Reply:
        """Answer as Splunk does: token, envelopes, channel and acknowledgements."""
        path = request.path.partition("?")[0]
        if path.endswith("/services/collector/health"):
            return self.health
        if path.endswith(("/services/collector/event", "/services/collector/ack")) and request.method == "POST":
            return self._denied(request) or (self._told(request) if path.endswith("/ack") else self._posted(request))
        return Reply(404, b'{"text":"The requested URL was not found on this server.","code":404}')

    def take(self, request: Received) -> None:
        """Commit although the script answers: acknowledgements are told, events are kept as far as they are good."""
        if request.path.partition("?")[0].endswith("/ack"):
            self._told(request)
        else:
            self._posted(request)

    def forget(self) -> None:
        """What a restart does to the acknowledgements: ids begin anew, and nothing of before is known."""
        self._next_ack.clear()
        self._untold.clear()

    def _denied(self, request: Received) -> Reply | None:
        given = request.headers.get("authorization")
        if given is None:
            return reply(2)
        kind, _, token = given.partition(" ")
        if kind != "Splunk" or not token:
            return reply(3)
        if token != self.token:
            return reply(4)
        if self._acknowledge != "off" and not request.headers.get("x-splunk-request-channel"):
            return reply(10)
        return None

    def _posted(self, request: Received) -> Reply:
        if len(request.body) > self._max_body:
            return html(413)
        if not request.body:
            return reply(5)
        good: list[Envelope] = []
        try:
            for number, envelope in enumerate(envelopes(request.body)):
                code = self._refusal(envelope)
                if code is not None:
                    return self._refused(good, number, code)
                good.append(envelope)
        except BadEnvelopeError as bad:
            return self._refused(good, bad.number, bad.code)
        self.events += good
        return reply(0, ack_id=self._new_ack(request.headers.get("x-splunk-request-channel", "")))

    def _refusal(self, envelope: Envelope) -> int | None:
        if self._indexes is not None and envelope.index not in self._indexes:
            return 7
        return None if self._refuse is None else self._refuse(bytes(envelope.event))

    def _refused(self, good: list[Envelope], number: int, code: int) -> Reply:
        if self._keep_before_refused:
            self.events += good
        return reply(code, number=number)

    def _new_ack(self, channel: str) -> int | None:
        if self._acknowledge == "off":
            return None
        ack_id = self._next_ack.get(channel, 0)
        self._next_ack[channel] = ack_id + 1
        self._untold.add((channel, ack_id))
        return ack_id

    def _told(self, request: Received) -> Reply:
        if self._acknowledge == "off":
            return reply(14)
        channel = request.headers.get("x-splunk-request-channel", "")
        asked: list[int] = orjson.loads(request.body)["acks"]
        told = {ack_id for ack_id in asked if self._acknowledge == "on" and (channel, ack_id) in self._untold}
        self._untold -= {(channel, ack_id) for ack_id in told}
        return Reply(body=orjson.dumps({"acks": {str(ack_id): ack_id in told for ack_id in asked}}))

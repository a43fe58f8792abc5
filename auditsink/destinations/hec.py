"""Splunk's HTTP Event Collector, the pure part: events to envelopes, answers to outcomes.

An envelope is `{"host":..,"source":..,"sourcetype":..,"index":..,"fields":{..},"time":1795383230.878739,"event":..}`;
envelopes stand one after the other without a separator. All but time and event is the same for every event of a
cluster and rendered once; the event's bytes go through untouched.

The codes are Splunk's ("Troubleshoot HTTP Event Collector", "Possible error codes"); 23 to 27 are known from other
HEC clients' tables only.
"""

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec
import orjson

from auditsink.audit import eventlist
from auditsink.audit.eventlist import Mark
from auditsink.audit.times import event_times
from auditsink.config import SplunkConfig
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry, RetryCause
from auditsink.http.answers import HttpAnswer, by_status, foreign, retry_after
from auditsink.http.pages import page

ALTERED = "auditsink_altered"
"""The indexed field that marks an event whose bytes had to be changed: `utf8` or `unsplit`."""

_INTERNAL_ERROR = 8  # of the codes that ask for another try, the one that an event may be to blame for
_TOO_LARGE = 413  # which says more than the code that comes with it, for versions give it different ones
_SLOW_DOWN = 5.0  # seconds to pause when a queue over there is nearly full and it does not say for how long


Labels = tuple[tuple[str, str], ...]


def head(config: SplunkConfig, cluster: str, altered: str | None = None, labels: Labels = ()) -> bytes:
    """The envelope of every event of a cluster, up to where its time goes."""
    described = {
        key: value.replace("{cluster}", cluster)
        for key in ("host", "source", "sourcetype", "index")
        if (value := getattr(config, key)) is not None
    }
    fields = config.fields | dict(labels) | ({ALTERED: altered} if altered else {})
    document: dict[str, object] = described | ({"fields": fields} if fields else {})
    return orjson.dumps(document)[:-1] + (b',"time":' if document else b'"time":')


class EnvelopeHeads:
    """The rendered heads of the clusters seen lately."""

    def __init__(self, config: SplunkConfig) -> None:
        self._config = config
        self._known: dict[tuple[str, str | None, Labels], bytes] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, batch: Batch, altered: str | None = None) -> bytes:
        """`head`, remembered. Bounded, because a client may name its cluster as it likes."""
        key = (batch.cluster, altered, tuple(batch.labels.items()))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= 4096:
                self._known.clear()
            found = self._known[key] = head(self._config, *key)
        return found


def body(batch: Batch, heads: EnvelopeHeads) -> bytes:
    """The envelopes of a batch. Never raises for what is inside an event."""
    return b"".join(_plain(batch, heads) if not batch.marks else _marked(batch, heads))


def _plain(batch: Batch, heads: EnvelopeHeads) -> list[bytes]:
    # Every event of the sink runs through here: four references each, and one join copies the bytes.
    count, events = len(batch.events), batch.events
    pieces: list[bytes] = [b',"event":'] * (4 * count + 1)
    pieces[0::4] = [b"}" + heads.of(batch)] * count + [b"}"]
    pieces[1::4] = event_times(events, batch.received_ns)
    pieces[3::4] = events
    pieces[0] = pieces[0][1:]
    return pieces


def _marked(batch: Batch, heads: EnvelopeHeads) -> Iterable[bytes]:
    for event, time in zip(batch.events, event_times(batch.events, batch.received_ns), strict=True):
        if Mark.UNSPLIT in batch.marks:
            safe, altered = eventlist.unsplit_document(event), "unsplit"
        else:
            safe, altered = eventlist.as_utf8(event), "utf8"
        yield heads.of(batch, None if safe == event else altered)
        yield time
        yield b',"event":'
        yield safe
        yield b"}"


class HecAnswer(msgspec.Struct):
    """What HEC says. Every field may be of any type: what answers need not be Splunk."""

    code: object = None
    text: object = ""
    invalid_event_number: object = msgspec.field(name="invalid-event-number", default=None)
    ack_id: object = msgspec.field(name="ackId", default=None)
    acks: object = None


_decode_answer = msgspec.json.Decoder(HecAnswer).decode


def parse(content: bytes) -> HecAnswer | None:
    """The answer's document; None when it is no JSON object (a proxy's page)."""
    try:
        return _decode_answer(content)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


class CodeMeaning(Enum):
    """What one of HEC's codes means for the batch."""

    ACCEPTED = "accepted"
    ACCEPTED_SLOWLY = "accepted, but a queue is nearly full"
    BUSY = "busy"
    MISCONFIGURED = "nothing succeeds until a person acts"
    POISON = "one event is refused for good"
    INDEX = "the index is refused"


_CHECK = "check token or token_file, and whether the token is enabled in Splunk"
_ACK = "acknowledge and the token's indexer acknowledgement must agree: set both or neither"
_CHANNEL = "Splunk does not take our channel; set acknowledge to what the token has"

CODES: dict[int, tuple[CodeMeaning, str]] = {
    0: (CodeMeaning.ACCEPTED, ""),
    17: (CodeMeaning.ACCEPTED, ""),
    24: (CodeMeaning.ACCEPTED_SLOWLY, ""),
    25: (CodeMeaning.ACCEPTED_SLOWLY, ""),
    8: (CodeMeaning.BUSY, "internal error"),
    9: (CodeMeaning.BUSY, "server is busy"),
    18: (CodeMeaning.BUSY, "queues are full"),
    19: (CodeMeaning.BUSY, "acknowledgement service is down"),
    20: (CodeMeaning.BUSY, "queues are full and the acknowledgement service is down"),
    23: (CodeMeaning.BUSY, "server is shutting down"),
    26: (CodeMeaning.BUSY, "queue is at capacity"),
    27: (CodeMeaning.BUSY, "acknowledgement channel is at capacity"),
    1: (CodeMeaning.MISCONFIGURED, f"the token is disabled: {_CHECK}"),
    2: (CodeMeaning.MISCONFIGURED, f"no token arrived: {_CHECK}, or a proxy strips the Authorization header"),
    3: (CodeMeaning.MISCONFIGURED, f"the Authorization header is not understood: {_CHECK}"),
    4: (CodeMeaning.MISCONFIGURED, f"the token is not known: {_CHECK}"),
    21: (CodeMeaning.MISCONFIGURED, f"the token is not valid: {_CHECK}"),
    22: (CodeMeaning.MISCONFIGURED, f"the token is disabled: {_CHECK}"),
    10: (CodeMeaning.MISCONFIGURED, f"a channel is missing: {_ACK}"),
    11: (CodeMeaning.MISCONFIGURED, _CHANNEL),
    14: (CodeMeaning.MISCONFIGURED, f"acknowledgement is disabled: {_ACK}"),
    16: (CodeMeaning.MISCONFIGURED, _CHANNEL),
    5: (
        CodeMeaning.MISCONFIGURED,
        "the request arrived without data: a proxy drops bodies, or this is a bug of auditsink",
    ),
    7: (CodeMeaning.INDEX, "the index does not exist or the token may not write to it: check index"),
    6: (CodeMeaning.POISON, "invalid data format"),
    12: (CodeMeaning.POISON, "event field is required"),
    13: (CodeMeaning.POISON, "event field cannot be blank"),
    15: (CodeMeaning.POISON, "indexed fields are refused"),
}


def classify(
    status: int, headers: Mapping[str, str], content: bytes, *, count: int, templated_index: bool = False
) -> Outcome:
    """What the answer to a POST of `count` events means. `headers` have lower-case names.

    A code that the table knows decides, whatever the status but 413; success needs the status 200 as well. An answer
    without such a code was written by something in between, and its status decides. A 200 among those delivered
    nothing (a login page). An unknown 4xx names no event, and taking it for the events' fault would throw all of
    them to the dead letters while someone mends a proxy: both are misconfigured.
    """
    answer = None if status == _TOO_LARGE else parse(content)
    code = answer.code if answer and type(answer.code) is int else None
    if answer is None or code not in CODES or (CODES[code][0] in _SUCCESS and status != 200):
        return (page(HttpAnswer(status, headers, content)) if status in (200, 400) else None) or by_status(
            status, headers
        )
    verdict, meaning = CODES[code]
    if verdict is CodeMeaning.ACCEPTED:
        return Delivered()
    if verdict is CodeMeaning.ACCEPTED_SLOWLY:
        return Delivered(slow_down=_wish(headers))
    said = foreign(answer.text) if isinstance(answer.text, str) else ""
    why = f"Splunk answered HTTP {status}, code {code} ({said}): {meaning}"
    if verdict is CodeMeaning.BUSY:
        cause = RetryCause.UNKNOWN if code == _INTERNAL_ERROR else RetryCause.THROTTLED
        return Retry(why, after=retry_after(headers), cause=cause)
    if verdict is CodeMeaning.POISON:
        return Poison(_index(answer.invalid_event_number, count), why)
    # A templated index came with the events' cluster: it is theirs to lose, and others' events must go on.
    return Poison(None, why) if verdict is CodeMeaning.INDEX and templated_index else Misconfigured(why)


def blames_events(status: int, content: bytes) -> bool:
    """Whether this may be a firewall's answer to what is inside an event: its page, not HEC's own words.

    403 and 406 are what such pages come with, 400 and even 200 (F5's default) as well. Everything else (404, 401, a
    redirect) speaks of addresses and credentials.
    """
    answer = parse(content)
    foreign_page = answer is None or type(answer.code) is not int or answer.code not in CODES
    return foreign_page and status in _FIREWALL


def ack_id(content: bytes) -> int | None:
    """The `ackId` of an accepted request."""
    answer = parse(content)
    return answer.ack_id if answer and type(answer.ack_id) is int else None


def acknowledged(status: int, headers: Mapping[str, str], content: bytes) -> frozenset[int] | Outcome:
    """The ids that an answer of `/services/collector/ack` calls acknowledged (`{"acks":{"0":true,"1":false}}`)."""
    answer = parse(content)
    if status == 200 and answer and isinstance(answer.acks, dict):
        told = [str(name) for name, done in answer.acks.items() if done is True]
        return frozenset(int(name) for name in told if name.isascii() and name.isdecimal() and len(name) < 20)
    return classify(status, headers, content, count=0)


_FIREWALL = frozenset({200, 400, 403, 406})
_SUCCESS = frozenset({CodeMeaning.ACCEPTED, CodeMeaning.ACCEPTED_SLOWLY})


def _wish(headers: Mapping[str, str]) -> float:
    wish = retry_after(headers)
    return _SLOW_DOWN if wish is None else wish


def _index(number: object, count: int) -> int | None:
    """`invalid-event-number` counts from 0; a number that cannot be one of our events names none."""
    return number if type(number) is int and 0 <= number < count else None

"""OTLP/HTTP logs with the JSON encoding (OpenTelemetry Protocol 1.x): an event is a log record with its JSON as body.

    {"resourceLogs":[{"resource":{"attributes":[..]},"scopeLogs":[{"scope":{"name":"auditsink"},"logRecords":[
      {"timeUnixNano":"..","observedTimeUnixNano":"..","severityNumber":9,"severityText":"INFO",
       "body":{"stringValue":"{the event}"},"attributes":[{"key":"log.record.uid","value":{"stringValue":".."}}]}]}]}]}

The body is a string and no kvlist: that keeps the event's bytes, its repeated keys and large integers, and whoever
wants attributes parses it (in a Collector: the transform processor's ParseJSON). `log.record.uid` is what the semantic
conventions offer to recognise a repeat by.

Two rules of the protocol would drop events; here none is dropped. After a partial success the request must not be sent
again, but which records were rejected is not said: the batch is bisected until it is known, and its other records may
arrive twice. Where a status other than 429, 502, 503, 504 must not be retried, a person is asked, or the event found.
"""

import msgspec
import orjson

from auditsink import __version__
from auditsink.audit.times import event_times
from auditsink.config import HttpConfig, Otlp
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison
from auditsink.destinations.encoding import documents, event_id, json_text
from auditsink.destinations.formats import SMALL_ANSWER, Request, Single
from auditsink.http.answers import HttpAnswer, by_status, foreign
from auditsink.http.pages import page, wants_tls
from auditsink.http.refusals import refusal

_CONTENT_TYPE = "application/json"
_RECORD = (
    b'{"timeUnixNano":"%s%s000","observedTimeUnixNano":"%d","severityNumber":9,"severityText":"INFO",'
    b'"body":{"stringValue":%s},"attributes":[{"key":"log.record.uid","value":{"stringValue":"%s"}}]}'
)
_BODY = (
    b'{"resourceLogs":[{"resource":{"attributes":%s},"scopeLogs":[{"scope":{"name":"auditsink","version":"%s"},'
    b'"logRecords":[%s]}]}]}'
)


class OtlpFormat:
    """See `Format`."""

    endpoint = "/v1/logs"
    answer_limit = SMALL_ANSWER

    def __init__(self, section: HttpConfig) -> None:
        settings = section.otlp or Otlp()
        self._resource = settings.resource

    def exchange(self, batch: Batch) -> Single:
        """See `Format.exchange`."""
        records = []
        times = event_times(batch.events, batch.received_ns)
        for event, time, sequence, body in zip(batch.events, times, batch.sequences, documents(batch), strict=True):
            uid = event_id(batch.cluster, sequence, time, event)
            records.append(_RECORD % (time[:-7], time[-6:], batch.received_ns, json_text(body), uid))
        attributes = [
            {"key": key, "value": {"stringValue": value.replace("{cluster}", batch.cluster)}}
            for key, value in self._resource.items()
        ]
        content = _BODY % (orjson.dumps(attributes), __version__.encode(), b",".join(records))
        return Single(Request(self.endpoint, content, _CONTENT_TYPE), classify)

    def probe(self) -> Request:
        """A request without a record, which the protocol allows."""
        return Request(self.endpoint, b'{"resourceLogs":[]}', _CONTENT_TYPE)

    def probed(self, answer: HttpAnswer) -> Outcome:
        """See `Format.probed`."""
        outcome = page(answer) or classify(answer)
        return Delivered() if isinstance(outcome, Poison) else outcome


class _RpcStatus(msgspec.Struct):
    message: str = ""


_decode_response = msgspec.json.Decoder(dict[str, object]).decode
_decode_status = msgspec.json.Decoder(_RpcStatus).decode

_SUCCESS = frozenset({200, 201, 202, 204})


def classify(answer: HttpAnswer) -> Outcome:
    """What an answer of a receiver means. An empty one is a yes too: several receivers leave the document out.

    The protocol has 200 for a success; Loki says 204 (grafana/loki#15761), gateways that queue say 202.
    """
    if answer.status in _SUCCESS:
        return page(answer) or refusal(answer) or _accepted(answer)
    if answer.status in (400, 422):
        return wants_tls(answer) or Poison(None, f"HTTP {answer.status}: {_message(answer.body)}")
    return by_status(answer.status, answer.headers)


def _accepted(answer: HttpAnswer) -> Outcome:
    """What the document says of the records. Its names have two spellings, which readers of ProtoJSON must know."""
    try:
        said = _decode_response(answer.body or b"{}")
        partial = said.get("partialSuccess") or said.get("partial_success") or {}
        if not isinstance(partial, dict):
            raise TypeError  # noqa: TRY301 - it is as unreadable as all else that is none
        rejected = int(partial.get("rejectedLogRecords") or partial.get("rejected_log_records") or 0)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError):
        return Misconfigured(
            f"HTTP {answer.status}, but no answer of an OTLP receiver; check url and what stands between"
        )
    if rejected <= 0:
        return Delivered()
    why = partial.get("errorMessage") or partial.get("error_message") or "without a reason"
    return Poison(None, f"{rejected} records rejected: {foreign(str(why))}")


def _message(body: bytes) -> str:
    try:
        return foreign(_decode_status(body).message)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return foreign(body.decode(errors="replace"))

"""What the `http` destination can speak: what a format is, and a file for each, of which the one in use is loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from auditsink.config import HttpConfig
from auditsink.config.http import HttpFormat
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Outcome
from auditsink.http.answers import HttpAnswer


@dataclass(frozen=True, slots=True)
class Request:
    """`target`: what follows the destination's url. `pause`: seconds to wait before it is sent."""

    target: str
    body: bytes = b""
    content_type: str = ""
    method: str = "POST"
    pause: float = 0.0


class Exchange(Protocol):
    """The requests that bring one batch in. It lives as long as its batch is attempted.

    So it may remember what is settled: after a Retry its request holds only what is still owed. After Delivered it
    begins anew, for the forwarder may not believe a refusal.
    """

    @property
    def request(self) -> Request:
        """What to send next."""
        ...

    def answered(self, answer: HttpAnswer) -> Outcome | None:
        """What the answer to `request` means; None: `request` is another one now, send it. Never raises."""
        ...


class Format(Protocol):
    """`endpoint`: the path below url that events go to, "" when url is the whole address.

    `answer_limit`: bytes of an answer that are worth reading.
    """

    endpoint: str
    answer_limit: int

    def exchange(self, batch: Batch) -> Exchange:
        """Encode a batch. Never raises for what is inside an event."""
        ...

    def probe(self) -> Request:
        """A request that shows whether events would be taken and delivers none."""
        ...

    def probed(self, answer: HttpAnswer) -> Outcome:
        """What the answer to `probe` means."""
        ...


SMALL_ANSWER = 65536
"""Bytes: what suffices where an answer says yes or gives a reason."""


@dataclass(frozen=True, slots=True)
class Single:
    """The exchange of a format whose batches are one request each."""

    request: Request
    classify: Callable[[HttpAnswer], Outcome]

    def answered(self, answer: HttpAnswer) -> Outcome:
        """See `Exchange.answered`."""
        return self.classify(answer)


__all__ = ["FORMATS", "Exchange", "Format", "Request", "format_of"]

FORMATS: Mapping[HttpFormat, str] = {
    "ndjson": "auditsink.destinations.formats.plain:ndjson",
    "json_array": "auditsink.destinations.formats.plain:json_array",
    "event_list": "auditsink.destinations.formats.plain:event_list",
    "elasticsearch": "auditsink.destinations.formats.elasticsearch:ElasticsearchFormat",
    "loki": "auditsink.destinations.formats.loki:LokiFormat",
    "otlp": "auditsink.destinations.formats.otlp:OtlpFormat",
    "meilisearch": "auditsink.destinations.formats.meilisearch:MeilisearchFormat",
}
"""By the value of `format`: what makes it of a destination's section."""


def format_of(section: HttpConfig) -> Format:
    """The format that the section names, with what the section tells it."""
    module, _, name = FORMATS[section.format].partition(":")
    make: Callable[[HttpConfig], Format] = getattr(import_module(module), name)
    return make(section)

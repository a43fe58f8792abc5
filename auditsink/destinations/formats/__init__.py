"""What the `http` destination can speak, a file each; `base` says what a format is."""

from collections.abc import Callable

from auditsink import config
from auditsink.destinations.formats import plain
from auditsink.destinations.formats.base import Exchange, Format, Request
from auditsink.destinations.formats.elasticsearch import ElasticsearchFormat
from auditsink.destinations.formats.loki import LokiFormat
from auditsink.destinations.formats.meilisearch import MeilisearchFormat
from auditsink.destinations.formats.otlp import OtlpFormat

__all__ = ["FORMATS", "Exchange", "Format", "Request"]

FORMATS: dict[str, Callable[[config.HttpConfig], Format]] = {
    "ndjson": lambda _: plain.ndjson(),
    "json_array": lambda _: plain.json_array(),
    "event_list": lambda _: plain.event_list(),
    "elasticsearch": lambda one: ElasticsearchFormat(one.elasticsearch or config.Elasticsearch()),
    "loki": lambda one: LokiFormat(one.loki or config.Loki()),
    "otlp": lambda one: OtlpFormat(one.otlp or config.Otlp()),
    "meilisearch": lambda one: MeilisearchFormat(one.meilisearch or config.Meilisearch()),
}
"""By the name that stands in `format`."""

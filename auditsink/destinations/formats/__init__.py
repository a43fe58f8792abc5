"""What the `http` destination can speak: a file each, and the one in use is loaded. `base` says what a format is."""

from collections.abc import Callable, Mapping
from importlib import import_module

from auditsink.config import HttpConfig
from auditsink.config.http import HttpFormat
from auditsink.destinations.formats.base import Exchange, Format, Request

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

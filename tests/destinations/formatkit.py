"""Formats without a server: what they would send, and answers as one would give them."""

import json
from collections.abc import Sequence
from typing import Any

from destinationkit import batch

from auditsink.config import HttpConfig
from auditsink.config.http import HttpFormat
from auditsink.destinations.formats import Exchange, Format, format_of
from auditsink.http.answers import HttpAnswer


def made(form: HttpFormat, **settings: Any) -> Format:
    """A format; `settings` are keys of the destination."""
    return format_of(HttpConfig(name="x", url="http://h", format=form, **settings))


def exchange(
    form: HttpFormat, events: Sequence[bytes], *, settings: dict[str, Any] | None = None, **batched: Any
) -> Exchange:
    """The exchange of a batch."""
    return made(form, **(settings or {})).exchange(batch(events, **batched))


def answer(status: int, document: object = None, **headers: str) -> HttpAnswer:
    """An answer with a JSON document, or with nothing."""
    body = b"" if document is None else json.dumps(document).encode()
    return HttpAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)

"""Asking a running sink's admin port for a document."""

import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

TIMEOUT_SECONDS = 5
ANSWER_BYTES = 64 * 2**20

url_option = click.option("--url", default="http://127.0.0.1:2020", show_default=True, help="The sink's admin port.")


def fetch(url: str, path: str) -> bytes:
    """What stands at that path. Raises ClickException."""
    return dated(url, path)[0]


def dated(url: str, path: str) -> tuple[bytes, str]:
    """And the `Date` of the answer, which is the sink's clock. Raises ClickException."""
    try:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise click.UsageError("--url is no URL; write http:// or https:// and a host.")
        with urllib.request.urlopen(f"{url.rstrip('/')}{path}", timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked
            content = answer.read(ANSWER_BYTES)
            assert isinstance(content, bytes)
            return content, answer.headers["Date"] or ""
    except urllib.error.HTTPError as problem:
        why = f"answers {problem.code}; --url must be the sink's admin port"
        raise click.ClickException(f"{url}{path}: {why}") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "reason", None) or problem
        raise click.ClickException(
            f"{url}: no answer ({reason}); is the sink running, and is this its admin port?"
        ) from None


def document(url: str, path: str, raw: bytes, key: str) -> dict[str, Any]:
    """The JSON document, which must have that key. Raises ClickException."""
    try:
        found = orjson.loads(raw)
        if isinstance(found, dict) and key in found:
            return found
    except orjson.JSONDecodeError:
        pass
    raise click.ClickException(f"{url}{path}: is no auditsink status; --url must be the sink's admin port")

"""Asking a running sink's admin port, as the commands do; every trouble becomes one sentence."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import click
import orjson

TIMEOUT_SECONDS = 30
"""Without a byte: an answer takes milliseconds, and a stream says every ten seconds that it is alive."""
ANSWER_BYTES = 64 * 2**20
LINE_BYTES = 2**20


url_option = click.option("--url", default="http://127.0.0.1:2020", show_default=True, help="The sink's admin port.")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to another place."""

    def redirect_request(self, *_: object) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


class AdminPort:
    """`url` as a user gave it; `token_file`: what admin.token_file of the sink says, None without one."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        """Raises UsageError, ClickException."""
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise click.UsageError("--url is no URL; write http:// or https:// and a host.")
        self.url = url.rstrip("/")
        self._headers = {} if token_file is None else {"Authorization": f"Bearer {_token(token_file)}"}

    def get(self, path: str, parameters: list[tuple[str, str]] | None = None) -> bytes:
        """The body of an answer. Raises ClickException."""
        return self.dated(path, parameters)[0]

    def dated(self, path: str, parameters: list[tuple[str, str]] | None = None) -> tuple[bytes, str]:
        """And its `Date`, which is the sink's clock. Raises ClickException."""
        with self._open(path, parameters) as answer:
            try:
                return answer.read(ANSWER_BYTES), answer.headers["Date"] or ""
            except (OSError, HTTPException) as problem:
                self._no_answer(problem)

    def lines(self, path: str, parameters: list[tuple[str, str]]) -> Iterator[bytes]:
        """The lines of a stream, as they come. Raises ClickException when it breaks."""
        with self._open(path, parameters) as answer:
            try:
                while line := answer.readline(LINE_BYTES):
                    yield line
            except (OSError, HTTPException) as problem:
                self._no_answer(problem)

    def _open(self, path: str, parameters: list[tuple[str, str]] | None) -> HTTPResponse:
        query = f"?{urlencode(parameters)}" if parameters else ""
        asked = urllib.request.Request(f"{self.url}{path}{query}", headers=self._headers)  # noqa: S310 - checked above
        try:
            answer = _opener.open(asked, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as problem:
            why = self._refused() if problem.code == 401 else _why(problem) or "--url must be the sink's admin port"
            raise click.ClickException(f"{self.url}{path}: answers {problem.code}; {why}") from None
        except (OSError, ValueError, HTTPException) as problem:
            self._no_answer(problem)
        assert isinstance(answer, HTTPResponse)
        return answer

    def _refused(self) -> str:
        if self._headers:
            return "--token-file does not hold what the sink's admin.token_file holds"
        return "give --token-file, a file with what the sink's admin.token_file holds"

    def _no_answer(self, problem: Exception) -> NoReturn:
        reason = getattr(problem, "reason", None) or problem
        raise click.ClickException(
            f"{self.url}: no answer ({reason}); is the sink running, and is this its admin port?"
        ) from None


def _why(problem: urllib.error.HTTPError) -> str:
    """What the sink itself says of it; empty when it is not the sink that speaks."""
    try:
        found = orjson.loads(problem.read(LINE_BYTES))
        why = found["error"]
    except (OSError, HTTPException, orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return str(why)[:500]


def _token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise click.ClickException(f"--token-file {path}: cannot be read ({problem})") from None
    if not token or not token.isascii() or not token.isprintable():
        raise click.ClickException(f"--token-file {path}: holds no token; write what admin.token_file holds into it")
    return token


def fetch(url: str, path: str) -> bytes:
    """What stands at that path. Raises ClickException."""
    return AdminPort(url).get(path)


def dated(url: str, path: str) -> tuple[bytes, str]:
    """And the `Date` of the answer. Raises ClickException."""
    return AdminPort(url).dated(path)


def document(url: str, path: str, raw: bytes, key: str) -> dict[str, Any]:
    """The JSON document, which must have that key. Raises ClickException."""
    try:
        found = orjson.loads(raw)
        if isinstance(found, dict) and key in found:
            return found
    except orjson.JSONDecodeError:
        pass
    raise click.ClickException(f"{url}{path}: is no auditsink status; --url must be the sink's admin port")

"""Asking a running sink's admin port, as the commands do; every trouble becomes one sentence.

Through httpx, which the commands alone load: a running sink never does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
import orjson

TIMEOUT_SECONDS = 30
"""Without a byte: an answer takes milliseconds, and a stream says every ten seconds that it is alive."""
ANSWER_BYTES = 64 * 2**20
LINE_BYTES = 2**20


url_option = click.option("--url", default="http://127.0.0.1:2020", show_default=True, help="The sink's admin port.")


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
        with self._asked("GET", path, parameters) as answer:
            return self._whole(answer), answer.headers.get("date", "")

    def lines(self, path: str, parameters: list[tuple[str, str]]) -> Iterator[bytes]:
        """The lines of a stream, as they come. Raises ClickException when it breaks, or a line has no end."""
        with self._asked("GET", path, parameters) as answer:
            rest = b""
            for piece in answer.iter_bytes():
                *lines, rest = (rest + piece).split(b"\n")
                yield from (line + b"\n" for line in lines)
                if len(rest) > LINE_BYTES:
                    raise click.ClickException(f"{self.url}{path}: a line has no end; is this its admin port?")

    def post(self, path: str, parameters: list[tuple[str, str]]) -> tuple[int, bytes]:
        """Status and body of the answer to a change: 409 says why it was not made. Raises ClickException."""
        with self._asked("POST", path, parameters, understood=(200, 409)) as answer:
            return answer.status_code, self._whole(answer)

    @contextmanager
    def _asked(
        self, method: str, path: str, parameters: list[tuple[str, str]] | None, understood: tuple[int, ...] = (200,)
    ) -> Iterator[httpx.Response]:
        # No redirect, which would take the token to another place; no proxy of the environment.
        try:
            with (
                httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, headers=self._headers) as client,
                client.stream(
                    method, f"{self.url}{path}", params=tuple(parameters or ()), json=None if method == "GET" else {}
                ) as answer,
            ):
                if answer.status_code not in understood:
                    why = self._refused() if answer.status_code == 401 else _why(answer)
                    raise click.ClickException(f"{self.url}{path}: answers {answer.status_code}; {why}")
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as problem:
            raise click.ClickException(
                f"{self.url}: no answer ({problem}); is the sink running, and is this its admin port?"
            ) from None

    def _whole(self, answer: httpx.Response) -> bytes:
        content = bytearray()
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > ANSWER_BYTES:
                raise click.ClickException(f"{self.url}: the answer has no end; is this its admin port?")
        return bytes(content)

    def _refused(self) -> str:
        if self._headers:
            return "--token-file does not hold what the sink's admin.token_file holds"
        return "give --token-file, a file with what the sink's admin.token_file holds"


def _why(answer: httpx.Response) -> str:
    """What the sink itself says of it."""
    content = b""
    for piece in answer.iter_bytes():
        content += piece
        if len(content) > LINE_BYTES:
            break
    try:
        return str(orjson.loads(content)["error"])[:500]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "--url must be the sink's admin port"


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

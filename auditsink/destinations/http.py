"""Any HTTP collector that takes a POST: NDJSON, a JSON array or an EventList (another auditsink takes that one).

One request is in flight by default, because such a collector usually keeps the order in which requests arrive. All
three formats promise UTF-8 (RFC 8259, 8.1), so what is none becomes U+FFFD here.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import quote, urlsplit

from auditsink.clock import Clock
from auditsink.config import HttpConfig
from auditsink.destinations.answers import by_status
from auditsink.destinations.base import Attempt, Batch, DestinationError, Limits
from auditsink.destinations.client import Client, TransportProblem
from auditsink.destinations.encoding import gzip, lines, utf8_documents
from auditsink.destinations.settings import Credential, checked_url, key, limits
from auditsink.destinations.tls import Tls
from auditsink.forward.outcome import Delivered, Outcome, Poison

_DEFAULT = Limits(max_bytes=1_000_000, max_events=1000, max_wait=1.0, in_flight=1)

_UNSAFE = re.compile(r"[^\x21-\x7e]")


def _ndjson(documents: Sequence[bytes]) -> bytes:
    return lines(documents)


def _json_array(documents: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(documents) + b"]"


def _event_list(documents: Sequence[bytes]) -> bytes:
    head = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
    return head + b",".join(documents) + b"]}\n"


FORMATS: dict[str, tuple[str, Callable[[Sequence[bytes]], bytes]]] = {
    "ndjson": ("application/x-ndjson", _ndjson),
    "json_array": ("application/json", _json_array),
    "event_list": ("application/json", _event_list),
}
"""The content type of each format, and how it puts documents together."""


def classify(status: int, headers: Mapping[str, str]) -> Outcome:
    """What the status of an answer means for the batch (RFC 9110, 15). `headers` have lower-case names."""
    if 200 <= status < 300:
        return Delivered()
    if status in (400, 422):
        return Poison(None, f"HTTP {status}: the collector refuses the content")
    return by_status(status, headers)


class HttpDestination:
    """See `base.Destination`."""

    type = "http"

    def __init__(self, config: HttpConfig, clock: Clock) -> None:  # noqa: ARG002 - what every destination is built with
        """Raises DestinationError."""
        self.name = config.name
        self.limits = limits(config, _DEFAULT)
        self._url = _template(key(config, "url"), config.url)
        self._content_type, self._put_together = FORMATS[config.format]
        self._compressed = config.compression == "gzip"
        self._own_headers = config.headers
        self._authorization = _authorization(config)
        self._client = Client(
            self._url,
            Tls(config.tls, key(config, "tls")) if self._url.startswith("https:") else None,
            timeout=config.timeout,
            connections=self.limits.in_flight,
        )

    async def prepare(self, batch: Batch) -> Attempt:
        """See `base.Destination.prepare`."""
        content = self._put_together(utf8_documents(batch))
        return partial(self._attempt, batch.cluster, await gzip(content) if self._compressed else content)

    async def probe(self) -> Outcome:
        """Post an empty list of events, for no request asks less of an unknown collector.

        A collector that refuses emptiness (400, 422) has at least let us in.
        """
        content = self._put_together(())
        outcome = await self._attempt("default", await gzip(content) if self._compressed else content)
        return Delivered() if isinstance(outcome, Poison) else outcome

    async def close(self) -> None:
        """See `base.Destination.close`."""
        await self._client.close()

    async def _attempt(self, cluster: str, content: bytes) -> Outcome:
        url = self._url.replace("{cluster}", quote(cluster, safe=""))
        answer = await self._client.post(url, content, self._headers(cluster))
        return answer.outcome() if isinstance(answer, TransportProblem) else classify(answer.status, answer.headers)

    def _headers(self, cluster: str) -> dict[str, str]:
        shown = _UNSAFE.sub("_", cluster)
        headers = {name: value.replace("{cluster}", shown) for name, value in self._own_headers.items()}
        headers["Content-Type"] = self._content_type
        if self._compressed:
            headers["Content-Encoding"] = "gzip"
        if self._authorization is not None:
            headers["Authorization"] = self._authorization()
        return headers


def _template(where: str, url: str) -> str:
    """The URL with `{cluster}` in its path or query. Not in the host: a client names its cluster, but not our peer."""
    checked_url(where, url.replace("{cluster}", "cluster"))
    if "{" in urlsplit(url).netloc:
        raise DestinationError(f"{where}: has a template in its host; {{cluster}} may stand in the path or the query")
    return url


def _authorization(config: HttpConfig) -> Callable[[], str] | None:
    auth = config.auth
    if auth.bearer is not None or auth.bearer_file is not None:
        bearer = Credential(key(config, "auth.bearer"), auth.bearer, auth.bearer_file, header_safe=True)
        return lambda: f"Bearer {bearer.reveal()}"
    if auth.username is not None:
        password = Credential(key(config, "auth.password"), auth.password, auth.password_file, header_safe=False)
        return lambda: f"Basic {b64encode(f'{auth.username}:{password.reveal()}'.encode()).decode()}"
    return None

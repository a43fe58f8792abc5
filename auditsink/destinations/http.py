"""The `http` destination: the shell around a format of `formats`, which posts and asks on as the format says.

One request is in flight by default, because most of what stands at the other end keeps the order of arrival.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote, urlsplit

from auditsink.common.clock import Clock
from auditsink.config import HttpConfig
from auditsink.delivery.destination import Attempt, Batch, DestinationError
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry
from auditsink.delivery.settings import checked_url, key
from auditsink.destinations import defaults
from auditsink.destinations.authorization import Authorization
from auditsink.destinations.encoding import gzip
from auditsink.destinations.formats import Exchange, Request, format_of
from auditsink.http.answers import HttpAnswer
from auditsink.http.client import Client, TransportProblem
from auditsink.http.pages import not_about_events
from auditsink.http.proxy import ProxyRoute
from auditsink.http.tls import Tls

_UNSAFE = re.compile(r"[^\x21-\x7e]")
_OF_ONE_CLUSTER = frozenset({260, 400, 403, 404, 422, 429})
"""What an address or a tenant is answered with that is wrong, over its quota, or blocked (Loki's 260)."""
_STOPS = Misconfigured | Retry
_NO_CLUSTER = "default"  # what a probe, which delivers nothing, is asked for


class HttpDestination:
    """See `Destination`. `templated`: each cluster is delivered to an address or a tenant of its own."""

    type = "http"

    def __init__(self, config: HttpConfig, clock: Clock) -> None:
        """Raises DestinationError."""
        self.name = config.name
        self.limits = defaults.limits(config)
        self._clock = clock
        self._asked = False
        self._format = format_of(config)
        self._url = _template(key(config, "url"), config.url)
        self.templated = "{cluster}" in " ".join((config.url, *config.headers.values()))
        self._compressed = config.compression == "gzip"
        self._own_headers = config.headers
        proxy = ProxyRoute(config.proxy, key(config, "proxy")) if config.proxy is not None else None
        self._authorization = Authorization(
            config.auth, key(config, "auth"), clock, timeout=config.timeout, proxy=proxy
        )
        self._client = Client(
            config.url,
            Tls(config.tls, key(config, "tls")) if config.url.startswith("https:") else None,
            timeout=config.timeout,
            connections=self.limits.in_flight,
            proxy=proxy,
            answer_limit=self._format.answer_limit,
        )

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        delivery = _Posting(self, batch.cluster, self._format.exchange(batch))
        await delivery.encode()
        return delivery.attempt

    async def probe(self) -> Outcome:
        """Ask in the format's own way."""
        request = self._format.probe()
        answer = await self.send(_NO_CLUSTER, request, await self.content(request))
        return self._format.probed(answer) if isinstance(answer, HttpAnswer) else answer

    async def refused(self, cluster: str, answer: HttpAnswer, outcome: Outcome) -> Outcome:
        """What a refusal of a whole request means: an empty one that gets the same is the proof that no event did it.

        Asked once between two successes, for a bad event is refused many times while it is looked for.
        """
        if self._asked or not isinstance(outcome, Poison) or not 400 <= answer.status < 500:
            return outcome
        self._asked = True
        request = self._format.probe()
        said = await self.send(cluster, request, await self.content(request))
        return (not_about_events(answer, said) if isinstance(said, HttpAnswer) else None) or outcome

    def took(self) -> None:
        """A batch was taken."""
        self._asked = False

    async def close(self) -> None:
        """See `Destination.close`."""
        await self._client.close()
        await self._authorization.close()

    async def content(self, request: Request) -> bytes:
        """The request's body as it goes out."""
        return await gzip(request.body) if self._compressed and request.body else request.body

    async def send(self, cluster: str, request: Request, content: bytes) -> HttpAnswer | Outcome:
        """The answer, or why there is none. After a 401 or 403 asks once more, if another credential can be had."""
        if request.pause:
            await self._clock.sleep(request.pause)
        url = below(self._url, self._format.endpoint, request.target).replace("{cluster}", quote(cluster, safe=""))
        headers = self._headers(cluster, request)
        shown = await self._authorization.headers()
        answer = await self._ask(request.method, url, content, headers, shown)
        if isinstance(answer, HttpAnswer) and self._authorization.renew(shown, answer.status):
            answer = await self._ask(request.method, url, content, headers, await self._authorization.headers())
        return answer

    async def _ask(
        self, method: str, url: str, content: bytes, headers: Mapping[str, str], shown: Mapping[str, str] | Outcome
    ) -> HttpAnswer | Outcome:
        if not isinstance(shown, Mapping):
            return shown
        answer = await self._client.request(method, url, content, {**headers, **shown})
        return answer.outcome() if isinstance(answer, TransportProblem) else answer

    def _headers(self, cluster: str, request: Request) -> dict[str, str]:
        shown = _UNSAFE.sub("_", cluster)
        headers = {name: value.replace("{cluster}", shown) for name, value in self._own_headers.items()}
        if request.body:
            headers["Content-Type"] = request.content_type
            if self._compressed:
                headers["Content-Encoding"] = "gzip"
        return headers


class _Posting:
    """One batch on its way: `attempt` may be called until it delivers."""

    def __init__(self, destination: HttpDestination, cluster: str, exchange: Exchange) -> None:
        self._destination = destination
        self._cluster = cluster
        self._exchange = exchange
        self._request: Request | None = None
        self._content = b""

    async def encode(self) -> None:
        """Make ready what the exchange wants to send, unless it is."""
        request = self._exchange.request
        if request is not self._request:
            self._content = await self._destination.content(request)
            self._request = request

    async def attempt(self) -> Outcome:
        """See `delivery.destination.Attempt`."""
        while True:
            await self.encode()
            answer = await self._destination.send(self._cluster, self._exchange.request, self._content)
            if not isinstance(answer, HttpAnswer):
                return answer
            outcome = self._exchange.answered(answer)
            if isinstance(outcome, Delivered):
                self._destination.took()
            if outcome is not None:
                outcome = await self._destination.refused(self._cluster, answer, outcome)
                alone = self._destination.templated and answer.status in _OF_ONE_CLUSTER
                return replace(outcome, cluster_only=True) if alone and isinstance(outcome, _STOPS) else outcome


def below(url: str, endpoint: str, target: str) -> str:
    """The address of a target (path and query) below a URL, which people also paste with the endpoint at its end."""
    if not target:
        return url
    parts = urlsplit(url)
    path, _, query = target.partition("?")
    query = "&".join(filter(None, (parts.query, query)))
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(endpoint)}"
    return f"{base}{path}?{query}" if query else base + path


def _template(where: str, url: str) -> str:
    """The URL with `{cluster}` in its path or query. Not in the host: a client names its cluster, but not our peer."""
    checked_url(where, url.replace("{cluster}", "cluster"))
    if "{" in urlsplit(url).netloc:
        raise DestinationError(f"{where}: has a template in its host; {{cluster}} may stand in the path or the query")
    return url

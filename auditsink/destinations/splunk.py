"""Splunk's HTTP Event Collector: the shell around `hec` that posts, probes and waits for acknowledgements.

Two requests are in flight by default: Splunk orders by event time, so the order of arrival does not matter there.
"""

from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import orjson

from auditsink.common.clock import Clock
from auditsink.config import SplunkConfig
from auditsink.delivery.destination import Attempt, Batch, DestinationError
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry
from auditsink.delivery.settings import Credential, checked_url, key
from auditsink.destinations import defaults, hec
from auditsink.destinations.acks import Acknowledgements
from auditsink.destinations.encoding import gzip
from auditsink.http.answers import HttpAnswer
from auditsink.http.client import Client, TransportProblem
from auditsink.http.proxy import ProxyRoute
from auditsink.http.tls import Tls

_HEARINGS = 3  # refusals by a page that is not Splunk's until an event that is alone is given up: backends may differ

_ENDPOINT = "/services/collector"
_NO_DATA = 5  # HEC's answer to an empty request whose token is good


class SplunkDestination:
    """See `base.Destination`."""

    type = "splunk"

    def __init__(self, config: SplunkConfig, clock: Clock, *, new_channel: Callable[[], UUID] = uuid4) -> None:
        """Raises DestinationError."""
        base = _base(key(config, "url"), config.url)
        self.name = config.name
        self.limits = defaults.limits(config)
        self._event_url = f"{base}{_ENDPOINT}/event"
        self._ack_url = f"{base}{_ENDPOINT}/ack"
        self._health_url = f"{base}{_ENDPOINT}/health"
        self._token = Credential(key(config, "token"), config.token, config.token_file, header_safe=True)
        self._client = Client(
            base,
            Tls(config.tls, key(config, "tls")) if base.startswith("https:") else None,
            timeout=config.timeout,
            connections=self.limits.in_flight + 1,
            cookies=config.acknowledge,
            proxy=ProxyRoute(config.proxy, key(config, "proxy")) if config.proxy else None,
            lost=self._broke,
        )
        self._heads = hec.EnvelopeHeads(config)
        self._templated_index = "{cluster}" in (config.index or "")
        self._compressed = config.compression == "gzip"
        self._acks = (
            Acknowledgements(self._acknowledged, clock, lambda: str(new_channel())) if config.acknowledge else None
        )

    async def prepare(self, batch: Batch) -> Attempt:
        """See `base.Destination.prepare`."""
        content = hec.body(batch, self._heads)
        return partial(self._attempt, await gzip(content) if self._compressed else content, len(batch.events))

    async def probe(self) -> Outcome:
        """Health first, then an empty request: a good token is told that there is no data, a bad one that it is bad.

        Whether the index exists shows only with an event.
        """
        health = await self._client.get(self._health_url, {})
        if isinstance(health, TransportProblem):
            return health.outcome()
        busy = hec.classify(health.status, health.headers, health.body, count=0)
        if isinstance(busy, Retry):
            return busy
        channel = None if self._acks is None else self._acks.channel()
        answer = await self._client.post(self._event_url, b"", self._headers(channel))
        if isinstance(answer, TransportProblem):
            return answer.outcome()
        if self._acks is not None and channel is not None and hec.ack_id(answer.body) is None:
            self._acks.give_back(channel)
        if (said := hec.parse(answer.body)) and said.code == _NO_DATA:
            return Delivered()
        return hec.classify(answer.status, answer.headers, answer.body, count=0)

    async def close(self) -> None:
        """See `base.Destination.close`."""
        if self._acks is not None:
            await self._acks.close()
        await self._client.close()

    async def _attempt(self, content: bytes, count: int) -> Outcome:
        # An event that is alone is condemned by what follows, so it gets more than one hearing.
        status = 0
        for _ in range(1 if count > 1 else _HEARINGS):
            channel = None if self._acks is None else self._acks.channel()
            answer = await self._post(content, channel)
            if isinstance(answer, TransportProblem):
                self._broke()
                return answer.outcome()
            if not hec.blames_events(answer.status, answer.body) or not isinstance(await self.probe(), Delivered):
                return await self._judged(answer, count, channel)
            status = answer.status
        return Poison(
            None,
            f"HTTP {status}, and not from Splunk, while an empty request gets through to Splunk: something in "
            "between (a web application firewall?) refuses what is in the event; exempt this address from its rules",
        )

    async def _post(self, content: bytes, channel: str | None) -> HttpAnswer | TransportProblem:
        headers = self._headers(channel) | ({"Content-Encoding": "gzip"} if self._compressed else {})
        return await self._client.post(self._event_url, content, headers)

    async def _judged(self, answer: HttpAnswer, count: int, channel: str | None) -> Outcome:
        outcome = hec.classify(
            answer.status, answer.headers, answer.body, count=count, templated_index=self._templated_index
        )
        if self._acks is None or channel is None:
            return outcome
        ack_id = hec.ack_id(answer.body)
        if not isinstance(outcome, Delivered):
            if ack_id is None:
                self._acks.give_back(channel)
            return outcome
        if ack_id is None:
            return Misconfigured(
                "acknowledge is set, but Splunk answered without an ackId: turn on indexer acknowledgement for the "
                "token, or set acknowledge: false"
            )
        acknowledged = await self._acks.of(channel, ack_id)
        return outcome if isinstance(acknowledged, Delivered) else acknowledged

    async def _acknowledged(self, channel: str, ack_id: int) -> bool | Outcome:
        answer = await self._client.post(self._ack_url, orjson.dumps({"acks": [ack_id]}), self._headers(channel))
        if isinstance(answer, TransportProblem):
            self._broke()
            return answer.outcome()
        told = hec.acknowledged(answer.status, answer.headers, answer.body)
        return ack_id in told if isinstance(told, frozenset) else told

    def _broke(self) -> None:
        if self._acks is not None:
            self._acks.broke()

    def _headers(self, channel: str | None) -> dict[str, str]:
        headers = {"Authorization": f"Splunk {self._token.reveal()}", "Content-Type": "application/json"}
        return headers | ({"X-Splunk-Request-Channel": channel} if channel else {})


def _base(where: str, url: str) -> str:
    """The address that HEC's endpoints are appended to; people paste it with one of them at its end."""
    parts = urlsplit(checked_url(where, url))
    if parts.query or parts.fragment:
        raise DestinationError(f"{where}: ends in a query (?...) or fragment; write it without")
    path = parts.path.rstrip("/")
    for ending in (f"{_ENDPOINT}/event", _ENDPOINT):
        path = path.removesuffix(ending)
    return f"{parts.scheme}://{parts.netloc}{path}"

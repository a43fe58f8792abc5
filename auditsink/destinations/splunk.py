"""Splunk's HTTP Event Collector: the shell around `hec` that posts, probes and waits for acknowledgements.

Two requests are in flight by default: Splunk orders by event time, so the order of arrival does not matter there.

With indexer acknowledgement, what was accepted is delivered only when an indexer says that it is on disk. The collector
gives each request an id, and asked about ids it tells each `true` exactly once. Its ids count within a channel, in its
memory: one that was restarted counts from the beginning again and knows nothing of what waits, and the receivers behind
a load balancer each count for themselves. So a channel carries one request at a time: an id in it can mean no other
one. A channel goes on to the next request when its own was acknowledged; else it is never used again.

What is not acknowledged within five minutes is sent again (Splunk's own advice; the pause of up to 10 s between two
questions too), and may then be there twice. After a connection broke, one that rested included, which is all that we
see of a restart, what waited gets three questions more and no five minutes: else a restart would hold up delivery for
as long.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import orjson

from auditsink.common.clock import Clock
from auditsink.config import SplunkConfig
from auditsink.delivery.destination import Attempt, Batch, DestinationError
from auditsink.delivery.outcome import Delivered, Misconfigured, Outcome, Poison, Retry, RetryCause
from auditsink.delivery.settings import Credential, checked_url, key
from auditsink.destinations import defaults, hec
from auditsink.destinations.bodies import BodyShare
from auditsink.destinations.encoding import gzip
from auditsink.http.answers import HttpAnswer
from auditsink.http.client import Client, TransportProblem
from auditsink.http.proxy import ProxyRoute
from auditsink.http.tls import Tls

_FIRST_PAUSE = 1.0  # seconds
_LONGEST_PAUSE = 10.0
_PATIENCE = 300.0
_PATIENCE_AFTER_BREAK = 3 * _LONGEST_PAUSE

Ask = Callable[[str, int], Awaitable[bool | Outcome]]
"""Asks about the id in a channel: whether it is acknowledged now, or why there is no answer."""


@dataclass(slots=True, eq=False)
class _Waiting:
    ack_id: int
    until: float
    outcome: asyncio.Future[Outcome]
    why: str = f"no acknowledgement within {_PATIENCE:g} s; sending it again"


class Acknowledgements:
    """The requests that wait for their acknowledgement, each in a channel of its own."""

    def __init__(self, ask: Ask, clock: Clock, new_channel: Callable[[], str]) -> None:
        self._ask = ask
        self._clock = clock
        self._new_channel = new_channel
        self._resting: list[str] = []
        self._waiting: dict[str, _Waiting] = {}
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Acknowledgements {len(self._waiting)} waiting, {len(self._resting)} channels resting>"

    def __len__(self) -> int:
        return len(self._waiting)

    def channel(self) -> str:
        """For one request, or one question about nothing. Give it back, have it wait, or let it go."""
        return self._resting.pop() if self._resting else self._new_channel()

    def give_back(self, channel: str) -> None:
        """No id was given out in it that is not told: it may carry another request."""
        self._resting.append(channel)

    async def of(self, channel: str, ack_id: int) -> Outcome:
        """Wait until the channel's request is acknowledged (Delivered), or for five minutes (Retry)."""
        mine = _Waiting(ack_id, self._clock.monotonic() + _PATIENCE, asyncio.get_running_loop().create_future())
        self._waiting[channel] = mine
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            outcome = await mine.outcome
        finally:
            if self._waiting.get(channel) is mine:
                del self._waiting[channel]
        if isinstance(outcome, Delivered):
            self.give_back(channel)
        return outcome

    def broke(self) -> None:
        """A connection broke: who was at its other end may have forgotten what waits."""
        until = self._clock.monotonic() + _PATIENCE_AFTER_BREAK
        for waiting in self._waiting.values():
            if until < waiting.until:
                waiting.until = until
                waiting.why = "no acknowledgement since a connection broke; sending it again"

    async def close(self) -> None:
        """Stop asking; whoever waits gets Retry."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _poll(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while self._waiting:
                await self._clock.sleep(pause)
                pause = _FIRST_PAUSE if await self._round() else min(pause * 2, _LONGEST_PAUSE)
        finally:
            why = "the acknowledgement was no longer waited for"
            self._settle(self._waiting, Retry(why, cause=RetryCause.ELSEWHERE))

    async def _round(self) -> bool:
        """Ask about all once. True when something was learned, so that the next questions come soon."""
        now = self._clock.monotonic()
        for channel, waiting in list(self._waiting.items()):
            if waiting.until <= now:
                self._settle([channel], Retry(waiting.why, cause=RetryCause.ELSEWHERE))
        asked = [(channel, waiting.ack_id) for channel, waiting in self._waiting.items()]
        answers = await asyncio.gather(*(self._ask(channel, ack_id) for channel, ack_id in asked))
        for (channel, _), answer in zip(asked, answers, strict=True):
            if answer is True:
                self._settle([channel], Delivered())
            elif isinstance(answer, Misconfigured):
                self._settle([channel], answer)
        return True in answers

    def _settle(self, channels: Iterable[str], outcome: Outcome) -> None:
        for channel in list(channels):
            waiting = self._waiting.pop(channel, None)
            if waiting is not None and not waiting.outcome.done():
                waiting.outcome.set_result(outcome)


_HEARINGS = 3  # refusals by a page that is not Splunk's until an event that is alone is given up: backends may differ

_ENDPOINT = "/services/collector"
_NO_DATA = 5  # HEC's answer to an empty request whose token is good


class SplunkDestination:
    """See `Destination`."""

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
        self.bodies: BodyShare | None = None
        self.form = _form(config)
        self._acks = (
            Acknowledgements(self._acknowledged, clock, lambda: str(new_channel())) if config.acknowledge else None
        )

    async def prepare(self, batch: Batch) -> Attempt:
        """See `Destination.prepare`."""
        build = partial(self._body, batch)
        content = await (build() if self.bodies is None else self.bodies.of(batch, build))
        return partial(self._attempt, content, len(batch.events))

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
        """See `Destination.close`."""
        if self._acks is not None:
            await self._acks.close()
        if self.bodies is not None:
            self.bodies.leave()
        await self._client.close()

    async def _body(self, batch: Batch) -> bytes:
        content = hec.body(batch, self._heads)
        return await gzip(content) if self._compressed else content

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


def _form(config: SplunkConfig) -> str | None:
    """What bodies depend on beside the batch; the keys of a record's shape too, which changes before it comes here."""
    if config.filter is not None:
        return None
    envelope = (config.host, config.source, config.sourcetype, config.index, config.fields)
    return repr((config.kind, config.compression, envelope, config.record, config.add, config.time_key))


def _base(where: str, url: str) -> str:
    """The address that HEC's endpoints are appended to; people paste it with one of them at its end."""
    parts = urlsplit(checked_url(where, url))
    if parts.query or parts.fragment:
        raise DestinationError(f"{where}: ends in a query (?...) or fragment; write it without")
    path = parts.path.rstrip("/")
    for ending in (f"{_ENDPOINT}/event", _ENDPOINT):
        path = path.removesuffix(ending)
    return f"{parts.scheme}://{parts.netloc}{path}"

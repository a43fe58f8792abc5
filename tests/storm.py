"""Clients that post without end, through every fault, and note what they were promised."""

import asyncio
import io
import random
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from ledger import Key, Ledger, body, cluster

POST_SECONDS = 30.0
"""What kube-apiserver gives one attempt."""
AGAIN_SECONDS = 0.02
"""Before the same bytes are posted once more. An apiserver waits for seconds; here that would only take time."""
PAUSE_SECONDS = 0.02
"""Between two batches of a client, on average. Without it the storm fills disks instead of testing them."""


class Addressed(Protocol):
    """Where to post: a sink, or what stands before several."""

    @property
    def receive(self) -> str:
        """The address for the next request."""
        ...


class Storm:
    """`clients` of them, each posting its batches one after the other, the same bytes until they are answered 200.

    That is what an apiserver does, but for its patience; so each client's events have an order that must arrive.
    """

    def __init__(
        self,
        sink: Addressed,
        ledger: Ledger,
        clients: int,
        *,
        first_client: int = 0,
        seed: int = 0,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self.refused: dict[int, int] = {}
        self.retry_after: set[str | None] = set()
        self._sink = sink
        self._ledger = ledger
        self._numbers = range(first_client, first_client + clients)
        self._random = random.Random(seed)
        self._pause = pause
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POST_SECONDS))
        self._tasks = [asyncio.create_task(self._client(number)) for number in self._numbers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The clients end after the request that they are in; an unanswered batch stays so."""
        self._stopping = True
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await self._session.close()

    async def _client(self, client: int) -> None:
        number = 0
        while not self._stopping:
            await self._batch(Key(client, number))
            number += 1
            await asyncio.sleep(self._random.expovariate(1 / self._pause))

    async def _batch(self, key: Key) -> None:
        data = body(key)
        self._ledger.posted.add(key)
        while not self._stopping:
            if await self._post(key, data):
                self._ledger.promised(key)
                return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _post(self, key: Key, data: bytes) -> bool:
        self._ledger.requests += 1
        try:
            async with self._session.post(f"{self._sink.receive}/{cluster(key)}", data=io.BytesIO(data)) as answer:
                await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        if answer.status != 200:
            self.refused[answer.status] = self.refused.get(answer.status, 0) + 1
            self.retry_after.add(answer.headers.get("Retry-After"))
        return answer.status == 200

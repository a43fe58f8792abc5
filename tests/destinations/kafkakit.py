"""A Kafka destination for tests, closed at the end."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from auditsink.config import KafkaConfig
from auditsink.delivery.destination import Batch
from auditsink.delivery.outcome import Outcome
from auditsink.destinations.kafka import KafkaDestination
from auditsink.testing.clock import FakeClock


@contextlib.asynccontextmanager
async def lake(servers: list[str], **settings: Any) -> AsyncIterator[KafkaDestination]:
    sections: dict[str, Any] = {"name": "lake", "bootstrap_servers": servers, "timeout": 60.0} | settings
    made = KafkaDestination(KafkaConfig(**sections), FakeClock())
    try:
        yield made
    finally:
        await made.close()


async def deliver(destination: KafkaDestination, of: Batch) -> Outcome:
    attempt = await destination.prepare(of)
    return await attempt()

"""What the tests against Kafka share: a destination for a sink, waiting for it, and figures for the table."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypedDict

from confluent_kafka import Message
from kafka_reading import headers
from running import Sink

ONE_TRY_SOON = {"initial": "200ms", "max": "1s"}


def lake(servers: Sequence[str], **settings: Any) -> dict[str, Any]:
    """A `destinations` entry."""
    return {
        "name": "lake", "type": "kafka", "bootstrap_servers": list(servers), "backoff": ONE_TRY_SOON, **settings
    }  # fmt: skip


async def trouble(sink: Sink, state: str, *words: str) -> dict[str, Any]:
    """The first status of the destination with that state and those words in its last error."""

    def so(status: dict[str, Any]) -> bool:
        (one,) = status["destinations"]
        return one["state"] == state and all(word in (one["last_error"] or "") for word in words)

    return dict((await sink.until(so))["destinations"][0])


def sequences(messages: Sequence[Message]) -> dict[str, list[int]]:
    """By cluster, in the order in which they stand in the topic."""
    found: dict[str, list[int]] = {}
    for message in messages:
        said = headers(message)
        found.setdefault(said["cluster"].decode(), []).append(int(said["sequence"]))
    return found


class Figures(TypedDict):
    """What a row says in numbers."""

    into: int
    out: int
    dead_lettered: int
    repeated: int


def figures(messages: Sequence[Message], status: dict[str, Any]) -> Figures:
    """For a row: what went in, what is there, what was dead-lettered, what is there more than once."""
    several = Counter((cluster, number) for cluster, numbers in sequences(messages).items() for number in numbers)
    (one,) = status["destinations"]
    return Figures(
        into=one["accepted"],
        out=len(several),
        dead_lettered=one["dead_lettered"],
        repeated=several.total() - len(several),
    )


def in_order(messages: Sequence[Message]) -> bool:
    """Whether first arrivals of each cluster come in the order of acceptance."""
    firsts = [list(dict.fromkeys(numbers)) for numbers in sequences(messages).values()]
    return all(numbers == sorted(numbers) for numbers in firsts)

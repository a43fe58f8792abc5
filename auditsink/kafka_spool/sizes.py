"""How many bytes the topic takes of the brokers' disks: the one request of the protocol that aiokafka does not know.

DescribeLogDirs (key 35), version 1, which every broker since 2.0 answers; layout: Kafka protocol, "DescribeLogDirs".
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String


class _Sizes(Response):  # type: ignore[misc]  # aiokafka is not typed
    API_KEY = 35
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("log_dir", String("utf-8")),
                (
                    "topics",
                    Array(
                        ("name", String("utf-8")),
                        (
                            "partitions",
                            Array(("partition", Int32), ("size", Int64), ("offset_lag", Int64), ("is_future", Boolean)),
                        ),
                    ),
                ),
            ),
        ),
    )


class _AskedSizes(RequestStruct):  # type: ignore[misc]  # aiokafka is not typed
    API_KEY = 35
    API_VERSION = 1
    RESPONSE_TYPE = _Sizes
    SCHEMA = Schema(
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
    )


class AskSizes(Request[_AskedSizes]):  # type: ignore[misc]  # aiokafka is not typed
    """What a broker's replicas of these partitions take."""

    API_KEY: ClassVar[int] = 35

    def __init__(self, topic: str, partitions: Iterable[int]) -> None:
        self._topics = [(topic, list(partitions))]

    def build(self, request_struct_class: Any) -> Any:
        """See `aiokafka.protocol.api.Request`."""
        return request_struct_class(self._topics)


def sizes(answers: Iterable[Any]) -> Mapping[int, int]:
    """Bytes by partition, of the replica that takes most. Raises KafkaError."""
    found: dict[int, int] = {}
    for answer in answers:
        for code, _directory, topics in answer.results:
            if code:
                raise for_code(code)
            for _topic, partitions in topics:
                for partition, size, _lag, future in partitions:
                    if not future:
                        found[partition] = max(found.get(partition, 0), size)
    return found

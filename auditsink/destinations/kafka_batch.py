"""A Kafka batch that is compressed in a thread, before the producer has it.

aiokafka compresses when it sends, in the event loop, where everybody who posts waits for it. What it does not know
before then (producer id, epoch, first sequence number) stands in the batch's header, outside of what is compressed: it
is put in at the end, and the checksum taken again. Layout: Kafka protocol, "Record Batch", magic 2.
"""

import asyncio
import struct
from typing import Any

from auditsink.common.crc32c import crc32c

_CRC = struct.Struct(">I")
_CRC_AT, _COVERED_FROM = 17, 21
_PRODUCER = struct.Struct(">qhi")  # producer id, epoch, first sequence number
_PRODUCER_AT = 43


class Compressed:
    """Stands where aiokafka has its `BatchBuilder`, from when all messages are in it."""

    def __init__(self, content: bytearray, count: int) -> None:
        self._content = content
        self._count = count

    def __repr__(self) -> str:
        return f"<Compressed {self._count} messages in {len(self._content)} bytes>"

    @classmethod
    async def of(cls, builder: Any) -> "Compressed":
        """What aiokafka's builder makes of its messages, made in a thread."""
        return cls(await asyncio.to_thread(builder._build), builder.record_count())  # noqa: SLF001 - there is no other

    def record_count(self) -> int:
        """How many messages are in the batch."""
        return self._count

    def closed(self) -> bool:
        """Nothing can be added any more."""
        return True

    def close(self) -> None:
        """Called by aiokafka before it sends; this batch is whole already."""

    def _set_producer_state(self, producer_id: int, epoch: int, first: int) -> None:
        _PRODUCER.pack_into(self._content, _PRODUCER_AT, producer_id, epoch, first)
        _CRC.pack_into(self._content, _CRC_AT, crc32c(memoryview(self._content)[_COVERED_FROM:]))

    def _build(self) -> bytearray:
        return self._content

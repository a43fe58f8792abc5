"""A batch that was compressed before the producer's state was known is the one that aiokafka would have made."""

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from destinationkit import event

from auditsink.kafka.link import Compressed

CODECS = {"none": 0, "gzip": 1, "lz4": 3, "zstd": 4}
STATE = (2**62 + 1, 2**15 - 1, 2**31 - 1)


def filled(compression: str) -> BatchBuilder:
    builder = BatchBuilder(1_000_000, CODECS[compression], is_transactional=1)
    for number in range(100):
        headers = [("sequence", b"%d" % number)]
        assert builder.append(timestamp=1700 + number, key=b"prod", value=event(number), headers=headers) is not None
    return builder


@pytest.mark.parametrize("compression", CODECS)
async def test_it_reads_as_aiokafkas_own(compression: str) -> None:
    compressed = await Compressed.of(filled(compression))
    compressed._set_producer_state(*STATE)
    found = DefaultRecordBatch(bytes(compressed._build()))
    assert found.validate_crc()
    assert (found.producer_id, found.producer_epoch, found.base_sequence) == STATE
    assert (found.is_transactional, compressed.record_count(), compressed.closed()) == (True, 100, True)
    assert [record.value for record in found] == [event(number) for number in range(100)]


async def test_it_is_aiokafkas_own_byte_for_byte() -> None:
    own = filled("none")
    own._set_producer_state(*STATE)
    compressed = await Compressed.of(filled("none"))
    compressed._set_producer_state(1, 2, 3)
    compressed._set_producer_state(*STATE)
    assert compressed._build() == own._build()

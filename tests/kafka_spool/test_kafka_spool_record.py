"""A record of the topic: it comes back as it was, encrypted where asked, and what is none is told from it."""

import os
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from topickit import EPOCH, body, names, packer, posted, stored

from auditsink.kafka_spool.packing import grouped
from auditsink.kafka_spool.record import NoRecordError, StoredRecord, decode
from auditsink.spool.content import ContentError, Unpacker
from auditsink.spool.errors import MissingKeyError
from auditsink.spool.keys import Keyring


def keyring(file: Path) -> Keyring:
    file.write_bytes(b"one " + b64encode(os.urandom(32)) + b"\n")
    return Keyring.load(file)


def unpacked(one: StoredRecord, keys: Keyring | None = None) -> list[str]:
    return names(Unpacker(keys).record(one.segment, one.header, one.value, 0).events)


def test_requests_come_back_with_all_that_was_said_of_them() -> None:
    one = stored(7, posted("a", body("a", 1, 3), source="cert:x"))
    record = Unpacker(None).record(one.segment, one.header, one.value, 0)
    assert (one.offset, one.cluster, one.header.received_ns) == (7, "a", EPOCH)
    assert (names(record.events), record.source) == (["a-1-0", "a-1-1", "a-1-2"], "cert:x")


def test_what_is_encrypted_is_read_with_its_key_and_not_without(tmp_path: Path) -> None:
    keys = keyring(tmp_path / "keys")
    one = stored(0, posted("a", body("a", 1, 2)), keys=keys)
    assert b"a-1-0" not in one.value
    assert unpacked(one, keys) == ["a-1-0", "a-1-1"]
    with pytest.raises(MissingKeyError):
        unpacked(one)


def test_a_record_that_was_moved_to_another_cluster_is_none(tmp_path: Path) -> None:
    keys = keyring(tmp_path / "keys")
    packing = packer(keys)
    request = posted("a", body("a", 1, 2))
    packing.digest(request)
    ((encoded, _),) = packing.pack([request])
    with pytest.raises(NoRecordError, match="checksum"):
        decode(0, b"b", encoded.value, encoded.headers)


def test_what_others_write_is_told() -> None:
    packing = packer()
    request = posted("a", body("a", 1, 2))
    packing.digest(request)
    ((encoded, _),) = packing.pack([request])
    for key, value, headers in (
        (None, encoded.value, encoded.headers),
        (b"a", None, encoded.headers),
        (b"a", encoded.value, []),
        (b"a", encoded.value, [("auditsink", b"9")]),
        (b"a", encoded.value[:-9], encoded.headers),
        (b"a", b"", encoded.headers),
        (b"a", encoded.value, [*encoded.headers, ("seal", b"x")]),
    ):
        with pytest.raises(NoRecordError):
            decode(0, key, value, headers)


def test_a_value_that_is_gone_cannot_be_read_and_hurts_nobody() -> None:
    one = stored(0, posted("a", body("a", 1, 2)))
    with pytest.raises(ContentError):
        unpacked(replace(one, value=b""))


def test_small_ones_of_one_source_share_a_record_and_others_are_alone() -> None:
    small = [posted("a", body("a", number, 1)) for number in range(5)]
    other = posted("a", body("a", 9, 1), source="token:y")
    large = posted("a", body("a", 10, 1000))
    marked = posted("a", b"x")
    several = [*small, other, large, small[0], marked, small[1]]
    assert [len(group) for group in grouped(several)] == [5, 1, 1, 1, 1, 1]

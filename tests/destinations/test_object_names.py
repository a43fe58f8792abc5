"""How objects are called: ours, and fluent-bit's way with strftime, $UUID and $TAG."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from destinationkit import batch, event

from auditsink.config import S3Config
from auditsink.delivery.destination import Batch
from auditsink.destinations.objects import compressed, path_of
from auditsink.load import ConfigError, parse

AT = int(datetime(2026, 11, 28, 16, 5, 9, tzinfo=UTC).timestamp()) * 10**9 + 7


def of_ring(events: list[bytes], first: int = 100) -> Batch:
    return replace(batch(events, first=first), received_ns=AT, origin=str)


def key(key_format: str, made: Batch | None = None, tag: str = "audit.kube.eu") -> str:
    config = S3Config(name="s3", bucket="b", key_format=key_format, tag=tag, compression="none")
    return path_of(config, made or of_ring([event()]))


def test_the_time_is_when_the_first_event_was_accepted_and_no_slash_begins_the_key() -> None:
    found = key("/audit-logs/%Y/%m/%d/%H/%M/%S/$UUID")

    assert re.fullmatch(r"audit-logs/2026/11/28/16/05/09/[A-Z2-7]{8}", found)


@pytest.mark.parametrize(
    ("key_format", "found"),
    [
        ("$TAG/$TAG[0]/$TAG[2]/x$UUID", r"audit\.kube\.eu/audit/eu/x[A-Z2-7]{8}"),
        ("$TAG[9]x/$UUID.gz", r"x/[A-Z2-7]{8}\.gz"),
        ("%Y/%%", r"2026/%-object[A-Z2-7]{8}"),
    ],
)
def test_tags_and_what_stands_for_a_missing_uuid(key_format: str, found: str) -> None:
    assert re.fullmatch(found, key(key_format))


def test_a_repeat_has_the_same_key_and_another_batch_another() -> None:
    first, longer, other = of_ring([event()]), of_ring([event(), event(1)]), of_ring([event()], first=101)

    assert key("$UUID", first) == key("$UUID", longer)
    assert len({key("$UUID", one) for one in (first, other, replace(first, cluster="x"))}) == 3


def test_what_is_sent_once_more_takes_nobodys_place() -> None:
    several = [replace(of_ring([event()] * count), origin=None) for count in (1, 2)]

    assert len({key("$UUID", one) for one in (*several, of_ring([event()]))}) == 3


def test_an_object_without_compression_is_lines() -> None:
    assert compressed([b'{"a":\n1}', b"{}"], "none") == b'{"a": 1}\n{}\n'


def test_our_own_names_say_that_nothing_is_compressed() -> None:
    config = S3Config(name="s3", bucket="b", compression="none")

    assert path_of(config, of_ring([event()])).endswith(f"-{100:020}.ndjson")


@pytest.mark.parametrize("key_format", ["a//b", "%Q", "$INDEX", "../x", "a/${X}", ""])
def test_a_format_that_is_not_understood_is_refused(key_format: str) -> None:
    text = f"destinations: [{{name: s, type: s3, bucket: b, key_format: '{key_format.replace('$', '$$')}'}}]"

    with pytest.raises(ConfigError, match=r"key_format"):
        parse(text.encode(), "c.yaml", {})

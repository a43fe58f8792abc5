"""What one record is: an event, or a list of several; members at its top; and what a refused list means."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from destinationkit import HOSTILE, RECEIVED_NS, batch, event

from auditsink.audit.eventlist import Mark, split
from auditsink.audit.times import by_position, event_time
from auditsink.config import FileConfig, HttpConfig, KafkaConfig, StdoutConfig
from auditsink.delivery.destination import Attempt, Batch, Limits
from auditsink.delivery.outcome import Delivered, EventRejection, Misconfigured, Outcome, Poison, Retry, TooLarge
from auditsink.destinations import build
from auditsink.destinations.wrappers import RecordShape, ShapedDestination, of_list, shaped
from auditsink.load import ConfigError, parse
from auditsink.testing.clock import FakeClock

ADDED = {"region": "eu-1", "stage": "prod"}


def test_what_is_added_stands_at_the_top_of_the_event_and_touches_nothing_else() -> None:
    one = b'{"kind":"Event","auditID":"a","requestObject":{"region":"below","n":9007199254740993}}'

    (made,) = shaped(batch([one]), RecordShape(add=ADDED)).events

    assert made == b'{"region":"eu-1","stage":"prod",' + one[1:]


def test_what_the_event_has_at_its_top_is_not_added_again() -> None:
    one = b'{"kind":"Event","stage":"ResponseComplete"}'

    (made,) = shaped(batch([one]), RecordShape(add=ADDED)).events

    assert made == b'{"region":"eu-1","kind":"Event","stage":"ResponseComplete"}'


@pytest.mark.parametrize(("one", "made"), [(b"{}", b'{"a":"b"}'), (b" { }", b'{"a":"b"}'), (b"17", b"17")])
def test_an_odd_event_stays_what_it_is(one: bytes, made: bytes) -> None:
    assert shaped(batch([one]), RecordShape(add={"a": "b"})).events == [made]


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_event_stops_its_record(kind: str) -> None:
    (made,) = shaped(batch([HOSTILE[kind]]), RecordShape(add={"a": "b"}, time_key="at")).events

    assert made.endswith(HOSTILE[kind][1:])
    assert made.startswith(b'{"at":"2026-11-22T21:13:38.661308Z","a":"b",')


def test_the_time_is_still_found_without_decoding() -> None:
    (made,) = shaped(batch([event()]), RecordShape(add=ADDED)).events

    assert by_position([made]) == [event_time(event(), RECEIVED_NS)]


def test_a_list_is_one_record_with_what_is_added_beside_its_items() -> None:
    several = [event(0), event(1)]

    made = shaped(batch(several), RecordShape(lists=True, add=ADDED, time_key="at"))

    (record,) = made.events
    document = json.loads(record)
    assert [document.pop(name) for name in ("at", "region", "stage")] == ["2026-11-22T21:13:38.661308Z", "eu-1", "prod"]
    assert document == {
        "kind": "EventList",
        "apiVersion": "audit.k8s.io/v1",
        "metadata": {},
        "items": [json.loads(one) for one in several],
    }
    assert list(made.sequences) == [100, 101]
    assert split(shaped(batch(several), RecordShape(lists=True)).events[0]).events == several


def test_many_events_are_several_lists() -> None:
    several = [event(number) for number in range(900)]

    made = shaped(batch(several), RecordShape(lists=True)).events

    assert [len(split(record).events) for record in made] == [400, 400, 100]
    assert [one for record in made for one in split(record).events] == several


def test_a_body_that_could_not_be_split_is_no_list() -> None:
    whole = batch([b'{"kind":"EventList"'], marks=Mark.UNSPLIT)

    assert shaped(whole, RecordShape(lists=True, add=ADDED)) == whole


@pytest.mark.parametrize("lists", [True, False])
async def test_labels_inside_of_events_are_inside_of_records_too(*, lists: bool, tmp_path: Path) -> None:
    config = FileConfig(
        name="out", path=tmp_path / "o", labels_as="fields", add={"region": "eu-1"},
        record="batch" if lists else "event",
    )  # fmt: skip
    destination = build(config, clock=FakeClock())
    attempt = await destination.prepare(replace(batch([event(0), event(1)]), labels={"team": "blue"}))

    assert await attempt() == Delivered()
    await destination.close()

    records = [json.loads(line) for line in (tmp_path / "o").read_bytes().splitlines()]
    assert len(records) == (1 if lists else 2)
    assert {record["region"] for record in records} == {"eu-1"}
    events = records[0]["items"] if lists else records
    assert [(one["auditID"], one["team"]) for one in events] == [("id-0", "blue"), ("id-1", "blue")]


@pytest.mark.parametrize(
    ("outcome", "means"),
    [
        (Delivered(), Delivered()),
        (Delivered(slow_down=3.0), Delivered(slow_down=3.0)),
        (Delivered(refused=(EventRejection(0, "no"),)), Poison(None, "no")),
        (Poison(0, "no"), Poison(None, "no")),
        (Poison(None, "no"), Poison(None, "no")),
        (TooLarge("big"), TooLarge("big")),
        (Retry("later"), Retry("later")),
        (Misconfigured("wrong"), Misconfigured("wrong")),
    ],
)
def test_a_refused_list_names_none_of_its_events(outcome: Outcome, means: Outcome) -> None:
    assert of_list(outcome) == means


class _Refusing:
    name = "out"
    type = "stdout"
    limits = Limits(1000, 10, 1.0, 1)

    async def prepare(self, batch: Batch) -> Attempt:
        async def attempt() -> Outcome:
            return Poison(0, f"{len(batch.events)} records")

        return attempt


@pytest.mark.parametrize(("count", "index"), [(1, 0), (3, None)])
async def test_a_list_of_one_event_names_it(count: int, index: int | None) -> None:
    several: Any = ShapedDestination(_Refusing(), RecordShape(lists=True))  # type: ignore[arg-type]

    attempt = await several.prepare(batch([event(number) for number in range(count)]))

    assert await attempt() == Poison(index, "1 records")


def test_only_who_asks_for_it_gets_a_shape() -> None:
    clock = FakeClock()

    assert not isinstance(build(StdoutConfig(name="out"), clock=clock), ShapedDestination)
    assert isinstance(build(StdoutConfig(name="out", record="batch"), clock=clock), ShapedDestination)
    assert isinstance(build(StdoutConfig(name="out", add={"a": "b"}), clock=clock), ShapedDestination)


@pytest.mark.parametrize(
    "section",
    [
        "{name: k, type: kafka, bootstrap_servers: ['k:9092'], record: batch}",
        "{name: h, type: http, url: 'http://h/', format: elasticsearch, record: batch}",
        "{name: h, type: http, url: 'http://h/', format: event_list, record: batch}",
    ],
)
def test_lists_are_refused_where_they_mean_nothing(section: str) -> None:
    with pytest.raises(ConfigError, match=r"destinations\[0\]\.record: batch"):
        parse(f"destinations: [{section}]".encode(), "c.yaml", {})


def test_lists_are_taken_where_they_mean_something() -> None:
    text = """
destinations:
- {name: a, type: splunk, url: "https://h:8088", token: abcdef, record: batch}
- {name: b, type: s3, bucket: b, record: batch}
- {name: c, type: stdout, record: batch, add: {a: b}}
- {name: d, type: forward, address: "f:24224", record: batch}
- {name: e, type: http, url: "http://h/", record: batch}
- {name: f, type: kafka, bootstrap_servers: ["k:9092"], add: {a: b}}
"""
    config = parse(text.encode(), "c.yaml", {})

    assert [one.record for one in config.destinations] == ["batch"] * 5 + ["event"]
    assert {type(one) for one in config.destinations} > {HttpConfig, KafkaConfig, StdoutConfig} - {FileConfig}

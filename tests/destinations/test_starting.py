"""Destinations whose surroundings are not there yet: what they say, and how they come into being."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from destinationkit import batch, event

from auditsink.config import FileConfig, HttpConfig, KafkaConfig, LocalConfig, S3Config, SplunkConfig, StdoutConfig
from auditsink.delivery.destination import Destination, DestinationError, UnavailableError
from auditsink.delivery.outcome import Delivered, Misconfigured, Retry
from auditsink.destinations import build
from auditsink.destinations.defaults import limits
from auditsink.destinations.starting import StartingDestination
from auditsink.testing.clock import FakeClock


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def starting(path: Path, **more: Any) -> StartingDestination:
    return StartingDestination(FileConfig(name="disk", path=path), FakeClock(), **more)


async def test_a_path_that_cannot_be_made_is_a_misconfiguration_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = starting(tmp_path / "file" / "audit.ndjson")
    outcome = await one.start()
    assert isinstance(outcome, Misconfigured)
    assert outcome.why.startswith("destinations[disk].path: ")
    assert one.mistake is None
    assert one.built is one

    (tmp_path / "file").unlink()
    assert await one.start() == Delivered()
    assert one.built is not one
    assert await one.probe() == Delivered()
    assert await (await one.prepare(batch([event(0)])))() == Delivered()
    await one.close()
    assert (tmp_path / "file" / "audit.ndjson").read_bytes() == event(0) + b"\n"


async def test_a_disk_that_hangs_is_told_and_not_asked_a_second_time(tmp_path: Path, hanging: threading.Event) -> None:
    asked: list[str] = []

    def slow(config: FileConfig, *, clock: FakeClock, bodies: None) -> Destination:
        asked.append(config.name)
        hanging.wait(60)
        return build(config, clock=clock, bodies=bodies)

    one = starting(tmp_path / "audit.ndjson", build=slow, seconds=0.01)
    for _ in range(3):
        outcome = await one.start()
        assert isinstance(outcome, Retry)
        assert "does not return; check the disk" in outcome.why
    hanging.set()
    while not isinstance(await one.start(), Delivered):
        pass
    assert asked == ["disk"]
    await one.close()


async def test_one_that_is_still_hanging_can_be_left(tmp_path: Path, hanging: threading.Event) -> None:
    one = starting(tmp_path / "a", build=lambda *_, **__: hanging.wait(60), seconds=0.01)
    await one.start()
    await one.close()


async def test_a_mistake_in_the_settings_is_told_from_what_is_missing_around_them(tmp_path: Path) -> None:
    wrong = StartingDestination(SplunkConfig(name="siem", url="nowhere"), FakeClock())
    assert isinstance(await wrong.start(), Misconfigured)
    assert isinstance(wrong.mistake, DestinationError)
    assert not isinstance(wrong.mistake, UnavailableError)


async def test_a_library_that_is_missing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> Destination:
        raise UnavailableError("destinations[lake].type: kafka needs the extra")

    one = StartingDestination(KafkaConfig(name="lake", bootstrap_servers=["k:1"]), FakeClock(), build=missing)
    assert await one.start() == Misconfigured("destinations[lake].type: kafka needs the extra")
    assert one.mistake is None
    assert (one.name, one.type, one.limits.max_bytes) == ("lake", "kafka", 1_000_000)


@pytest.mark.parametrize(
    "config",
    [
        StdoutConfig(name="a"),
        HttpConfig(name="a", url="http://x"),
        S3Config(name="a", bucket="trail", region="r"),
        SplunkConfig(name="a", url="http://x", token_file=Path(__file__)),
        KafkaConfig(name="a", bootstrap_servers=["k:1"]),
    ],
    ids=lambda config: type(config).__name__,
)
def test_how_it_packs_is_known_before_it_is_built(config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if isinstance(config, SplunkConfig):
        (tmp_path / "token").write_text("t")
        config = SplunkConfig(name="a", url="http://x", token_file=tmp_path / "token", acknowledge=True)
    assert build(config, clock=FakeClock()).limits == limits(config)


def test_a_directory_of_objects_packs_as_a_store_does(tmp_path: Path) -> None:
    assert limits(LocalConfig(name="a", path=tmp_path)).max_bytes == 16 * 2**20

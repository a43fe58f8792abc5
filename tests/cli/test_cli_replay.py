"""`auditsink replay` from a real spool into a real file, beside whoever owns the spool."""

from pathlib import Path

import pytest
from calling import Call

from auditsink.audit import eventlist
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.delivery.outcome import Misconfigured, Outcome, Poison
from auditsink.destinations.file import FileDestination
from auditsink.forward.replay import Replay
from auditsink.spool import Spool
from auditsink.spool.ring import Ring
from auditsink.spool.types import Tally
from auditsink.testing.clock import FakeClock

START_NS = 1_700_000_000_000_000_000  # 2023-11-14T22:13:20Z
HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A spool in use: ten requests of two events, a minute apart, in cluster blue; one in green."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"spool: {{path: {tmp_path}/spool, max_bytes: 64MiB}}\n"
        f"destinations: [{{name: disk, type: file, path: {tmp_path}/audit.ndjson}}]\n"
    )
    return path


@pytest.fixture
def ring(tmp_path: Path, config: Path) -> Ring:
    clock = FakeClock(START_NS)
    spool = Spool.open(SpoolConfig(path=tmp_path / "spool", max_bytes=Size(2**26)), clock=clock)
    for minute in range(10):
        body = HEAD + b'{"blue":%d},{"blue":%d}]}' % (2 * minute, 2 * minute + 1)
        spool.submit(spool.ring("blue"), body, eventlist.split(body), "", lambda _answer: None)
        clock.jump(60)
    body = HEAD + b'{"green":0}]}'
    spool.submit(spool.ring("green"), body, eventlist.split(body), "", lambda _answer: None)
    spool.start(lambda call: call())
    blue = spool.ring("blue")
    blue.cursor("disk").advance(Tally(delivered=7))
    spool.stop()
    return blue


def delivered(config: Path) -> list[bytes]:
    return (config.parent / "audit.ndjson").read_bytes().splitlines()


def test_what_was_received_within_a_time_is_delivered_again(config: Path, ring: Ring, auditsink: Call) -> None:
    said = auditsink(
        "replay",
        "-c",
        config,
        "--destination",
        "disk",
        "--since",
        "2023-11-14T22:15:20Z",
        "--until",
        "2023-11-14T22:18:20Z",
    )
    assert said == (0, "", "disk: delivered 6 events\n")
    assert delivered(config) == [b'{"blue":%d}' % number for number in range(4, 10)]


def test_everything_of_all_clusters_or_of_one(config: Path, ring: Ring, auditsink: Call) -> None:
    assert auditsink("replay", "-c", config, "--destination", "disk", "--since", "2020-01-01T00:00:00Z").code == 0
    assert len(delivered(config)) == 21
    said = auditsink(
        "replay", "-c", config, "--destination", "disk", "--since", "2020-01-01T00:00:00Z", "--cluster", "green"
    )
    assert said == (0, "", "disk: delivered 1 events\n")
    assert delivered(config)[-1] == b'{"green":0}'


def test_no_cursor_moves_and_the_owner_is_not_disturbed(
    tmp_path: Path, config: Path, ring: Ring, auditsink: Call
) -> None:
    cursor = ring.path / "cursors" / "disk.cursor"
    before = cursor.read_bytes()
    spool = Spool.open(SpoolConfig(path=tmp_path / "spool", max_bytes=Size(2**26)))
    assert auditsink("replay", "-c", config, "--destination", "disk", "--since", "2020-01-01T00:00:00Z").code == 0
    assert spool.ring("blue").cursor("disk").position == 7
    assert cursor.read_bytes() == before
    spool.start(lambda call: call())
    spool.stop()


def test_another_spool_may_be_named(tmp_path: Path, config: Path, ring: Ring, auditsink: Call) -> None:
    (tmp_path / "spool").rename(tmp_path / "restored")
    arguments = ["replay", "-c", config, "--destination", "disk", "--since", "2020-01-01T00:00:00Z"]
    assert "is no spool" in auditsink(*arguments).err
    assert auditsink(*arguments, "--path", tmp_path / "restored").code == 0
    assert len(delivered(config)) == 21


def test_a_misconfigured_destination_says_how_to_go_on(
    config: Path, ring: Ring, auditsink: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_self: FileDestination, content: bytes) -> Outcome:
        return Misconfigured("the token is wrong")

    monkeypatch.setattr(FileDestination, "_attempt", refuse)
    said = auditsink("replay", "-c", config, "--destination", "disk", "--since", "2020-01-01T00:00:00Z")
    assert said == (1, "", "disk: delivered 0 events\nauditsink: disk: the token is wrong\n")


def test_refused_events_are_told_and_the_exit_code_is_1(
    config: Path, ring: Ring, auditsink: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = FileDestination._attempt

    async def refuse_one(self: FileDestination, content: bytes) -> Outcome:
        return Poison(None, "not this one") if b'{"blue":3}' in content else await attempt(self, content)

    monkeypatch.setattr(FileDestination, "_attempt", refuse_one)
    said = auditsink("replay", "-c", config, "--destination", "disk", "--since", "2020-01-01T00:00:00Z")
    assert said.code == 1
    assert "disk: cluster blue: event 3 is refused: not this one\n" in said.err
    assert said.err.endswith("disk: delivered 20 events, 1 refused for good\n")


def test_ctrl_c_says_where_it_stopped(
    config: Path, ring: Ring, auditsink: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Replay.run

    async def interrupted(self: Replay, cluster: str, records: object) -> None:
        await run(self, cluster, records)  # type: ignore[arg-type]  # as it came
        raise KeyboardInterrupt

    monkeypatch.setattr(Replay, "run", interrupted)
    said = auditsink("replay", "-c", config, "--destination", "disk", "--since", "2020-01-01T00:00:00Z")
    assert said.code == 1
    assert "ended by Ctrl-C; to go on: --cluster blue --since 2023-11-14T22:13:20Z" in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--destination", "siem", "--since", "2h"], "destination 'siem' is not in the configuration; there are: disk"),
        (["--destination", "disk"], "Missing option '--since'"),
        (["--destination", "disk", "--since", "soon"], "is no time"),
        (["--destination", "disk", "--since", "2h", "--cluster", "red"], "has no ring of cluster 'red'"),
    ],
)
def test_mistakes_are_one_line(config: Path, ring: Ring, auditsink: Call, arguments: list[str], told: str) -> None:
    said = auditsink("replay", "-c", config, *arguments)
    assert said.code in {1, 2}
    assert told in said.err
    assert said.err.count("\n") == 1


def test_a_segment_that_goes_while_it_is_looked_at_stops_nothing(config: Path, ring: Ring, auditsink: Call) -> None:
    del ring
    gone = config.parent / "spool" / "rings" / "blue" / "00000000000000099999.seg"
    gone.symlink_to(config.parent / "removed")  # as listed before, and not there any more
    said = auditsink("replay", "-c", config, "--destination", "disk", "--since", "2000d")
    assert (said.code, said.err) == (0, "disk: delivered 21 events\n")

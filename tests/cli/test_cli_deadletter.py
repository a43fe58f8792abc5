"""`auditsink deadletter`: list, show, deliver again, drop."""

import json
import sys
from pathlib import Path

import pytest
from calling import Call

from auditsink import cli
from auditsink.cli import deadletter as command
from auditsink.common.clock import SystemClock
from auditsink.delivery.destination import Batch
from auditsink.forward import dead_letters
from auditsink.forward.dead_letter import DeadLetter
from auditsink.forward.dead_letters import DeadLetters

EVENTS = [b'{"auditID":"one"}', b'{"auditID":"\xff\x1b[2J"}', b'{"auditID":"three"}']


def letters(destination: str) -> list[DeadLetter]:
    batch = Batch("prod", "", EVENTS, [5, 6, 7], 1_700_000_000_000_000_000)
    return [
        DeadLetter.of(destination, batch, index, f"refused \x1b {index}", 1_700_000_100_000_000_000)
        for index in range(3)
    ]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for name in ("siem", "disk"):
        DeadLetters(dead_letters.place(tmp_path, name), 2**20).append(letters(name))
    return tmp_path


@pytest.fixture
def config(spool: Path) -> Path:
    path = spool / "config.yaml"
    disk = f"{{name: disk, type: file, path: {spool}/audit.ndjson}}"
    lost = "{name: siem, type: http, url: 'http://127.0.0.1:1'}"
    path.write_text(f"spool: {{path: {spool}}}\ndestinations: [{disk}, {lost}]\n")
    return path


def left(spool: Path, destination: str) -> list[bytes]:
    return [dead_letter.content for dead_letter in DeadLetters(dead_letters.place(spool, destination))]


def test_they_are_listed_without_control_characters(auditsink: Call, spool: Path) -> None:
    said = auditsink("deadletter", "ls", "--path", spool)
    lines = said.out.splitlines()
    assert said.code == 0
    assert lines[0].split() == ["ID", "DESTINATION", "CLUSTER", "SEQUENCE", "REFUSED", "BYTES", "REASON"]
    assert len(lines) == 14
    assert lines[7:9] == ["", "disk: 1 x refused ? 0, since 2023-11-14 22:15:00Z"]  # each reason, below the list
    assert lines[1].split() == [
        letters("disk")[0].id, "disk", "prod", "5", "2023-11-14", "22:15:00Z", str(len(EVENTS[0])), "refused", "?", "0",
    ]  # fmt: skip
    assert "\x1b" not in said.out


def test_only_one_destinations_are_listed(auditsink: Call, spool: Path, config: Path) -> None:
    assert "siem" not in auditsink("deadletter", "ls", "-c", config, "--destination", "disk").out
    assert auditsink("deadletter", "ls", "--path", spool, "--destination", "none").out == "no dead letters\n"


def test_one_is_shown(auditsink: Call, spool: Path) -> None:
    dead_letter = letters("disk")[1]
    said = auditsink("deadletter", "show", "--path", spool, "--destination", "disk", dead_letter.id)
    assert said.code == 0
    assert "reason:      refused ? 1\n" in said.out
    assert said.out.endswith('event:       {"auditID":"\\xff?[2J"}\n')


def test_one_is_shown_byte_for_byte(spool: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.run(["deadletter", "show", "--path", str(spool), "--raw", letters("disk")[1].id]) == 0
    assert capfdbinary.readouterr().out == EVENTS[1]


def test_an_id_that_there_is_not_is_told(auditsink: Call, config: Path) -> None:
    for name in ("show", "replay", "drop"):
        said = auditsink("deadletter", name, "-c", config, "nope")
        assert (said.code, said.out) == (1, "")
        assert said.err == "auditsink: no dead letter 'nope'; auditsink deadletter ls shows those that there are\n"


def test_what_arrives_is_taken_away(auditsink: Call, spool: Path, config: Path) -> None:
    said = auditsink("deadletter", "replay", "-c", config, "--destination", "disk")
    assert (said.code, said.out) == (0, "disk: delivered 3 of 3\n")
    assert left(spool, "disk") == []
    assert (spool / "audit.ndjson").read_bytes().splitlines()[::2] == EVENTS[::2]
    assert left(spool, "siem") == EVENTS


def test_one_alone_is_delivered(auditsink: Call, spool: Path, config: Path) -> None:
    chosen = letters("disk")[2].id
    said = auditsink("deadletter", "replay", "-c", config, "--destination", "disk", chosen)
    assert (said.code, said.out) == (0, "disk: delivered 1 of 1\n")
    assert left(spool, "disk") == EVENTS[:2]


def test_what_does_not_arrive_stays(
    auditsink: Call, spool: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hurried(SystemClock):
        async def sleep(self, seconds: float) -> None:
            return None

    monkeypatch.setattr(command, "SystemClock", Hurried)
    said = auditsink("deadletter", "replay", "-c", config)
    assert said.code == 1
    assert said.out.splitlines() == ["disk: delivered 3 of 3", "siem: delivered 0 of 3"]
    assert said.err.startswith("auditsink: siem: http://127.0.0.1:1: cannot connect")
    assert left(spool, "siem") == EVENTS


def test_a_destination_that_is_not_configured_is_told(auditsink: Call, spool: Path, config: Path) -> None:
    DeadLetters(dead_letters.place(spool, "gone"), 2**20).append(letters("gone"))
    said = auditsink("deadletter", "replay", "-c", config, "--destination", "gone")
    assert said.code == 1
    assert said.err == "auditsink: destination 'gone' is not in the configuration; give the -c FILE that has it\n"


def test_a_destination_that_cannot_be_built_is_told(auditsink: Call, spool: Path, config: Path) -> None:
    (spool / "audit.ndjson").mkdir()
    said = auditsink("deadletter", "replay", "-c", config, "--destination", "disk")
    assert said.code == 1
    assert "destinations[disk].path" in said.err
    assert left(spool, "disk") == EVENTS


def test_they_are_dropped_only_when_asked_twice(auditsink: Call, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    said = auditsink("deadletter", "drop", "--path", spool)
    assert (said.code, said.err.splitlines()[-1]) == (130, "auditsink: nothing was thrown away (--yes does not ask)")
    assert len(left(spool, "disk")) == 3
    said = auditsink("deadletter", "drop", "--path", spool, "--destination", "disk", "--yes", letters("disk")[0].id)
    assert (said.code, said.out) == (0, "dropped 1\n")
    assert auditsink("deadletter", "drop", "--path", spool, "--yes").out == "dropped 5\n"
    assert auditsink("deadletter", "drop", "--path", spool).out == "no dead letters\n", "and nobody is asked"
    assert left(spool, "disk") == left(spool, "siem") == []


def test_a_path_that_is_no_spool_is_told(auditsink: Call, tmp_path: Path) -> None:
    said = auditsink("deadletter", "ls", "--path", tmp_path / "none")
    assert (said.code, said.out) == (1, "")
    assert said.err.endswith("none: is no directory; give the spool's by --path, or the sink's -c FILE\n")


def test_a_name_without_dead_letters_may_be_misspelt(auditsink: Call, spool: Path) -> None:
    said = auditsink("deadletter", "ls", "--path", spool, "--destination", "siam")
    assert (said.code, said.out) == (0, "no dead letters\n")
    assert said.err == "no dead letters of 'siam'; there are some of: disk, siem\n"


def test_a_terminal_gets_no_control_characters(
    spool: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    one = letters("disk")[1].id
    arguments = ["deadletter", "show", "--path", str(spool), "--destination", "disk", "--raw", one]
    assert cli.run(arguments) == 0
    assert capfdbinary.readouterr().out == EVENTS[1], "byte for byte"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.run(arguments) == 0
    assert capfdbinary.readouterr().out == '{"auditID":"\ufffd?[2J"}'.encode()


def test_they_are_told_whole_for_other_programs(spool: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.run(["deadletter", "ls", "--path", str(spool), "--destination", "siem", "-o", "json"]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [5, 6, 7]


def test_the_beginning_of_an_id_is_enough_where_no_other_begins_so(auditsink: Call, spool: Path, config: Path) -> None:
    first = letters("disk")[0].id
    said = auditsink("deadletter", "replay", "-c", config, "--path", spool, "--destination", "disk", first[:6])
    assert said.out == "disk: delivered 1 of 1\n"
    assert len(left(spool, "disk")) == 2
    said = auditsink("deadletter", "drop", "--path", spool, "--yes", "")
    assert (said.code, "no dead letter ''" in said.err) == (1, True)


def test_those_of_one_reason_are_replayed_or_dropped_together(auditsink: Call, spool: Path, config: Path) -> None:
    many = [
        DeadLetter.of("disk", Batch("prod", "", EVENTS[:1], [n], 0), 0, "HTTP 400: bad", 10**18) for n in range(10, 30)
    ]
    DeadLetters(dead_letters.place(spool, "disk"), 2**20).append(many)
    assert "disk: 20 x HTTP 400: bad, since 2001-09-09 01:46:40Z\n" in auditsink("deadletter", "ls", "-c", config).out
    said = auditsink("deadletter", "drop", "-c", config, "--destination", "disk", "--reason", "refused", "--yes")
    assert said.out == "dropped 3\n"
    said = auditsink("deadletter", "replay", "-c", config, "--destination", "disk", "--reason", "HTTP 400")
    assert (said.code, said.out) == (0, "disk: delivered 20 of 20\n")
    assert (left(spool, "disk"), len(left(spool, "siem"))) == ([], 3)

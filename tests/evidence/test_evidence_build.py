"""From the configuration to checkpoints being made: keys that change, mistakes, delivery as events."""

import asyncio
import logging
import re
from pathlib import Path

import pytest
from evidencekit import OTHER, body_of, event, private_pem, signer, submit

from auditsink import load
from auditsink.common.clock import SystemClock
from auditsink.common.units import Size
from auditsink.config import Config, Evidence
from auditsink.config import Spool as SpoolConfig
from auditsink.evidence import EvidenceError
from auditsink.evidence.checkpoint import decode
from auditsink.evidence.make import build
from auditsink.load import ConfigError
from auditsink.spool import Spool
from auditsink.spool.offline import inspect

DESTINATIONS = "destinations: [{name: disk, type: file, path: ./audit.ndjson}]\n"


def parsed(text: str) -> Config:
    return load.parse((DESTINATIONS + text).encode(), "f", {})


def test_the_section_and_its_defaults() -> None:
    assert parsed("").evidence is None
    assert parsed("evidence: {path: /e/c.ndjson}").evidence == Evidence(path=Path("/e/c.ndjson"))
    found = parsed("evidence: {path: /e, key_file: /k, every: 5m, deliver_as: checkpoints.prod}").evidence
    assert found is not None
    assert (found.key_file, found.every, found.deliver_as) == (Path("/k"), 300.0, "checkpoints.prod")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("{}", "f: evidence.path: is missing"),
        ("{path: /e, every: 0s}", "f: evidence.every: must be from 1s to 1h"),
        ("{path: /e, every: 2h}", "f: evidence.every: must be from 1s to 1h"),
        ("{path: /e, deliver_as: Not A Name}", "f: evidence.deliver_as: a cluster's name is"),
        ("{path: ./audit.ndjson}", "f: evidence.path: is the same as destinations[0].path"),
        ("{path: /e, key: x}", "f: evidence.key: unknown key"),
    ],
)
def test_what_makes_no_sense_is_told(section: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(f"evidence: {section}")
    assert re.sub(r"^f:\d+: ", "f: ", str(caught.value)).startswith(told)


def test_the_name_of_the_cursor_is_taken() -> None:
    text = b"destinations: [{name: checkpoints, type: stdout}]\n"
    assert load.parse(text, "f", {}).destinations[0].name == "checkpoints"
    with pytest.raises(ConfigError, match=r"destinations\[0\].name: 'checkpoints' is what evidence is called"):
        load.parse(text + b"evidence: {path: /e}", "f", {})


def test_it_is_explained_with_its_risks() -> None:
    signed = parsed("evidence: {path: /e/c, key_file: /k, deliver_as: proof}")
    assert "states every 60s what it took: signed checkpoints in /e/c" in list(signed.plan())
    assert "delivers the checkpoints too, as events of cluster proof" in list(signed.plan())
    assert not [risk for risk in signed.risks() if risk.startswith("evidence")]
    plain = parsed("spool: {path: /s}\nevidence: {path: /s/c}")
    assert [risk.split(":")[0] for risk in plain.risks() if risk.startswith("evidence")] == [
        "evidence.key_file",
        "evidence.path",
    ]


def test_a_key_that_changes_is_used_from_then_on_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem())
    current = build.signer(Evidence(path=tmp_path / "c", key_file=file))
    with caplog.at_level(logging.INFO):
        assert str(current()) == str(signer())
        file.write_bytes(private_pem(OTHER) + b"\n")
        assert str(current()) == str(signer(OTHER))
        file.write_bytes(b"half a key")
        assert [str(current()) for _ in range(3)] == [str(signer(OTHER))] * 3
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "half a key" not in caplog.text


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "is no private key"), (None, "No such file"), (b"x", "is no private")]
)
def test_a_key_that_cannot_be_used_is_told_with_its_key(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EvidenceError, match=rf"evidence\.key_file: {file}: {told}"):
        build.signer(Evidence(path=tmp_path / "c", key_file=file))


def test_a_missing_library_is_told_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    assert build.signer(Evidence(path=tmp_path / "c"))() is None
    with pytest.raises(EvidenceError, match=r"evidence\.key_file: .* pip install 'auditsink\[evidence\]'"):
        build.signer(Evidence(path=tmp_path / "c", key_file=tmp_path / "k"))


async def live(place: Path, *, full: bool = False, **changes: object) -> list[bytes]:
    """One event through a spool with a checkpointer; the lines of the checkpoint file."""
    spool = Spool.open(SpoolConfig(path=place / "spool", max_bytes=Size(2**22), segment_bytes=Size(2**16)))
    spool.start(asyncio.get_running_loop().call_soon_threadsafe)
    settings = {"path": place / "checkpoints.ndjson", "every": 60.0, **changes}
    made = build.checkpointer(Evidence(**settings), spool, clock=SystemClock())  # type: ignore[arg-type]  # by name
    running = asyncio.create_task(made.run())
    await submit(spool, "c", body_of(event("a")))
    if full:
        spool._max_rings = 1
    await made.stop(10.0)
    await running
    await asyncio.to_thread(spool.stop)
    return (place / "checkpoints.ndjson").read_bytes().splitlines()


async def test_checkpoints_are_delivered_as_events_of_their_own_cluster(tmp_path: Path) -> None:
    (line,) = await live(tmp_path, deliver_as="proof")
    (record,) = inspect.records(tmp_path / "spool", "proof")
    assert record.source == "auditsink"
    assert record.events == [decode(line).document()]
    assert decode(record.events[0]).canonical == decode(line).canonical


async def test_a_spool_without_room_for_that_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = await live(tmp_path, full=True, deliver_as="proof")
    assert decode(line).checkpoint.cluster == "c"
    assert "checkpoints were not delivered; they are in their file" in caplog.text


async def test_without_a_key_it_says_so_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await live(tmp_path)
    assert decode(line).signature is None
    assert "checkpoints are not signed" in caplog.text
    assert caplog.records[-1].levelno >= logging.WARNING


async def test_each_checkpoint_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "key.pem").write_bytes(private_pem())
    with caplog.at_level(logging.INFO):
        (line,) = await live(tmp_path, key_file=tmp_path / "key.pem")
    (record,) = [one for one in caplog.records if one.getMessage() == "checkpoint"]
    assert vars(record)["checkpoint"]["sha256"] == decode(line).checkpoint.sha256
    assert vars(record)["signature"]
    assert "fingerprints" not in vars(record)

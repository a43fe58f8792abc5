"""A spool in a topic where Kafka's client is not installed: every command says which extra it needs."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from auditsink.cli import commands

DESTINATIONS = """
destinations: [{name: disk, type: file, path: audit.ndjson}]
"""


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--connect", "-c", "FILE"],
        ["replay", "-c", "FILE", "--destination", "disk", "--since", "1h"],
        ["deadletter", "ls", "-c", "FILE"],
        ["spool", "verify", "-c", "FILE"],
        ["spool", "move", "--from", "FILE", "--to", "DISK"],
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str]) -> None:
    for name in [one for one in sys.modules if one.startswith(("aiokafka", "auditsink.kafka"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    monkeypatch.chdir(tmp_path)
    Path("topic.yaml").write_text(
        'spool: {type: kafka, bootstrap_servers: ["127.0.0.1:9"], topic: audit}' + DESTINATIONS
    )
    Path("disk.yaml").write_text("spool: {path: spool}" + DESTINATIONS)
    places = {"FILE": "topic.yaml", "DISK": "disk.yaml"}

    done = CliRunner().invoke(commands, [places.get(word, word) for word in words])

    assert done.exit_code != 0
    assert "needs the extra: pip install 'auditsink[kafka]'" in done.output

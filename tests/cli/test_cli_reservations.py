"""`auditsink reservations` against a sink that runs, and against what is none."""

import json
from pathlib import Path

import pytest
from calling import Call
from running import Sink

from auditsink.cli import reservations

HEADER = ["CLUSTER", "RESERVED", "USED", "SHARED", "OLDEST", "STATE"]


async def test_a_running_sink_says_whose_its_bytes_are(auditsink: Call, tmp_path: Path) -> None:
    clusters = [
        {"name": "prod", "anonymous": True, "reservation": "8MiB"},
        {"name": "test", "anonymous": True},
    ]
    spool = {"max_bytes": "64MiB", "segment_bytes": "4MiB"}
    out = {"name": "out", "type": "file", "path": str(tmp_path / "out.ndjson")}
    async with Sink(tmp_path, [out], clusters=clusters, spool=spool) as sink:
        table = auditsink("reservations", "--url", sink.admin).out
        assert table.splitlines()[0] == "8 MiB of 64 MiB are reserved, 56 MiB are shared"
        rows = [line.split() for line in table.splitlines()[2:]]
        assert rows == [HEADER, ["prod", "8", "MiB", "0", "B", "-", "-", "ok"], ["test", "-", "0", "B", "-", "-", "ok"]]
        document = json.loads(auditsink("reservations", "--url", sink.admin, "-o", "json").out)
        assert [one["cluster"] for one in document["clusters"]] == ["prod", "test"]


def test_names_and_problems_cannot_steer_a_terminal() -> None:
    one = {"cluster": "a", "reserved_bytes": 2**20, "used_bytes": 2**21, "shared_bytes": 2**20, "oldest_seconds": 90,
           "state": "shared"}  # fmt: skip
    values = {"reserved_bytes": 1, "max_bytes": 2, "shared_bytes": 1, "clusters": [one], "problems": ["bad \x1b[31m"]}
    text = reservations.table(values)
    assert text.splitlines()[-2:] == ["a           1 MiB  2 MiB   1 MiB  1m 30s  shared", "bad ?[31m"]


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:1"])
def test_what_is_no_sink_is_told_in_a_line(auditsink: Call, url: str) -> None:
    said = auditsink("reservations", "--url", url)
    assert said.code in {1, 2}
    assert said.err.startswith("auditsink: ")
    assert len(said.err.splitlines()) == 1

"""The demonstration shows what it says."""

from pathlib import Path

import corpus
import pytest

from auditsink.testing.demo import demo


async def test_the_demo_delivers_all_but_the_refused_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert await demo(Path(corpus.__file__).parent / "data" / "batch-default-mixed-http.tar.gz", tmp_path)
    said = capsys.readouterr().out
    assert "6 batches of a real kube-apiserver were answered 200" in said
    siem = next(line.split() for line in said.splitlines() if line.startswith("siem"))
    assert siem[3:8] == ["1,919", "1,918", "0", "1", "0"]
    assert len((tmp_path / "audit.ndjson").read_bytes().splitlines()) == 1919

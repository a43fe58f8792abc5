"""The demonstration shows what it says."""

import asyncio
import contextlib
import re
from pathlib import Path

import aiohttp
import corpus
import pytest

from auditsink.testing import demo as module
from auditsink.testing.demo import demo

ARCHIVE = Path(corpus.__file__).parent / "data" / "batch-default-mixed-http.tar.gz"


async def test_the_demo_delivers_all_but_the_refused_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await demo(ARCHIVE, tmp_path)
    said = capsys.readouterr().out
    assert "6 batches of a real kube-apiserver were answered 200" in said
    siem = next(line.split() for line in said.splitlines() if line.startswith("siem"))
    assert siem[3:8] == ["1,919", "1,918", "0", "1", "0"]
    assert len((tmp_path / "audit.ndjson").read_bytes().splitlines()) == 1919


async def test_a_kept_demo_goes_on_until_it_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    playing = asyncio.create_task(demo(ARCHIVE, tmp_path, keep=True))
    said = ""
    async with asyncio.timeout(60):
        while not (page := re.search(r"open (http://\S+)/ ", said)):
            await asyncio.sleep(0.02)
            said += capsys.readouterr().out
        async with aiohttp.ClientSession() as client:
            accepted = 0
            while accepted <= 2 * 1919:
                async with client.get(f"{page[1]}/status") as answer:
                    accepted = (await answer.json())["accepted_events"]
    playing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await playing
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get(f"{page[1]}/status")

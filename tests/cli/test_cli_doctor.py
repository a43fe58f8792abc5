"""`auditsink doctor` beside a sink that runs, one that does not, and files that are not what they should be."""

import asyncio
from pathlib import Path

import pytest
from calling import Call
from running import Sink

APISERVER = Path(__file__).parents[2] / "config" / "apiserver"
NOBODY = "http://127.0.0.1:1"


async def test_a_running_sink_is_asked_and_its_trouble_told_in_order(tmp_path: Path, auditsink: Call):
    destinations = [
        {"name": "disk", "type": "file", "path": str(tmp_path / "audit.ndjson")},
        {"name": "siem", "type": "splunk", "url": NOBODY, "token": "very-secret"},
    ]
    async with Sink(tmp_path / "sink", destinations) as sink:
        code, _ = await sink.post(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"1"}]}')
        assert code == 200
        await sink.until(lambda status: status["destinations"][1]["state"] == "retrying")
        said = await asyncio.to_thread(
            auditsink, "doctor", "--url", sink.admin, "-c", str(sink.config),
            "--kubeconfig", str(APISERVER / "kubeconfig-plain.yaml"), "--apiserver", str(APISERVER / "flags.yaml"),
        )  # fmt: skip
    assert "destination siem: takes nothing" in said.out
    assert "destination disk" not in said.out
    assert "very-secret" not in said.out + said.err
    assert "sink: does not answer" not in said.out


def test_no_sink_is_the_first_thing_to_fix(auditsink: Call):
    said = auditsink("doctor", "--url", NOBODY)
    assert said.code == 4
    assert "sink: does not answer" in said.out.splitlines()[1]


@pytest.mark.parametrize("content", ["- a list", "{", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_one_line(content: str, tmp_path: Path, auditsink: Call):
    file = tmp_path / "kubeconfig"
    file.write_text(content)
    said = auditsink("doctor", "--url", NOBODY, "--kubeconfig", str(file))
    assert said.code == 1
    assert f"{file}: is no kubeconfig" in said.err


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, auditsink: Call):
    said = auditsink("doctor", "--url", NOBODY, "--apiserver", str(tmp_path / "gone"))
    assert said.code == 1
    assert "gone" in said.err
    assert "Traceback" not in said.err

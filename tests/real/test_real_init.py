"""A real kube-apiserver with the kubeconfig, the flags and the policy that `auditsink init` wrote for it."""

import asyncio
import sys
from pathlib import Path

import kubernetes
import pytest
import yaml
from ground import free_port
from running import Sink

from auditsink import cli

pytestmark = pytest.mark.skipif(bool(kubernetes.missing_tools()), reason=kubernetes.missing_tools())


async def command(*words: object) -> tuple[int, str]:
    """Exit code and output of a command in a process of its own."""
    command_line = [sys.executable, "-m", "auditsink", *map(str, words)]

    called = await asyncio.create_subprocess_exec(
        *command_line,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await called.communicate()
    return called.returncode or 0, said.decode()


@pytest.mark.parametrize("credential", ["none", "token", "certificate"])
async def test_its_trail_arrives_and_the_doctor_has_nothing_to_say(credential: str, tmp_path: Path) -> None:
    made, receive, admin = tmp_path / "made", f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    options = (
        "--destination", "file", "--to", tmp_path / "audit.ndjson", "--cluster", "prod", "--credential", credential,
        "--listen", receive, "--apiserver-directory", made / "apiserver",
    )  # fmt: skip
    assert cli.run(["init", str(made), *map(str, options)]) == 0
    sink = Sink(tmp_path / "sink", [])
    sink.config = made / "config.yaml"
    sink.config.write_text(sink.config.read_text().replace("127.0.0.1:2020", admin))
    place = made / "apiserver"
    flags = [one.replace("max-wait=2s", "max-wait=200ms") for one in yaml.safe_load((place / "flags.yaml").read_text())]
    (tmp_path / "cluster").mkdir()
    async with sink, kubernetes.cluster(tmp_path / "cluster", "http://replaced", place / "policy.yaml", flags) as real:
        await real.kubectl("create", "configmap", "seen", "-n", "default", "--from-literal=a=b")
        async with asyncio.timeout(60):
            while b'"name":"seen"' not in written(tmp_path / "audit.ndjson"):  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.1)
        files = ("-c", sink.config, "--kubeconfig", place / "kubeconfig.yaml", "--apiserver", place / "flags.yaml")
        code, said = await command("doctor", *files, "--try", "--url", f"http://{admin}")
        assert "Nothing to fix was found." in said, said
        assert code == 0, said
    seen = [line for line in written(tmp_path / "audit.ndjson").splitlines() if b'"name":"seen"' in line]
    assert any(b'"verb":"create"' in line for line in seen)
    assert not any(b'"requestObject"' in line for line in seen)  # a ConfigMap may hold a secret


def written(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""

"""A real kube-apiserver with its etcd, and helm: built through the Go module proxy, started without any node.

Nothing is scheduled and no controller runs; what is checked is what the apiserver itself does: validate, admit, audit.
"""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gobuild
from ground import free_port, listens, running, tool

APISERVER = "1.36.3"
ETCD = "3.6.16"
HELM = "3.22.0"
TOKEN = "operator-token"
KUBECTL_SECONDS = 60


def helm() -> Path:
    """The program."""
    return gobuild.installed("helm.sh/helm/v3/cmd/helm", HELM)


def etcd() -> Path:
    """The program."""
    module = "go.etcd.io/etcd/server/v3"
    return gobuild.program("etcd", ETCD, lambda work: gobuild.as_dependency(work, f"{module}@v{ETCD}", module))


def apiserver() -> Path:
    """The program. Its module replaces its siblings by folders that no module carries, so they are named here again."""
    module = f"k8s.io/kubernetes@v{APISERVER}"

    def build(work: Path) -> Path:
        return gobuild.as_dependency(work, module, "k8s.io/kubernetes/cmd/kube-apiserver", siblings())

    return gobuild.program("kube-apiserver", APISERVER, build, slow=True)


def siblings() -> str:
    """The modules that Kubernetes' own module replaces by folders, as replacements by their published versions."""
    described = Path(gobuild.module(f"k8s.io/kubernetes@v{APISERVER}")["GoMod"]).read_text()
    found = sorted(set(re.findall(r"(k8s\.io/[a-z-]+) => \./staging", described)))
    version = f"v0.{APISERVER.removeprefix('1.')}"
    return "".join(f"replace {one} => {one} {version}\n" for one in found)


@dataclass(frozen=True)
class Kubernetes:
    """A running one. `audit_log` is the apiserver's own record of every event that it made."""

    url: str
    audit_log: Path

    async def kubectl(self, *words: str, stdin: str = "", fails: bool = False) -> str:
        """What kubectl prints; it must succeed, or with `fails` must not."""
        command = [
            tool("kubectl", "talks to the apiserver"), f"--server={self.url}", f"--token={TOKEN}",
            "--insecure-skip-tls-verify", f"--request-timeout={KUBECTL_SECONDS}s", *words,
        ]  # fmt: skip
        called = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            said, complaint = await called.communicate(stdin.encode())
        finally:  # whoever waited may have been cancelled
            if called.returncode is None:
                called.kill()
                await called.wait()
        assert bool(called.returncode) is fails, f"kubectl {' '.join(words)}: {complaint.decode()[-4000:]}"
        return (complaint if fails else said).decode()


@contextlib.asynccontextmanager
async def cluster(place: Path, webhook: str, policy: Path, flags: Sequence[str] = ()) -> AsyncIterator[Kubernetes]:
    """An apiserver that writes each audit event to a file, and posts it to `webhook`."""
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    etcd_url, log = f"http://127.0.0.1:{etcd_port}", place / "audit.log"
    etcd_command: list[str | Path] = [
        etcd(), "--data-dir", place / "etcd", "--unsafe-no-fsync",
        "--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url,
        "--listen-peer-urls", f"http://127.0.0.1:{peer_port}",
    ]  # fmt: skip
    kubeconfig = {
        "apiVersion": "v1", "kind": "Config", "current-context": "sink",
        "clusters": [{"name": "sink", "cluster": {"server": webhook}}],
        "contexts": [{"name": "sink", "context": {"cluster": "sink", "user": ""}}],
    }  # fmt: skip
    (place / "webhook.json").write_text(json.dumps(kubeconfig))
    (place / "tokens.csv").write_text(f'{TOKEN},operator,1,"system:masters"\n')
    key = place / "service-account.key"
    _make_key(key)
    command: list[str | Path] = [
        apiserver(), f"--etcd-servers={etcd_url}", "--bind-address=127.0.0.1", f"--secure-port={port}",
        f"--cert-dir={place / 'certificates'}", "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.test", f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}", "--authorization-mode=RBAC",
        f"--token-auth-file={place / 'tokens.csv'}", "--disable-admission-plugins=ServiceAccount",
        f"--audit-policy-file={policy}", f"--audit-log-path={log}",
        f"--audit-webhook-config-file={place / 'webhook.json'}", *flags,
    ]  # fmt: skip
    async with (
        running(etcd_command, place / "etcd.out", lambda: listens(etcd_port)),
        running(command, place / "apiserver.out", lambda: _ready(port)),
    ):
        yield Kubernetes(f"https://127.0.0.1:{port}", log)


def _make_key(path: Path) -> None:
    subprocess.run([tool("openssl", "makes a key"), "genrsa", "-out", path, "2048"], check=True, capture_output=True)


def _ready(port: int) -> bool:
    if not listens(port):
        return False
    asked = [tool("curl", "asks the apiserver whether it is ready"), "-ksf", f"https://127.0.0.1:{port}/readyz"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def missing_tools() -> str:
    """Why a cluster cannot be had here, or ""."""
    lacking = [name for name in ("go", "kubectl", "openssl", "curl") if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""

"""A real kube-apiserver with its etcd, and helm: built through the Go module proxy, started without any node.

Nothing is scheduled and no controller runs; what is checked is what the apiserver itself does: validate, admit, audit.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from ground import CACHE, free_port, listens, running, tool

APISERVER = "1.36.3"
ETCD = "3.6.16"
HELM = "3.22.0"
TOKEN = "operator-token"
KUBECTL_SECONDS = 60


def go(*words: str, folder: Path, bin_folder: Path | None = None) -> str:
    """The output of a go command, with modules from its proxy."""
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", "GO111MODULE": "on"}
    if bin_folder is not None:
        environment["GOBIN"] = str(bin_folder)
    command = [tool("go", "builds kube-apiserver, etcd and helm"), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"go {' '.join(words)}: {done.stderr[-4000:]}")
    return done.stdout


def module(name: str, version: str) -> dict[str, str]:
    """Where a module was downloaded to: `Dir`, `GoMod`."""
    found: dict[str, str] = json.loads(go("mod", "download", "-json", f"{name}@{version}", folder=_place("modules")))
    return found


def installed(package: str, version: str) -> Path:
    """A program by `go install`."""
    folder = _place(f"{package.replace('/', '_')}-{version}")
    if not any(folder.iterdir()):
        go("install", f"{package}@v{version}", folder=folder, bin_folder=folder)
    return next(folder.iterdir())


def built(package: str, module_name: str, version: str, replacements: str = "") -> Path:
    """A program of a module that `go install` refuses for its replacements: built as a dependency of an empty one."""
    folder = _place(f"{Path(package).name}-{version}")
    program = folder / "program"
    if not program.exists():
        described = Path(module(module_name, f"v{version}")["GoMod"]).read_text()
        language = re.search(r"^go .*$", described, re.MULTILINE)
        assert language is not None
        content = f"module built\n{language[0]}\nrequire {module_name} v{version}\n{replacements}"
        (folder / "go.mod").write_text(content)
        go("build", "-o", program.name, package, folder=folder)
    return program


def etcd() -> Path:
    """The program."""
    return built("go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", ETCD)


def apiserver() -> Path:
    """The program. Its module replaces its siblings by folders that no module carries, so they are named here again."""
    if os.environ["AUDITSINK_REAL"] != "all" and not (_place(f"kube-apiserver-{APISERVER}") / "program").exists():
        pytest.skip("kube-apiserver takes a quarter of an hour to build: AUDITSINK_REAL=all make test-real")
    described = Path(module("k8s.io/kubernetes", f"v{APISERVER}")["GoMod"]).read_text()
    siblings = sorted(set(re.findall(r"(k8s\.io/[a-z-]+) => \./staging", described)))
    version = f"v0.{APISERVER.removeprefix('1.')}"
    replacements = "".join(f"replace {one} => {one} {version}\n" for one in siblings)
    return built("k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes", APISERVER, replacements)


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
        said, complaint = await called.communicate(stdin.encode())
        assert bool(called.returncode) is fails, f"kubectl {' '.join(words)}: {complaint.decode()[-4000:]}"
        return (complaint if fails else said).decode()


@contextlib.asynccontextmanager
async def cluster(place: Path, webhook: str, policy: Path, flags: Sequence[str] = ()) -> AsyncIterator[Kubernetes]:
    """An apiserver that writes each audit event to a file, and posts it to `webhook`."""
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    etcd_url, log = f"http://127.0.0.1:{etcd_port}", place / "audit.log"
    etcd_command = [
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
    command = [
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


def _place(name: str) -> Path:
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def missing_tools() -> str:
    """Why a cluster cannot be had here, or ""."""
    lacking = [name for name in ("go", "kubectl", "openssl", "curl") if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""

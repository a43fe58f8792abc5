"""`unchanged` and `dryRun` on what a real kube-apiserver records; its store says which requests changed something."""

import asyncio
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from ground import tool
from kubernetes import TOKEN, Kubernetes
from rows import Rows

from auditsink.filters.reading import read_closer
from auditsink.filters.rules import dry_run, unchanged

pytestmark = pytest.mark.skipif(bool(kubernetes.missing_tools()), reason=kubernetes.missing_tools())
POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
          "rules": [{"level": "RequestResponse"}]}  # fmt: skip
MAPS = "/api/v1/namespaces/default/configmaps"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
ALL = {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}
NONE = {"kind": "DeleteOptions", "apiVersion": "v1"}


class Client:
    """Asks an apiserver; each request has a name, its User-Agent, which its event has too."""

    def __init__(self, cluster: Kubernetes) -> None:
        self._url = cluster.url
        self.wrote: dict[str, bool] = {}
        """By name: whether the store held other objects, or other versions of them, after the request."""

    async def ask(
        self, name: str, method: str, path: str, body: Mapping[str, Any] | None = None, kind: str = "application/json"
    ) -> Any:
        """The answer's document."""
        before = await self._versions()
        answer = await self.call(name, method, path, body, kind)
        self.wrote[name] = await self._versions() != before
        return answer

    async def _versions(self) -> list[tuple[str, str]]:
        held = [one["metadata"] for path in (MAPS, ACCOUNTS) for one in (await self.call("", "GET", path))["items"]]
        return sorted((one["uid"], one["resourceVersion"]) for one in held)

    async def call(
        self, name: str, method: str, path: str, body: Mapping[str, Any] | None = None, kind: str = ""
    ) -> Any:
        """The same without a look at the store."""
        command = [
            tool("curl", "asks the apiserver"), "-sk", "-X", method, "-A", name or "reader", f"{self._url}{path}",
            "-H", f"Authorization: Bearer {TOKEN}",
        ]  # fmt: skip
        if body is not None:
            command += ["-H", f"Content-Type: {kind}", "--data-binary", json.dumps(body)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        return json.loads(done.stdout)


async def at_work(client: Client) -> None:
    """Every way in which a request may change nothing, and those that only look like one."""
    ask = client.ask
    made = await ask("create", "POST", MAPS, {"metadata": {"name": "m"}, "data": {"a": "1"}})
    await ask("same again", "PUT", f"{MAPS}/m", made)
    changed = await ask("update", "PUT", f"{MAPS}/m", made | {"data": {"a": "2"}})
    await ask("conflict", "PUT", f"{MAPS}/m", made)
    await ask("dry update", "PUT", f"{MAPS}/m?dryRun=All", changed | {"data": {"a": "3"}})
    await ask("dry update, spelt oddly", "PUT", f"{MAPS}/m?dry%52un=All", changed | {"data": {"a": "4"}})
    await ask("unconditional update", "PUT", f"{MAPS}/m", {"metadata": {"name": "m"}, "data": {"a": "5"}})
    merge = "application/merge-patch+json"
    await ask("dry patch", "PATCH", f"{MAPS}/m?dryRun=All", {"data": {"a": "6"}}, merge)
    await ask("patch with a semicolon", "PATCH", f"{MAPS}/m?dryRun=All;x", {"data": {"a": "7"}}, merge)
    await ask("patch with a broken escape", "PATCH", f"{MAPS}/m?dryRun=All%zz", {"data": {"a": "8"}}, merge)
    await ask("patch of nothing", "PATCH", f"{MAPS}/m", {}, merge)
    await ask("dry create", "POST", f"{MAPS}?dryRun=All", {"metadata": {"name": "n"}})
    await ask("dry delete", "DELETE", f"{MAPS}/m", ALL)
    await ask("dry delete by query", "DELETE", f"{MAPS}/m?dryRun=All")
    await ask("delete with a query", "DELETE", f"{MAPS}/m?dryRun=All", NONE)
    await ask("create held", "POST", MAPS, {"metadata": {"name": "f", "finalizers": ["test.io/held"]}})
    await ask("delete held", "DELETE", f"{MAPS}/f", NONE)
    held = await client.call("", "GET", f"{MAPS}/f")
    held["metadata"]["finalizers"] = []
    await ask("let go", "PUT", f"{MAPS}/f", held)
    await ask("account", "POST", ACCOUNTS, {"metadata": {"name": "s"}})
    wanted = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"audiences": ["x"]}}
    token = await ask("token", "POST", f"{ACCOUNTS}/s/token?dryRun=All", wanted)
    assert token["status"]["token"], "a dry run would make none"


async def test_what_counts_as_a_dry_run_or_as_unchanged_has_changed_nothing(tmp_path: Path, rows: Rows) -> None:
    (tmp_path / "kubernetes").mkdir()
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    flags = ["--audit-log-mode=blocking", "--audit-webhook-mode=batch"]
    webhook = "http://127.0.0.1:9/nobody"
    async with kubernetes.cluster(tmp_path / "kubernetes", webhook, tmp_path / "policy.json", flags) as cluster:
        client = Client(cluster)
        await at_work(client)
        log = cluster.audit_log.read_bytes().splitlines()
    found = {json.loads(bytes(one.members.get("userAgent", b'""'))): one for one in map(read_closer, log)}
    judged = {name: found[name] for name in client.wrote}
    dry = {name for name, one in judged.items() if dry_run(one.seen)}
    same = {name for name, one in judged.items() if unchanged(one)}
    assert dry == {"dry update", "dry patch", "dry create", "dry delete"}
    assert same == {"same again", "dry update", "dry update, spelt oddly"}
    wrote = {name for name, one in client.wrote.items() if one}
    assert not wrote & (dry | same)
    assert {"let go", "delete with a query", "patch with a semicolon", "patch with a broken escape"} <= wrote
    rows(
        server=f"kube-apiserver {kubernetes.APISERVER}", thrown="dry runs, updates without a change, and their like",
        into=len(judged), out=len(judged), note=f"{len(dry | same)} recognised, none of them had written anything",
    )  # fmt: skip

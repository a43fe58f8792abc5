"""The two processes over HTTP: the controller that watches, leads, registers and answers; the admission."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from gardenerkit import OPERATION, OWN, SPLUNK, Seed, kubeconfig, resource, secret, seed, shoot

from auditsink.gardener.admission.server import ShootAdmission
from auditsink.gardener.api import controller_config
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.apiserver import deployment as mutation
from auditsink.gardener.controller import Controller, Settings
from auditsink.gardener.kube import Kube
from auditsink.gardener.metrics import ControllerMetrics
from auditsink.gardener.web import probes, serving, webhooks

PATIENCE = 30.0
CUSTOM = {**SPLUNK, "backends": {"customForwarding": {"enabled": True, "configMapResourceName": "c"}}}


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (found := condition()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


@contextlib.asynccontextmanager
async def controller(it: Seed, identity: str = "one") -> AsyncIterator[Controller]:
    url = str(it.kube._client._client._client.base_url)
    kube = Kube(kubeconfig(url))
    settings = Settings(
        controller=ControllerConfig(image="auditsink:1", health_seconds=0.1),
        identity=identity, service="gardener-extension-audit", webhook_port=0, health_port=0, host="127.0.0.1",
        url="https://127.0.0.1:1",
    )  # fmt: skip
    made = Controller(settings, kube)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await kube.close()


async def test_an_extension_is_noticed_reconciled_watched_and_deleted() -> None:
    async with seed() as it, controller(it):
        it.fill()
        await until(lambda: it.extension.get("status", {}).get("lastOperation", {}).get("state") == "Succeeded")
        await until(lambda: "conditions" in it.extension["status"])
        assert it.api.find("leases", "gardener-extension-heartbeat", "extension-audit")
        registered = await until(lambda: it.api.find("mutatingwebhookconfigurations", "gardener-extension-audit"))
        (webhook,) = registered["webhooks"]
        assert webhook["name"] == "kapiserver.audit.extensions.gardener.cloud"
        assert webhook["failurePolicy"] == "Fail"
        assert webhook["objectSelector"]["matchLabels"]["app"] == "kubernetes"
        assert webhook["clientConfig"]["url"] == "https://127.0.0.1:1/webhooks/kube-apiserver"
        it.api.broken.add("endpointslices")  # nothing to drain, and nobody to ask
        it.api.broken.clear()
        it.change("extensions", "audit", deletionTimestamp="2026-11-28T10:00:00Z")
        await until(lambda: not it.api.all("extensions"))


async def test_the_second_replica_answers_and_waits_and_the_certificate_is_the_registered_one() -> None:
    async with seed() as it, controller(it, "one") as first, controller(it, "two") as second:
        await until(lambda: first.server.shown.ready and second.server.shown.ready)
        await until(lambda: it.api.find("mutatingwebhookconfigurations", "gardener-extension-audit"))
        assert {first.metrics.leader._value.get(), second.metrics.leader._value.get()} == {0.0, 1.0}
        registered = it.api.find("mutatingwebhookconfigurations", "gardener-extension-audit")
        assert registered is not None
        bundle = base64.b64decode(registered["webhooks"][0]["clientConfig"]["caBundle"])
        context = ssl.create_default_context(cadata=bundle.decode())
        host_name = "gardener-extension-audit.extension-audit.svc"
        for one in (first, second):
            to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = context.wrap_bio(to_client, to_server, server_hostname=host_name)
            host = one.server.shown.context.wrap_bio(to_server, to_client, server_side=True)
            for _ in range(4):
                for side in (client, host):
                    with contextlib.suppress(ssl.SSLWantReadError):
                        side.do_handshake()
            assert client.version()


async def test_what_others_do_to_a_watch_is_survived() -> None:
    async with seed() as it, controller(it):
        it.api.broken.add("extensions")
        await asyncio.sleep(0)
        it.api.broken.clear()
        it.fill()
        await until(lambda: it.extension.get("status", {}).get("lastOperation", {}).get("state") == "Succeeded")
        it.ask("reconcile")
        await until(lambda: OPERATION not in it.extension["metadata"].get("annotations", {}))
        await until(lambda: it.last["type"] == "Reconcile" and it.last["state"] == "Succeeded")


async def test_the_garden_gets_a_sink_and_its_api_servers_are_touched() -> None:
    config = ControllerConfig(extension_class="garden", image="auditsink:1")
    async with seed(config) as it:
        garden = {
            "apiVersion": "operator.gardener.cloud/v1alpha1",
            "kind": "Garden",
            "metadata": {"name": "g", "uid": "garden-uid"},
            "spec": {"resources": [resource("splunk-secret")]},
        }
        it.api.put("gardens", garden)
        it.api.put("secrets", secret("splunk-secret", "garden", token="x"))
        for name in ("gardener-apiserver", "virtual-garden-kube-apiserver"):
            pod = {"metadata": {}, "spec": {"containers": [{"name": name.removeprefix("virtual-garden-")}]}}
            metadata = {"name": name, "namespace": "garden", "annotations": {mutation.DIGEST: "x"}}
            kind = {"apiVersion": "apps/v1", "kind": "Deployment"}
            it.api.put("deployments", {**kind, "metadata": metadata, "spec": {"template": pod}})
        whole = {
            "apiVersion": "extensions.gardener.cloud/v1alpha1",
            "kind": "Extension",
            "metadata": {"name": "garden-audit", "namespace": "garden"},
            "spec": {"type": "audit", "class": "garden", "providerConfig": SPLUNK},
        }
        it.api.put("extensions", whole)
        assert await it.reconcile("garden/garden-audit")
        there = it.api.find("managedresources", "extension-audit", "garden")
        assert there is not None
        held = it.api.find("secrets", there["spec"]["secretRefs"][0]["name"], "garden")
        assert held is not None
        text = base64.b64decode(held["data"]["objects.yaml"])
        assert b"gardener-garden-system-500" in text
        assert b"from-all-garden-scrape-targets-allowed-ports" in text
        assert b'"prometheus":"garden"' in text
        touched = [place for verb, plural, place in it.api.writes if (verb, plural) == ("patch", "deployments")]
        assert touched == ["garden/gardener-apiserver", "garden/virtual-garden-kube-apiserver"]
        going = it.api.find("extensions", "garden-audit", "garden")
        assert going is not None
        metadata = {**going["metadata"], "deletionTimestamp": "2026-11-28T10:00:00Z"}
        it.api.put("extensions", {**going, "metadata": metadata})
        assert await it.reconcile("garden/garden-audit")
        left = it.api.find("deployments", "gardener-apiserver", "garden")
        assert left is not None
        assert left["metadata"]["annotations"] == {}


def review(thing: Any, old: Any = None, namespace: str = "garden-p") -> dict[str, Any]:
    request = {"uid": "u", "namespace": namespace, "object": thing, "oldObject": old}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def with_extension(config: Any, **changes: Any) -> dict[str, Any]:
    return shoot(spec__extensions=[{"type": "audit", "providerConfig": config}], **changes)


@pytest.fixture
def good() -> list[dict[str, Any]]:
    return [secret("splunk-secret", "garden-p", token="t"), secret("lake", "garden-p", token="t")]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (SPLUNK, ""),
        (OWN, ""),
        (None, ""),
        ({**SPLUNK, "replicas": "two"}, "providerConfig: Expected `int`"),
        ({**SPLUNK, "unknown": 1}, "unknown field `unknown`"),
        ({**OWN, "sink": {"destinations": [{"name": "s", "type": "splunk"}]}}, "destinations[0]"),
        ({**OWN, "sink": {**OWN["sink"], "admin": {}}}, "sink.admin: is not yours to set here"),
        (
            {**OWN, "sink": {"destinations": [{"name": "s", "type": "splunk", "token_file": "/etc/passwd"}]}},
            "a pod has no such file",
        ),
        (
            {**OWN, "sink": {"destinations": [{"name": "s", "type": "splunk", "token": "${HOME}"}]}},
            "a variable is ${resource:NAME/KEY}",
        ),
        (
            {**OWN, "sink": {"destinations": [{"name": "s", "type": "splunk", "token_file": "resource:lake/x"}]}},
            "Secret lake has no key x",
        ),
        (CUSTOM, "the operator does not allow it"),
    ],
)
async def test_a_shoot_is_judged_before_it_is_stored(config: Any, why: str, good: list[dict[str, Any]]) -> None:
    async with seed() as it:
        for one in good:
            it.api.put("secrets", one)
        admission = ShootAdmission(it.kube, ControllerConfig())
        answer = (await admission.shoot(review(with_extension(config))))["response"]
        assert answer["allowed"] is not bool(why), answer
        assert why in answer.get("status", {}).get("message", "")


async def test_a_secret_that_loses_its_key_is_refused_while_a_shoot_needs_it(good: list[dict[str, Any]]) -> None:
    async with seed() as it:
        for one in good:
            it.api.put("secrets", one)
        it.api.put("shoots", with_extension(SPLUNK))
        admission = ShootAdmission(it.kube, ControllerConfig())
        answer = (await admission.secret(review(secret("splunk-secret", "garden-p", other="x"))))["response"]
        assert answer["status"]["message"] == (
            "Shoot n refers to this Secret: backends.splunk.secretResourceName: Secret splunk-secret has no key token"
        )
        assert (await admission.secret(review(secret("unrelated", "garden-p"))))["response"]["allowed"]


async def test_a_shoot_that_does_not_change_its_auditing_or_goes_is_let_through() -> None:
    async with seed() as it:
        admission = ShootAdmission(it.kube, ControllerConfig())
        broken = with_extension({**SPLUNK, "unknown": 1})
        assert (await admission.shoot(review(broken, broken)))["response"]["allowed"]
        going = {**broken, "metadata": {**broken["metadata"], "deletionTimestamp": "2026-11-28T10:00:00Z"}}
        assert (await admission.shoot(review(going, shoot())))["response"]["allowed"]


async def test_an_operators_default_is_no_mistake_of_the_user() -> None:
    backends = {"splunk": {"enabled": True, "host": "hec", "port": "8088", "secretResourceName": "org"}}
    config = controller_config.parse({"apiVersion": controller_config.METAL_API_VERSION, "defaultBackends": backends})
    async with seed() as it:
        admission = ShootAdmission(it.kube, config)
        assert (await admission.shoot(review(with_extension(None))))["response"]["allowed"]


async def test_the_ports_answer_probes_metrics_and_nothing_but_reviews() -> None:
    async def echo(asked: dict[str, Any]) -> dict[str, Any]:
        return {"response": {"uid": asked["request"]["uid"], "allowed": True}}

    async with httpx2.AsyncClient() as client:
        ready = [False]
        async with serving(probes(ControllerMetrics().registry, lambda: ready[0]), "127.0.0.1", 0) as port:
            assert (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 503
            ready[0] = True
            assert (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            assert "auditsink_gardener_leader 0.0" in (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        async with serving(webhooks({"/r": echo}), "127.0.0.1", 0) as port:
            url = f"http://127.0.0.1:{port}/r"
            assert (await client.post(url, json={"request": {"uid": "u"}})).json()["response"]["uid"] == "u"
            for body in (b"", b"{", b"[]", b'{"request": 1}', b"[" * 100_000):
                assert (await client.post(url, content=body)).status_code == 400
            assert (await client.post(url, content=b" " * (9 * 2**20))).status_code == 413

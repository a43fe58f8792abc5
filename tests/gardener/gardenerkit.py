"""A seed for tests: its objects, a resource manager and sinks that do what they are told, and the parts under test."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import yaml
from lightkube import KubeConfig
from scripted_api import Object, ScriptedApi

from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.certificates.issue import Pair
from auditsink.gardener.certificates.wanted import Authority, Leaf
from auditsink.gardener.control.deploy import Tools
from auditsink.gardener.control.landscape import Landscape
from auditsink.gardener.control.lifecycle import Lifecycle
from auditsink.gardener.control.operations import Mine
from auditsink.gardener.control.reconciler import Reconciler
from auditsink.gardener.kube import Kube
from auditsink.gardener.render.monitoring import Monitoring
from auditsink.gardener.web import serving

NAMESPACE = "shoot--p--n"
KEY = f"{NAMESPACE}/audit"
OPERATION = "gardener.cloud/operation"
NOW = 1_780_000_000.0

SPLUNK: Object = {
    "apiVersion": "audit.metal.extensions.gardener.cloud/v1alpha1",
    "kind": "AuditConfig",
    "backends": {
        "splunk": {
            "enabled": True,
            "index": "k8s",
            "host": "hec.example.com",
            "port": "8088",
            "secretResourceName": "splunk-secret",
            "tls": True,
            "tlshost": "splunk.internal",
            "customData": {"stage": "prod", "region": "eu-1"},
        }
    },
}
OWN: Object = {
    "apiVersion": "auditsink.extensions.gardener.cloud/v1alpha1",
    "kind": "AuditConfig",
    "sink": {
        "destinations": [
            {"name": "siem", "type": "splunk", "url": "https://hec:8088", "token_file": "resource:splunk-secret/token"},
            {"name": "lake", "type": "http", "url": "https://lake/in", "auth": {"bearer": "${resource:lake/token}"}},
        ]
    },
}


def secret(name: str, namespace: str = NAMESPACE, **values: str) -> Object:
    """A Secret with these values."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}


def resource(name: str, kind: str = "Secret") -> Object:
    """An entry of spec.resources."""
    return {"name": name, "resourceRef": {"apiVersion": "v1", "kind": kind, "name": name}}


def shoot(**changes: Any) -> Object:
    """A Shoot with three references."""
    whole: Object = {
        "apiVersion": "core.gardener.cloud/v1beta1",
        "kind": "Shoot",
        "metadata": {"name": "n", "namespace": "garden-p", "uid": "shoot-uid", "generation": 1},
        "spec": {"resources": [resource("splunk-secret"), resource("s3-secret"), resource("lake")]},
        "status": {"gardener": {"version": "v1.149.3"}},
    }
    for path, value in changes.items():
        place = whole
        *way, last = path.split("__")
        for key in way:
            place = place.setdefault(key, {})
        place[last] = value
    return whole


def cluster(**changes: Any) -> Object:
    """A Cluster; `changes` are of its Shoot, keys joined by two underscores."""
    seed = {"metadata": {"name": "seed", "uid": "seed-uid"}}
    return {
        "apiVersion": "extensions.gardener.cloud/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": NAMESPACE},
        "spec": {"shoot": shoot(**changes), "seed": seed},
    }


def rotation(phase: str, initiated: str = "2026-11-01T10:00:00Z") -> Object:
    """A Shoot's status.credentials."""
    return {"rotation": {"certificateAuthorities": {"phase": phase, "lastInitiationTime": initiated}}}


def extension(config: Object | None = SPLUNK, **metadata: Any) -> Object:
    """An Extension as gardenlet writes it."""
    spec: Object = {"type": "audit"}
    if config is not None:
        spec["providerConfig"] = config
    return {
        "apiVersion": "extensions.gardener.cloud/v1alpha1",
        "kind": "Extension",
        "metadata": {"name": "audit", "namespace": NAMESPACE, **metadata},
        "spec": spec,
    }


class FakeIssuer:
    """Makes no keys: numbered text, so that tests see who signed what."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, wanted: Authority | Leaf, signer: Pair | None, _now: float) -> Pair:
        self.made.append(wanted.name)
        by = f" by {signer.certificate.decode()}" if signer else ""
        return Pair(f"{wanted.name}#{len(self.made)}{by}\n".encode(), f"key#{len(self.made)}\n".encode())


class ScriptedSinks:
    """`answers` by address; what is not there does not answer. `after` is called before each answer."""

    def __init__(self) -> None:
        self.answers: dict[str, Mapping[str, Any]] = {}
        self.asked = 0

    async def status(self, address: str) -> Mapping[str, Any] | None:
        """See `auditsink.gardener.control.drain.Sinks`."""
        self.asked += 1
        return self.answers.get(address)


def pending(count: int, name: str = "splunk", **more: Any) -> Object:
    """A sink's /status."""
    return {"destinations": [{"name": name, "state": "delivering", "pending": count, "dead_lettered": 0, **more}]}


class Seed:
    """One scripted API, and the controller's parts over it."""

    def __init__(self, api: ScriptedApi, kube: Kube, config: ControllerConfig, make: Any) -> None:
        self.api = api
        self.kube = kube
        self.now = NOW
        self.slept: list[float] = []
        self.manages = True  # whether the resource manager works
        self.sinks = ScriptedSinks()
        self.issuer = make
        api.on_change.append(self._resource_manager)
        landscape = Landscape(kube, config, "extension-audit")
        self.landscape = landscape
        tools = Tools(kube, config, Monitoring(), lambda: self.now, self.sleep, make)
        self.lifecycle = Lifecycle(tools, landscape, self.sinks)
        self.mine = Mine(config.type, config.extension_class)
        self.counted: list[tuple[str, bool]] = []
        self.reconciler = Reconciler(
            self.mine, landscape, self.lifecycle, lambda: self.now,
            lambda operation, succeeded, _seconds: self.counted.append((operation.value, succeeded)),
        )  # fmt: skip

    async def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def fill(self, config: Object | None = SPLUNK, **changes: Any) -> None:
        """A shoot with an Extension that gardenlet asks to be reconciled."""
        self.api.put("clusters", cluster(**changes))
        for name, values in {
            "splunk-secret": {"token": "t0ken", "ca": "a CA"},
            "s3-secret": {"access_key_id": "AKIA", "secret_access_key": "s3cret"},
            "lake": {"token": "another"},
        }.items():
            self.api.put("secrets", secret(f"ref-{name}", **values))
        self.api.put("extensions", extension(config, annotations={OPERATION: "reconcile"}))

    def ask(self, operation: str) -> None:
        """What gardenlet does to have something done."""
        self.change("extensions", "audit", annotations={OPERATION: operation})

    def change(self, plural: str, name: str, namespace: str = NAMESPACE, **metadata: Any) -> None:
        """Somebody else's change of metadata."""
        there = self.api.find(plural, name, namespace)
        assert there is not None
        self.api.put(plural, {**there, "metadata": {**there["metadata"], **metadata}})

    def shoot(self, **changes: Any) -> None:
        """Another state of the shoot."""
        self.api.put("clusters", cluster(**changes))

    def run_sinks(self, *answers: Object) -> None:
        """Sinks that run, and what each says."""
        endpoints = [{"addresses": [f"10.0.0.{number}"]} for number in range(len(answers))]
        labels = {"kubernetes.io/service-name": "auditsink-pods"}
        metadata = {"name": "auditsink-pods-x", "namespace": NAMESPACE, "labels": labels}
        ports = [{"name": "admin", "port": 2020}]
        found = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
        self.api.put("endpointslices", {**found, "endpoints": endpoints, "ports": ports})
        self.sinks.answers = {f"10.0.0.{number}:2020": answer for number, answer in enumerate(answers)}

    async def reconcile(self, key: str = KEY) -> bool:
        """One turn."""
        return await self.reconciler(key)

    @property
    def extension(self) -> Object:
        """As it is now."""
        found = self.api.find("extensions", "audit", NAMESPACE)
        assert found is not None
        return found

    @property
    def last(self) -> Object:
        """Its status.lastOperation."""
        found = self.extension["status"]["lastOperation"]
        assert isinstance(found, dict)
        return found

    def managed(self, name: str = "extension-audit") -> list[Object]:
        """The objects that a ManagedResource holds; none when it is not there."""

        there = self.api.find("managedresources", name, NAMESPACE)
        if there is None:
            return []
        found = self.api.find("secrets", there["spec"]["secretRefs"][0]["name"], NAMESPACE)
        assert found is not None
        return list(yaml.safe_load_all(base64.b64decode(found["data"]["objects.yaml"])))

    def one(self, kind: str, name: str = "auditsink") -> Object:
        """One of them."""
        return next(thing for thing in self.managed() if (thing["kind"], thing["metadata"]["name"]) == (kind, name))

    def config(self) -> Object:
        """The sink's configuration file."""

        text = next(one for one in self.managed() if one["kind"] == "ConfigMap")["data"]["config.yaml"]
        found = yaml.safe_load(text)
        assert isinstance(found, dict)
        return found

    def _resource_manager(self, what: str, key: tuple[str, str, str, str], thing: Object) -> None:
        if key[1] != "managedresources" or what == "DELETED" or not self.manages:
            return
        if (thing.get("status") or {}).get("observedGeneration") == thing["metadata"]["generation"]:
            return
        wanted = {"ResourcesApplied": "True", "ResourcesHealthy": "True", "ResourcesProgressing": "False"}
        conditions = [{"type": kind, "status": status} for kind, status in wanted.items()]
        status = {"observedGeneration": thing["metadata"]["generation"], "conditions": conditions}
        self.api.put("managedresources", {**thing, "status": status})


def kubeconfig(url: str, namespace: str = "extension-audit") -> KubeConfig:
    """One that leads there."""
    context = {"cluster": "c", "user": "u", "namespace": namespace}
    whole = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": context}],
        "current-context": "c",
    }
    return KubeConfig.from_dict(whole)


@contextlib.asynccontextmanager
async def seed(config: ControllerConfig | None = None, make: Any = None) -> AsyncIterator[Seed]:
    """A running one."""
    api = ScriptedApi()
    async with serving(api.app, "127.0.0.1", 0) as port:
        kube = Kube(kubeconfig(f"http://127.0.0.1:{port}"))
        try:
            yield Seed(api, kube, config or ControllerConfig(image="auditsink:1"), make or FakeIssuer())
        finally:
            await kube.close()

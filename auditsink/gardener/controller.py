"""The extension's process: every replica answers the webhook, one of them does the work. Builds all parts."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.apiserver import deployment, webhook
from auditsink.gardener.apiserver.deployment import Known
from auditsink.gardener.control import apply
from auditsink.gardener.control.certificates import issued
from auditsink.gardener.control.changes import Watching, WorkQueue
from auditsink.gardener.control.deploy import Tools
from auditsink.gardener.control.drain import HttpSinks
from auditsink.gardener.control.health import HealthLoop
from auditsink.gardener.control.landscape import Landscape
from auditsink.gardener.control.leases import Leadership, heartbeat
from auditsink.gardener.control.lifecycle import Lifecycle
from auditsink.gardener.control.operations import Mine, starts
from auditsink.gardener.control.reconciler import Reconciler
from auditsink.gardener.errors import ConfigurationError, ExtensionError
from auditsink.gardener.kube import CLUSTER, EXTENSION, MUTATING_WEBHOOK, NAMESPACE, SECRET, Kube
from auditsink.gardener.metrics import ControllerMetrics
from auditsink.gardener.objects import Object, annotation, meta
from auditsink.gardener.render import names
from auditsink.gardener.render.monitoring import Monitoring
from auditsink.gardener.serving_certificate import ServingCertificate, WebhookServer, register
from auditsink.gardener.web import probes, serving, webhooks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the command line says. `url`: where the API reaches the webhook when it does not know our Service."""

    controller: ControllerConfig
    identity: str
    service: str
    namespace: str = ""
    webhook_port: int = 10250
    health_port: int = 8081
    host: str = "0.0.0.0"  # noqa: S104 - a pod's Service leads here
    url: str = ""
    monitoring: Path | None = None


def monitoring_of(place: Path | None) -> Monitoring:
    """alerts.yaml and dashboard.json of a directory; what is not there is not rendered. Raises ConfigurationError."""
    if place is None:
        return Monitoring()
    alerts, dashboard = place / "alerts.yaml", place / "dashboard.json"
    try:
        rules = yaml.safe_load(alerts.read_text()) if alerts.exists() else None
        return Monitoring(rules, dashboard.read_text() if dashboard.exists() else "")
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{place}: cannot be read: {type(problem).__name__}") from None


class Controller:
    """`run` until it is cancelled, or leadership is lost."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self.settings = settings
        self.kube = kube
        self.namespace = settings.namespace or kube.namespace
        self.metrics = ControllerMetrics()
        controller = settings.controller
        self._mine = Mine(controller.type, controller.extension_class, controller.ignore_operation_annotation)
        self._landscape = Landscape(kube, controller, self.namespace)
        self._sinks = HttpSinks()
        shown = monitoring_of(settings.monitoring)
        tools = Tools(kube, controller, shown, time.time, asyncio.sleep, issued)
        work = Lifecycle(tools, self._landscape, self._sinks)
        reconciler = Reconciler(self._mine, self._landscape, work, time.time, self.metrics.count)
        self.queue = WorkQueue(reconciler, _later)
        self._extensions = Watching(kube, EXTENSION, self._on_extension, _shrunk)
        names_of_url = (settings.url.partition("://")[2].partition(":")[0].partition("/")[0],) if settings.url else ()
        self._certificate = ServingCertificate(kube, settings.service, self.namespace, names_of_url, time.time)
        app = webhooks({webhook.DEPLOYMENTS: self._review})
        self.server = WebhookServer(app, self._certificate, settings.host, settings.webhook_port)

    async def run(self) -> None:
        """Serve, and lead when it is our turn. Raises LostLeadershipError, OSError for a port that is taken."""
        settings = self.settings
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._sinks.close)
            probing = probes(self.metrics.registry, lambda: self.server.shown.ready)
            await stack.enter_async_context(serving(probing, settings.host, settings.health_port))
            lease = f"{settings.controller.name}-leader-election"
            leadership = Leadership(
                self.kube, lease, self.namespace, settings.identity,
                clock=time.monotonic, wall=time.time, sleep=asyncio.sleep,
            )  # fmt: skip
            async with asyncio.TaskGroup() as group:
                group.create_task(self.server.run())
                group.create_task(leadership.lead(self._work))

    async def _work(self) -> None:
        controller = self.settings.controller
        self.metrics.leader.set(1)
        looks = HealthLoop(self._mine, self._landscape, self._sinks, time.time)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(heartbeat(self.kube, self.namespace, controller.name, time.time, asyncio.sleep))
                group.create_task(register(self._certificate, self.server, self._register))
                group.create_task(self.queue.run(controller.workers))
                group.create_task(self._extensions.run(asyncio.sleep))
                group.create_task(looks.run(self._keys, asyncio.sleep))
                if controller.ignore_operation_annotation and controller.extension_class == "shoot":
                    group.create_task(Watching(self.kube, CLUSTER, self._on_cluster, _versioned).run(asyncio.sleep))
        finally:
            self.metrics.leader.set(0)

    async def _register(self, bundle: bytes) -> None:
        controller, settings = self.settings.controller, self.settings
        address = webhook.WebhookAddress(bundle, settings.service, self.namespace, settings.url)
        # A runtime cluster may be a seed too, and then has both.
        name = f"gardener-{controller.name}{'-garden' if controller.extension_class == 'garden' else ''}"
        wanted = webhook.of_deployments(
            name, controller.type, controller.extension_class, address, await owner(self.kube, self.namespace)
        )
        await apply.ensure(self.kube, MUTATING_WEBHOOK, wanted, ["webhooks"])

    async def _review(self, asked: Object) -> Object:
        return await deployment.answer(asked, self.look, self.settings.controller)

    async def look(self, namespace: str) -> Known:
        """What the webhook has to know of a namespace. Raises KubeError, which the API takes for a refusal."""
        extensions, _ = await self.kube.list(EXTENSION, namespace)
        mine = next((extension for extension in extensions if self._mine.has(extension)), None)
        secret = await self.kube.get(SECRET, names.KUBECONFIG, namespace) if mine else None
        if mine is None or (secret is not None and "deletionTimestamp" not in meta(mine)):
            return Known(mine, secret)
        try:
            place = await self._landscape.place(namespace)
        except ExtensionError:
            place = None
        return Known(mine, secret, place is not None and place.hibernated, place is not None and place.deleted)

    def _on_extension(self, extension: Object, before: Object | None) -> None:
        if starts(extension, before, self._mine):
            self.queue.add(f"{meta(extension)['namespace']}/{meta(extension)['name']}")
        for state, count in self.queue.statistics().items():
            self.metrics.queue.labels(state).set(count)

    def _on_cluster(self, cluster: Object, before: Object | None) -> None:
        if before is not None and before.get("spec") != _versioned(cluster).get("spec"):
            for namespace, name in self._keys():
                if namespace == meta(cluster).get("name"):
                    self.queue.add(f"{namespace}/{name}")

    def _keys(self) -> list[tuple[str, str]]:
        known = [one for one in self._extensions.known if self._mine.has(one)]
        return [(str(meta(one)["namespace"]), str(meta(one)["name"])) for one in known]


def _later(delay: float, call: Callable[[str], None], key: str) -> None:
    asyncio.get_running_loop().call_later(delay, call, key)


async def owner(kube: Kube, namespace: str) -> Object:
    """So that a registration goes with the namespace of its controller; {} where that is not to be had."""
    found = await kube.get(NAMESPACE, namespace)
    if found is None:
        return {}
    return {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": meta(found).get("uid")}


def _shrunk(extension: Object) -> Object:
    """What `starts` compares."""
    kept = ("name", "namespace", "generation", "deletionTimestamp")
    metadata = {key: meta(extension)[key] for key in kept if key in meta(extension)}
    operation = {key: annotation(extension, key) for key in ("gardener.cloud/operation", "gardener.cloud/timestamp")}
    metadata["annotations"] = {key: value for key, value in operation.items() if value is not None}
    spec = extension.get("spec") or {}
    return {"metadata": metadata, "spec": spec, "status": extension.get("status")}


def _versioned(cluster: Object) -> Object:
    """A Cluster is large; of it only whether its Shoot's specification is another one."""
    shoot = ((cluster.get("spec") or {}).get("shoot")) or {}
    return {"metadata": {"name": meta(cluster).get("name")}, "spec": meta(shoot).get("generation")}

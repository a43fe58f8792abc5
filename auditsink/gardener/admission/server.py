"""The admission's process: registered in the garden's API, its certificate in the cluster where it runs."""

import asyncio
import time
from dataclasses import dataclass

from auditsink.gardener.admission.answer import ShootAdmission
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.apiserver import webhook
from auditsink.gardener.control import apply
from auditsink.gardener.control.leases import Leadership
from auditsink.gardener.kube import VALIDATING_WEBHOOK, Kube
from auditsink.gardener.metrics import ControllerMetrics
from auditsink.gardener.serving_certificate import ServingCertificate, WebhookServer, register
from auditsink.gardener.web import probes, serving, webhooks


@dataclass(frozen=True)
class AdmissionSettings:
    """What the command line says. `url`: where the garden's API reaches us; "" for our Service in the same cluster."""

    controller: ControllerConfig
    identity: str
    service: str
    namespace: str
    webhook_port: int = 10250
    health_port: int = 8081
    host: str = "0.0.0.0"  # noqa: S104 - a pod's Service leads here
    url: str = ""


async def run(settings: AdmissionSettings, garden: Kube, runtime: Kube) -> None:
    """Until it is cancelled. Every replica answers; one keeps the certificate and registers. Raises OSError."""
    name = f"gardener-{settings.controller.name}-admission"
    host = settings.url.partition("://")[2].partition(":")[0].partition("/")[0]
    certificate = ServingCertificate(runtime, settings.service, settings.namespace, (host,) if host else (), time.time)
    admission = ShootAdmission(garden, settings.controller)
    app = webhooks({webhook.SHOOTS: admission.shoot, webhook.SECRETS: admission.secret})
    server = WebhookServer(app, certificate, settings.host, settings.webhook_port)
    leadership = Leadership(
        runtime, f"{name}-leader-election", settings.namespace, settings.identity,
        clock=time.monotonic, wall=time.time, sleep=asyncio.sleep,
    )  # fmt: skip

    async def write(bundle: bytes) -> None:
        address = webhook.WebhookAddress(bundle, settings.service, settings.namespace, settings.url)
        wanted = webhook.of_shoots(name, settings.controller.type, address, {})
        await apply.ensure(garden, VALIDATING_WEBHOOK, wanted, ["webhooks"])

    probing = probes(ControllerMetrics().registry, lambda: server.shown.ready)
    async with serving(probing, settings.host, settings.health_port), asyncio.TaskGroup() as group:
        group.create_task(server.run())
        group.create_task(leadership.lead(lambda: register(certificate, server, write)))

"""The admission's process: registered in the garden's API, its certificate in the cluster where it runs."""

import asyncio
import logging
import time
from dataclasses import dataclass

from auditsink.gardener.admission.answer import ShootAdmission
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.apiserver import webhook
from auditsink.gardener.control import apply
from auditsink.gardener.kube import VALIDATING_WEBHOOK, Kube, KubeError
from auditsink.gardener.metrics import ControllerMetrics
from auditsink.gardener.serving_certificate import LOOK_SECONDS, ServingCertificate
from auditsink.gardener.web import ServerCertificate, probes, serving, webhooks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdmissionSettings:
    """What the command line says. `url`: where the garden's API reaches us; "" for our Service in the same cluster."""

    controller: ControllerConfig
    service: str
    namespace: str
    webhook_port: int = 10250
    health_port: int = 8081
    host: str = "0.0.0.0"  # noqa: S104 - a pod's Service leads here
    url: str = ""


async def run(settings: AdmissionSettings, garden: Kube, runtime: Kube) -> None:
    """Until it is cancelled. Every replica registers: all of them would write the same."""
    host = settings.url.partition("://")[2].partition(":")[0].partition("/")[0]
    certificate = ServingCertificate(runtime, settings.service, settings.namespace, (host,) if host else (), time.time)
    shown = ServerCertificate()
    admission = ShootAdmission(garden, settings.controller)
    app = webhooks({webhook.SHOOTS: admission.shoot, webhook.SECRETS: admission.secret})
    probing = probes(ControllerMetrics().registry, lambda: shown.ready)
    async with serving(probing, settings.host, settings.health_port):
        await _register(settings, certificate, shown, garden)
        async with serving(app, settings.host, settings.webhook_port, shown.context) as port:
            logger.info("admission ready", extra={"port": port})
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                await _registered(settings, certificate, shown, garden)


async def _register(
    settings: AdmissionSettings, certificate: ServingCertificate, shown: ServerCertificate, garden: Kube
) -> None:
    """Until it worked once; after that what is registered stays good for hours."""
    if not await _registered(settings, certificate, shown, garden):
        await asyncio.sleep(1.0)
        await _register(settings, certificate, shown, garden)


async def _registered(
    settings: AdmissionSettings, certificate: ServingCertificate, shown: ServerCertificate, garden: Kube
) -> bool:
    try:
        bundle = await certificate.ensure()
        address = webhook.WebhookAddress(bundle, settings.service, settings.namespace, settings.url)
        name = f"gardener-{settings.controller.name}-admission"
        wanted = webhook.of_shoots(name, settings.controller.type, address, {})
        await apply.ensure(garden, VALIDATING_WEBHOOK, wanted, ["webhooks"])
        await certificate.take_up(shown)
    except KubeError as problem:
        logger.warning("registering the admission: %s", problem)
        return False
    return True

"""Our webhooks' own certificate: made and renewed by the leader, registered, and shown by every replica.

The CA lives 30 days. When it is replaced the old one stays trusted for a day, which is longer than any replica takes
to show a certificate of the new one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette

from auditsink.gardener.certificates.decide import Made
from auditsink.gardener.certificates.issue import Pair
from auditsink.gardener.certificates.wanted import IDENTITY, MANAGED_BY, MANAGER, NAME, Authority, Leaf, service_names
from auditsink.gardener.control.apply import Clock
from auditsink.gardener.control.certificates import CertificateStore
from auditsink.gardener.control_plane import Rotation
from auditsink.gardener.kube import SECRET, Kube, KubeError
from auditsink.gardener.objects import Object, data, label, meta
from auditsink.gardener.web import ServerCertificate, serving

logger = logging.getLogger(__name__)

DAYS = 86_400.0
KEEP_SECONDS = DAYS
LOOK_SECONDS = 60.0
RETRY_SECONDS = 1.0

Write = Callable[[bytes], Awaitable[None]]
"""Registers a webhook with these CAs, PEM. May raise KubeError."""


class ServingCertificate:
    """Of one Service in one namespace; `names` are further DNS names, for a URL."""

    def __init__(self, kube: Kube, service: str, namespace: str, names: tuple[str, ...], clock: Clock) -> None:
        self._kube = kube
        self._namespace = namespace
        self._clock = clock
        self.identity = f"gardener-extension-{service.removeprefix('gardener-extension-')}-webhook"
        self._authority = Authority(f"ca-{service}-webhook", 30 * DAYS, persist=False, renew=True)
        dns = (*service_names(service, namespace), *names)
        self._leaf = Leaf(f"{service}-webhook-server", service, "server", dns, 30 * DAYS, follows_current=True)
        self._store = CertificateStore(kube, namespace, self.identity)

    async def ensure(self) -> bytes:
        """The leader's part: what is missing or old is made, what nobody needs is removed. The CAs to register, PEM."""
        made = await self._made()
        await self._store.cleanup(made.used)
        return data(made.bundle, "bundle.crt")

    async def _made(self) -> Made:
        return await self._store.ensure(self._authority, [self._leaf], Rotation(), self._clock(), KEEP_SECONDS)

    async def take_up(self, shown: ServerCertificate) -> None:
        """Every replica's part: show the newest one that there is."""
        there, _ = await self._kube.list(SECRET, self._namespace, {MANAGED_BY: MANAGER, IDENTITY: self.identity})
        leaves = [one for one in there if label(one, NAME) == self._leaf.name]
        if leaves:
            newest = max(leaves, key=_age)
            shown.show(Pair(data(newest, "tls.crt"), data(newest, "tls.key")))


class WebhookServer:
    """Shows that certificate. `answering` is set once it listens: what is registered must answer."""

    def __init__(self, app: Starlette, certificate: ServingCertificate, host: str, port: int) -> None:
        self._app = app
        self._certificate = certificate
        self._host = host
        self._port = port
        self.shown = ServerCertificate()
        self.answering = asyncio.Event()

    async def run(self) -> None:
        """Listen as soon as there is a certificate, until it is cancelled; look every minute for a newer one."""
        await self._look()
        while not self.shown.ready:
            await asyncio.sleep(RETRY_SECONDS)
            await self._look()
        async with serving(self._app, self._host, self._port, self.shown.context) as port:
            self.answering.set()
            logger.info("webhook ready", extra={"port": port})
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                await self._look()

    async def _look(self) -> None:
        try:
            await self._certificate.take_up(self.shown)
        except KubeError as problem:
            logger.warning("the webhook's certificate: %s", problem)


async def register(certificate: ServingCertificate, server: WebhookServer, write: Write) -> None:
    """The leader's part, until it is cancelled: `write` puts the CAs of the hour into the registration."""
    while True:
        try:
            bundle = await certificate.ensure()
            await server.answering.wait()
            await write(bundle)
        except KubeError as problem:
            logger.warning("registering the webhook: %s", problem)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            await asyncio.sleep(LOOK_SECONDS)


def _age(secret: Object) -> tuple[int, str]:
    issued = label(secret, "issued-at-time")
    return (int(issued) if issued.isdigit() else 0, str(meta(secret).get("name")))

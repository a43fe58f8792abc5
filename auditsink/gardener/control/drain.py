"""Asks sinks what they still hold, which they are to deliver before they are stopped, and says what is left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2

from auditsink.gardener.kube import ENDPOINT_SLICE, Kube
from auditsink.gardener.objects import Object
from auditsink.gardener.render import names

ASK_SECONDS = 5.0
"""For one answer of one sink."""


class Sinks(Protocol):
    """Asks a sink's admin port."""

    async def status(self, address: str) -> Mapping[str, Any] | None:
        """Its `/status`; None when it does not answer. `address` is host:port."""


class HttpSinks:
    """Sinks that are asked for their status over HTTP."""

    def __init__(self) -> None:
        self._client = httpx2.AsyncClient(timeout=ASK_SECONDS, trust_env=False)

    async def status(self, address: str) -> Mapping[str, Any] | None:
        """See `Sinks`."""
        try:
            answer = await self._client.get(f"http://{address}/status")
            found = answer.raise_for_status().json()
        except (httpx2.HTTPError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


@dataclass(frozen=True)
class Backlog:
    """Of all sinks of one place: events by destination; `silent` are sinks that did not answer."""

    sinks: int = 0
    silent: int = 0
    pending: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing waits for a destination, as far as anybody answered."""
        return not self.silent and not any(self.pending.values())

    def __str__(self) -> str:
        """A sentence, "" when nothing is left."""
        said = [f"{count} events were not delivered to {name}" for name, count in sorted(self.pending.items()) if count]
        said += [f"{count} events that {name} refused" for name, count in sorted(self.refused.items()) if count]
        if self.silent:
            said.append(f"{self.silent} of {self.sinks} sinks did not answer")
        return ", ".join(said)


async def backlog(kube: Kube, sinks: Sinks, namespace: str) -> Backlog:
    """What they hold now."""
    pending: dict[str, int] = {}
    refused: dict[str, int] = {}
    addresses = await sink_addresses(kube, namespace)
    silent = 0
    for address in addresses:
        status = await sinks.status(address)
        if status is None:
            silent += 1
            continue
        for one in status.get("destinations") or []:
            name = str(one.get("name"))
            pending[name] = pending.get(name, 0) + int(one.get("pending") or 0)
            refused[name] = refused.get(name, 0) + int(one.get("dead_lettered") or 0)
    return Backlog(len(addresses), silent, pending, refused)


async def sink_addresses(kube: Kube, namespace: str) -> list[str]:
    """host:port of each pod's admin port, ready or not."""
    slices, _ = await kube.list(ENDPOINT_SLICE, namespace, {"kubernetes.io/service-name": names.PODS})
    return sorted({address for one in slices for address in _addresses(one)})


def _addresses(one: Object) -> list[str]:
    ports = [port.get("port") for port in one.get("ports") or [] if port.get("name") == "admin"]
    found = []
    for endpoint in one.get("endpoints") or []:
        for address in endpoint.get("addresses") or []:
            host = f"[{address}]" if ":" in address else address
            found += [f"{host}:{port}" for port in ports]
    return found

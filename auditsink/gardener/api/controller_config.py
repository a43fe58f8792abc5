"""The controller's own configuration: what an operator decides for all shoots, or for the garden.

Two groups are taken: ours, decoded strictly, and that of metal-stack's extension, decoded loosely as it does, so that
its chart values can stay (`defaultBackends`, `defaultWebhookMode`, `allowCustomBackends`, `healthCheckConfig`).
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from auditsink.gardener.api import decoding
from auditsink.gardener.api.audit_config import Backends, Part
from auditsink.gardener.api.own_config import Mode

API_VERSION = "auditsink.extensions.config.gardener.cloud/v1alpha1"
METAL_API_VERSION = "audit.metal.extensions.config.gardener.cloud/v1alpha1"


class DrainSeconds(Part, frozen=True, kw_only=True):
    """How long a sink may take to deliver its backlog before it is stopped; gardenlet waits three minutes."""

    hibernate: float = 60.0
    migrate: float = 120.0
    delete: float = 120.0


class ControllerConfig(Part, frozen=True, kw_only=True):
    """What one controller needs to know. `image` is the sink's own."""

    api_version: str = API_VERSION
    kind: Literal["ControllerConfiguration"] = "ControllerConfiguration"
    type: str = "audit"
    extension_class: Literal["shoot", "garden"] = msgspec.field(default="shoot", name="class")
    image: str = "auditsink"
    gateway_image: str = "ghcr.io/metal-stack/gardener-vpn-gateway:v0.1.1"
    tailer_image: str = "fluent/fluentd:v1.12"
    default_backends: Backends | None = None
    default_webhook_mode: Mode | None = None
    allow_custom_backends: bool = False
    default_secret_prefix: str = "default-backend-secret-"  # noqa: S105 - of Secrets in the own namespace
    workers: int = 5
    ignore_operation_annotation: bool = False
    health_seconds: float = 60.0
    healthy_within_seconds: float = 150.0  # how long one reconcile waits for its objects
    drain_seconds: DrainSeconds = DrainSeconds()

    @property
    def name(self) -> str:
        """What the ManagedResource, the webhook and the leases are called after."""
        return f"extension-{self.type}"


def read(path: Path) -> ControllerConfig:
    """The configuration in a YAML file. Raises ConfigurationError, OSError."""
    return parse(decoding.document(path.read_bytes()))


def parse(document: dict[str, Any]) -> ControllerConfig:
    """The configuration; one of metal-stack's group becomes ours. Raises ConfigurationError."""
    if document.get("apiVersion") != METAL_API_VERSION:
        return decoding.convert(document, ControllerConfig, "configuration")
    ours = ("defaultBackends", "allowCustomBackends", "image", "type")
    kept: dict[str, Any] = {key: document[key] for key in ours if key in document}
    mode = document.get("defaultWebhookMode")
    if mode in ("batch", "blocking", "blocking-strict"):
        kept["defaultWebhookMode"] = mode
    return decoding.convert(kept, ControllerConfig, "configuration")

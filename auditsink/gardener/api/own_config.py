"""`AuditConfig` of `auditsink.extensions.gardener.cloud/v1alpha1`: a sink with all that a sink can do.

`sink` holds sections of the sink's own configuration file, key by key as docs and examples have them. Where the file
names a file (`token_file: ...`) an AuditConfig names a referenced resource and a key in it:

    token_file: resource:splunk/token        # spec.resources has an entry `splunk`; its Secret has a key `token`

and where it names a value, the same inside of the braces of a variable: `access_key_id: ${resource:lake/key-id}`.
"""

from typing import Any, Literal

import msgspec

from auditsink.gardener.api.audit_config import Part, Persistence

GROUP = "auditsink.extensions.gardener.cloud"
API_VERSION = f"{GROUP}/v1alpha1"

Mode = Literal["batch", "blocking", "blocking-strict"]


class WebhookFlags(Part, frozen=True, kw_only=True):
    """How the API server posts. What is left out is what config/apiserver/flags.yaml recommends."""

    mode: Mode | None = None
    batch_max_wait: str = "2s"
    batch_max_size: int = 400
    batch_buffer_size: int = 50_000
    batch_throttle_qps: int = 50
    batch_throttle_burst: int = 100
    initial_backoff: str | None = None  # None: 10s in batch mode, 1s where a user's request waits for it
    truncate_max_event_size: int | None = None  # bytes; None: events are never cut


class Resources(Part, frozen=True, kw_only=True):
    """Of the container. The vertical autoscaler moves the requests."""

    requests: dict[str, str | int] = msgspec.field(default_factory=lambda: {"cpu": "50m", "memory": "128Mi"})
    limits: dict[str, str | int] = msgspec.field(default_factory=lambda: {"memory": "256Mi"})


class OwnAuditConfig(Part, frozen=True, kw_only=True):
    """The providerConfig with what only this extension has."""

    api_version: str = API_VERSION
    kind: Literal["AuditConfig"] = "AuditConfig"
    replicas: int = 2
    persistence: Persistence = Persistence()
    webhook: WebhookFlags = WebhookFlags()
    resources: Resources = Resources()
    labels: dict[str, str] = msgspec.field(default_factory=dict)  # every event of this cluster carries them
    identity_labels: bool = False  # and Gardener's own: shoot.gardener.cloud/name and its like
    evacuation: dict[str, Any] | None = None  # an object store's section: where a migration leaves its backlog
    sink: dict[str, Any] = msgspec.field(default_factory=dict)  # destinations, spool, clusters, evidence, log

    def mistakes(self) -> list[str]:
        """A sentence for each value that cannot be meant; what stands in `sink` is checked by the sink's own rules."""
        found = [f"replicas: {self.replicas} is negative"] if self.replicas < 0 else []
        counts = {
            "batchMaxSize": self.webhook.batch_max_size,
            "batchBufferSize": self.webhook.batch_buffer_size,
            "batchThrottleQps": self.webhook.batch_throttle_qps,
            "batchThrottleBurst": self.webhook.batch_throttle_burst,
        }
        return found + [f"webhook.{key}: must be at least 1" for key, value in counts.items() if value < 1]

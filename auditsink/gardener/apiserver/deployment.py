"""What changes in an API server's Deployment: flags, a volume, a digest. Done twice it is as done once.

Every `--audit-*` flag but the policy's is ours; so what an earlier extension put there goes.
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence

from auditsink.gardener.api.own_config import WebhookFlags
from auditsink.gardener.objects import Object
from auditsink.gardener.render import names

CONTAINERS = ("kube-apiserver", "gardener-apiserver")
PATH = "/var/run/secrets/auditsink"
VOLUME = "auditsink-webhook-kubeconfig"
DIGEST = "auditsink.extensions.gardener.cloud/webhook-kubeconfig"
_KEPT = ("--audit-policy-file",)
_METAL_VOLUME = "audit-webhook-config"
"""What metal-stack's extension mounts; its Secret goes with it."""
BATCH_BYTES = 10_000_000
"""Where events are cut at all; the sink takes three times as much."""


def mutated(deployment: Object, kubeconfig: bytes, mode: str, webhook: WebhookFlags) -> Object:
    """The Deployment as it should be; the one that came is left as it is."""
    changed = _stripped(deployment)
    spec = changed["spec"]["template"]["spec"]
    posting = False
    for container in spec.get("containers") or []:
        if container.get("name") in CONTAINERS:
            posting = True
            container["args"] = [*(container.get("args") or []), *flags(mode, webhook)]
            mounts = container.setdefault("volumeMounts", [])
            mounts.append({"name": VOLUME, "mountPath": PATH, "readOnly": True})
    if posting:
        volume = {"name": VOLUME, "secret": {"secretName": names.KUBECONFIG, "defaultMode": 0o444}}
        spec.setdefault("volumes", []).append(volume)
        digest = hashlib.sha256(kubeconfig).hexdigest()[:8]
        for place in (changed, changed["spec"]["template"]):
            place.setdefault("metadata", {}).setdefault("annotations", {})[DIGEST] = digest
    return changed


def stripped(deployment: Object) -> Object:
    """The Deployment without anything of ours; the policy's flag stays."""
    changed = _stripped(deployment)
    for place in (changed, changed["spec"]["template"]):
        if DIGEST in ((place.get("metadata") or {}).get("annotations") or {}):
            del place["metadata"]["annotations"][DIGEST]
    return changed


def flags(mode: str, webhook: WebhookFlags) -> list[str]:
    """In a fixed order. The batch flags have no meaning, and are not given, where each event is posted by itself."""
    found = {"config-file": f"{PATH}/kubeconfig", "mode": mode}
    if mode == "batch":
        found |= {
            "batch-max-wait": webhook.batch_max_wait,
            "batch-max-size": str(webhook.batch_max_size),
            "batch-buffer-size": str(webhook.batch_buffer_size),
            "batch-throttle-qps": str(webhook.batch_throttle_qps),
            "batch-throttle-burst": str(webhook.batch_throttle_burst),
        }
    found["initial-backoff"] = webhook.initial_backoff or ("10s" if mode == "batch" else "1s")
    if webhook.truncate_max_event_size is None:
        found["truncate-enabled"] = "false"
    else:
        found |= {
            "truncate-enabled": "true",
            "truncate-max-event-size": str(webhook.truncate_max_event_size),
            "truncate-max-batch-size": str(max(BATCH_BYTES, webhook.truncate_max_event_size)),
        }
    return [f"--audit-webhook-{key}={value}" for key, value in found.items()]


def patch(before: Object, after: Object) -> list[Object]:
    """A JSON Patch from one to the other; empty when they are equal. Whole metadata and template are replaced."""
    found = []
    for path in (("metadata", "annotations"), ("spec", "template")):
        old, new = _at(before, path), _at(after, path)
        if old != new:
            operation = "add" if old is None else "replace"
            found.append({"op": operation, "path": "/" + "/".join(path), "value": new})
    return found


def _stripped(deployment: Object) -> Object:
    changed = copy.deepcopy(deployment)
    spec = changed["spec"]["template"]["spec"]
    for container in spec.get("containers") or []:
        if container.get("name") in CONTAINERS:
            for words in ("args", "command"):  # metal-stack's extension writes behind the command
                if words in container:
                    container[words] = _not_ours(container[words])
            if "volumeMounts" in container:
                container["volumeMounts"] = _named_otherwise(container["volumeMounts"])
    if "volumes" in spec:
        spec["volumes"] = _named_otherwise(spec["volumes"])
    return changed


def _not_ours(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith("--audit-") or word.split("=")[0] in _KEPT]


def _named_otherwise(things: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    return [thing for thing in things if thing.get("name") not in (VOLUME, _METAL_VOLUME)]


def _at(thing: Object, path: Sequence[str]) -> object:
    found: object = thing
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found

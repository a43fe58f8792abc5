"""What changes in an API server's Deployment (flags, a volume, a digest), and the answer to the review that asks.

Done twice it is as done once. Every `--audit-*` flag but the policy's is ours; so what an earlier extension put there
goes. An API server must never be stuck because of us: only where a sink is wanted and its kubeconfig is not there yet
the Deployment is refused, and then gardenlet tries again.
"""

import base64
import copy
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from auditsink.gardener.api import decoding
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.api.own_config import WebhookFlags
from auditsink.gardener.apiserver.kubeconfig import KEY
from auditsink.gardener.errors import ExtensionError
from auditsink.gardener.objects import Object, at, data, meta
from auditsink.gardener.render import names
from auditsink.gardener.sink import build

CONTAINERS = ("kube-apiserver", "gardener-apiserver")
PATH = "/var/run/secrets/auditsink"
VOLUME = "auditsink-webhook-kubeconfig"
DIGEST = "auditsink.extensions.gardener.cloud/webhook-kubeconfig"
_KEPT = ("--audit-policy-file",)
_METAL_VOLUME = "audit-webhook-config"
"""What metal-stack's extension mounts; its Secret goes with it."""
BATCH_BYTES = 10_000_000
"""Where events are cut at all; the sink takes three times as much."""


@dataclass(frozen=True)
class Known:
    """What there is in the Deployment's namespace; None: it is not there."""

    extension: Object | None
    kubeconfig: Object | None
    hibernated: bool = False
    deleted: bool = False


Look = Callable[[str], Awaitable[Known]]
"""Reads it, for a namespace."""


async def answer(review: Object, look: Look, controller: ControllerConfig) -> Object:
    """The AdmissionReview with its response."""
    request = review.get("request") or {}
    response: Object = {"uid": request.get("uid", ""), "allowed": True}
    deployment = request.get("object")
    if isinstance(deployment, dict) and "deletionTimestamp" not in meta(deployment):
        known = await look(str(request.get("namespace", "")))
        try:
            changed = decide(deployment, known, controller)
        except ExtensionError as problem:
            response |= {"allowed": False, "status": {"code": 500, "message": f"{controller.name}: {problem}"}}
        else:
            if changes := patch(deployment, changed):
                encoded = base64.b64encode(msgspec.json.encode(changes)).decode()
                response |= {"patchType": "JSONPatch", "patch": encoded}
    return {"apiVersion": review.get("apiVersion"), "kind": review.get("kind"), "response": response}


def decide(deployment: Object, known: Known, controller: ControllerConfig) -> Object:
    """The Deployment as it should be. Raises ExtensionError where it has to wait."""
    extension = known.extension
    going = extension is not None and "deletionTimestamp" in meta(extension)
    if extension is None or (going and not known.deleted):
        return stripped(deployment)
    config = decoding.provider_config(at(extension, "spec", "providerConfig"))
    if not build.wanted(config, controller):
        return stripped(deployment)
    kubeconfig = data(known.kubeconfig, KEY) if known.kubeconfig else b""
    if kubeconfig:
        how = build.webhook(config)
        return mutated(deployment, kubeconfig, build.mode(config, controller), how)
    if known.hibernated or known.deleted or "deletionTimestamp" in meta(extension):
        return deployment  # nobody is to be audited any more, or not for now
    raise ExtensionError("the sink's kubeconfig is not there yet; look at the status of the Extension")


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
        old, new = at(before, *path), at(after, *path)
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
    """A flag's value may be the word behind it: left alone there it would keep the API server from starting."""
    kept: list[str] = []
    dropped = False
    for word in words:
        value = dropped and not word.startswith("-")
        dropped = word.startswith("--audit-") and word.split("=")[0] not in _KEPT
        if not (dropped or value):
            kept.append(word)
        dropped = dropped and "=" not in word
    return kept


def _named_otherwise(things: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    return [thing for thing in things if thing.get("name") not in (VOLUME, _METAL_VOLUME)]

"""Answers an AdmissionReview about an API server's Deployment: which patch, or why not.

An API server must never be stuck because of us: only where a sink is wanted and its kubeconfig is not there yet the
Deployment is refused, and then gardenlet tries again.
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from auditsink.gardener.api import decoding
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.apiserver import deployment as mutation
from auditsink.gardener.apiserver.kubeconfig import KEY
from auditsink.gardener.errors import ExtensionError
from auditsink.gardener.objects import Object, at, data, meta
from auditsink.gardener.sink import build


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
            if patch := mutation.patch(deployment, changed):
                encoded = base64.b64encode(msgspec.json.encode(patch)).decode()
                response |= {"patchType": "JSONPatch", "patch": encoded}
    return {"apiVersion": review.get("apiVersion"), "kind": review.get("kind"), "response": response}


def decide(deployment: Object, known: Known, controller: ControllerConfig) -> Object:
    """The Deployment as it should be. Raises ExtensionError where it has to wait."""
    extension = known.extension
    going = extension is not None and "deletionTimestamp" in meta(extension)
    if extension is None or (going and not known.deleted):
        return mutation.stripped(deployment)
    config = decoding.provider_config(at(extension, "spec", "providerConfig"))
    if not build.wanted(config, controller):
        return mutation.stripped(deployment)
    kubeconfig = data(known.kubeconfig, KEY) if known.kubeconfig else b""
    if kubeconfig:
        how = build.webhook(config)
        return mutation.mutated(deployment, kubeconfig, build.mode(config, controller), how)
    if known.hibernated or known.deleted or "deletionTimestamp" in meta(extension):
        return deployment  # nobody is to be audited any more, or not for now
    raise ExtensionError("the sink's kubeconfig is not there yet; look at the status of the Extension")

"""Names and labels that the objects of one sink share."""

from auditsink.gardener.objects import Object
from auditsink.gardener.sink.plan import Plan

SINK = "auditsink"
PODS = "auditsink-pods"
"""The Service without an address, for Prometheus and for the controller."""
KUBECONFIG = "auditsink-webhook-kubeconfig"
"""The Secret that API servers mount. Its name stays: its content's digest on the Deployment tells a change."""
CONTAINER = "auditsink"
USER = 10001
"""The image's own user and group."""

POD_SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",  # a large ring would be walked at each start
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

EGRESS = ("dns", "private-networks", "public-networks")
ALLOWED = "allowed"
GARBAGE_COLLECTABLE = "resources.gardener.cloud/garbage-collectable-reference"


def selector() -> dict[str, str]:
    """What finds the pods."""
    return {"app.kubernetes.io/instance": "gardener", "app.kubernetes.io/name": SINK}


def metadata(name: str, namespace: str, **more: Object) -> Object:
    """With our labels; `more` are labels and annotations to be added."""
    found: Object = {"name": name, "namespace": namespace, "labels": {**selector(), **more.get("labels", {})}}
    if more.get("annotations"):
        found["annotations"] = more["annotations"]
    return found


def priority(plan: Plan) -> str:
    """In blocking modes the sink is on the path of every API call: as important as the API server's other helpers."""
    return "gardener-system-500" if plan.place.extension_class == "shoot" else "gardener-garden-system-500"

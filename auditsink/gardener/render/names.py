"""Names and labels that the objects of one sink share."""

from auditsink.gardener.objects import Object

SINK = "auditsink"
PODS = "auditsink-pods"
"""The Service without an address, for Prometheus and for the controller."""
KUBECONFIG = "auditsink-webhook-kubeconfig"
"""The Secret that API servers mount. Its name stays: its content's digest on the Deployment tells a change."""
CONTAINER = "auditsink"
USER = 10001
"""The image's own user and group."""

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

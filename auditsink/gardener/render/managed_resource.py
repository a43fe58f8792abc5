"""ManagedResources: the objects of a sink as Gardener's resource manager takes them, in an immutable Secret each.

The Secret's name has the digest of its content: the same objects are the same bytes under the same name. One object a
line, as JSON, which is YAML; the resource manager reads any key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from auditsink.gardener.objects import Object, as_json, digest, encoded
from auditsink.gardener.render.names import GARBAGE_COLLECTABLE

KEY = "objects.yaml"
GROUP = "resources.gardener.cloud/v1alpha1"
SEED = "seed"


@dataclass(frozen=True)
class Managed:
    """A ManagedResource and its Secret."""

    resource: Object
    secret: Object


def seed(name: str, namespace: str, objects: Sequence[Object]) -> Managed:
    """Applied in the seed."""
    return _managed(name, namespace, objects, {"class": SEED}, {})


def shoot(name: str, namespace: str, objects: Sequence[Object]) -> Managed:
    """Applied in the shoot.

    `origin: gardener`: when a shoot is migrated or deleted gardenlet waits until no such ManagedResource is left, and
    deletes those of that origin itself, while the shoot's API still answers. `no-cleanup`: its clean-up of objects does
    not fight with ours.
    """
    spec: Object = {"injectLabels": {"shoot.gardener.cloud/no-cleanup": "true"}, "keepObjects": False}
    return _managed(name, namespace, objects, spec, {"origin": "gardener"})


def _managed(name: str, namespace: str, objects: Sequence[Object], spec: Object, labels: dict[str, str]) -> Managed:
    text = "".join(f"---\n{as_json(one)}\n" for one in sorted(objects, key=_place))
    secret_name = f"managedresource-{name}-{digest(text)}"
    metadata: Object = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = labels
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name, "namespace": namespace, "labels": {GARBAGE_COLLECTABLE: "true"}},
        "type": "Opaque",
        "immutable": True,
        "data": encoded({KEY: text.encode()}),
    }
    # The resource manager's garbage collector keeps the Secret as long as this annotation names it.
    metadata["annotations"] = {f"reference.resources.gardener.cloud/secret-{digest(secret_name)}": secret_name}
    resource = {
        "apiVersion": GROUP,
        "kind": "ManagedResource",
        "metadata": metadata,
        "spec": {**spec, "secretRefs": [{"name": secret_name}]},
    }
    return Managed(resource, secret)


def _place(thing: Object) -> tuple[str, str, str]:
    return (str(thing["kind"]), str(thing["metadata"].get("namespace", "")), str(thing["metadata"]["name"]))

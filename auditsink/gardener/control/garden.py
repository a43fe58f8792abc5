"""The garden's two API servers: gardener-operator has their Deployments, so they are touched for the webhook to act."""

from auditsink.gardener.apiserver import deployment as mutation
from auditsink.gardener.kube import DEPLOYMENT, Kube
from auditsink.gardener.objects import Object, annotation, meta

DEPLOYMENTS = ("gardener-apiserver", "virtual-garden-kube-apiserver")


async def trigger(kube: Kube, namespace: str) -> None:
    """An empty patch: an update for the webhook, and no change of its own."""
    for name in DEPLOYMENTS:
        if await _there(kube, name, namespace):
            await kube.patch(DEPLOYMENT, name, {}, namespace)


async def strip(kube: Kube, namespace: str) -> None:
    """Take our flags out again, before what they point to goes."""
    for name in DEPLOYMENTS:
        there = await _there(kube, name, namespace)
        if there is not None and annotation(there, mutation.DIGEST) is not None:
            stripped = mutation.stripped(there)
            changes = {
                "metadata": {"annotations": {mutation.DIGEST: None}},
                "spec": {"template": _patch(stripped["spec"]["template"])},
            }
            await kube.patch(DEPLOYMENT, name, changes, namespace)


async def _there(kube: Kube, name: str, namespace: str) -> Object | None:
    found = await kube.get(DEPLOYMENT, name, namespace)
    return found if found is not None and "deletionTimestamp" not in meta(found) else None


def _patch(template: Object) -> Object:
    """A merge patch leaves what it does not name, so the annotation that goes is named."""
    annotations = {**(meta(template).get("annotations") or {}), mutation.DIGEST: None}
    return {**template, "metadata": {**meta(template), "annotations": annotations}}

"""The volumes of sinks that are there already: they grow when more is asked for, and no ring outgrows them.

A StatefulSet's template for volumes cannot be changed, and Gardener's resource manager leaves it as it was made; so
each volume is asked to grow, those of later replicas too.
"""

import logging
from decimal import Decimal

from lightkube.utils.quantity import parse_quantity

from auditsink.gardener.kube import VOLUME_CLAIM, Kube, KubeError
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.render import names

logger = logging.getLogger(__name__)


async def grown(kube: Kube, namespace: str, wanted: str) -> str:
    """Ask for more where a volume is smaller than `wanted`. The size that every volume has: what a ring may count on.

    A storage class that does not grow volumes refuses; then the ring stays as it is.
    """
    smallest = wanted
    for claim in (await kube.list(VOLUME_CLAIM, namespace, names.selector()))[0]:
        asked = str(at(claim, "spec", "resources", "requests", "storage") or wanted)
        if _bytes(asked) < _bytes(wanted):
            await _grow(kube, claim, wanted)
        has = str(at(claim, "status", "capacity", "storage") or asked)
        smallest = min(smallest, has, key=_bytes)
    return smallest


async def _grow(kube: Kube, claim: Object, wanted: str) -> None:
    name, namespace = str(meta(claim)["name"]), str(meta(claim)["namespace"])
    changes = {"spec": {"resources": {"requests": {"storage": wanted}}}}
    try:
        await kube.patch(VOLUME_CLAIM, name, changes, namespace)
    except KubeError as problem:
        logger.warning("volume %s/%s cannot grow to %s: %s", namespace, name, wanted, problem)


def _bytes(quantity: str) -> Decimal:
    """What is no quantity is checked elsewhere."""
    try:
        return parse_quantity(quantity) or Decimal(0)
    except ValueError:
        return Decimal(0)

"""Whether a Shoot's AuditConfig can become a sink. Pure; by the very code that later makes the plan."""

from collections.abc import Mapping

from auditsink.gardener.api import decoding
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.api.decoding import ProviderConfig
from auditsink.gardener.control_plane import ControlPlane, Reference, of_cluster
from auditsink.gardener.errors import ExtensionError
from auditsink.gardener.objects import Object, at, meta
from auditsink.gardener.sink import build


def entry(shoot: Object, extension_type: str) -> Object | None:
    """The Shoot's entry for this extension; None: it has none, or has disabled it."""
    for one in at(shoot, "spec", "extensions") or []:
        if one.get("type") == extension_type:
            return None if one.get("disabled") else one
    return None


def place_of(shoot: Object) -> ControlPlane:
    """As the seed will see it, but that references are the originals: in a project there are no copies."""
    name = str(meta(shoot).get("name") or "shoot")
    seen = of_cluster({"metadata": {"name": name}, "spec": {"shoot": shoot}})
    own = {key: Reference(one.kind, one.original, one.original) for key, one in seen.resources.items()}
    return ControlPlane(
        namespace=str(meta(shoot).get("namespace", "")), cluster=name, resources=own, labels=seen.labels
    )


def decoded(shoot: Object, controller: ControllerConfig) -> ProviderConfig | None:
    """Its AuditConfig, if it has the extension and any destination. Raises ConfigurationError."""
    found = entry(shoot, controller.type)
    if found is None:
        return None
    config = decoding.provider_config(found.get("providerConfig"))
    return config if build.wanted(config, controller) else None


def mistake(
    config: ProviderConfig, place: ControlPlane, controller: ControllerConfig, fetched: Mapping[str, Object]
) -> str:
    """Why no sink can be made of it; "" when one can."""
    try:
        build.plan(config, place, controller, fetched)
    except ExtensionError as problem:
        return str(problem)
    return ""

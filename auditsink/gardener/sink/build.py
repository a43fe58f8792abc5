"""From an AuditConfig of either group to the plan of a sink; `needed` says which objects have to be read before."""

from collections.abc import Mapping
from dataclasses import replace

from auditsink.gardener.api.audit_config import EVENT_OVERHEAD, S3, AuditConfig, Backends, Splunk
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.api.decoding import ProviderConfig
from auditsink.gardener.api.own_config import OwnAuditConfig, Resources, WebhookFlags
from auditsink.gardener.control_plane import ControlPlane, Reference
from auditsink.gardener.errors import ConfigurationError
from auditsink.gardener.objects import Object, data, digest
from auditsink.gardener.sink import backends as backend
from auditsink.gardener.sink import document
from auditsink.gardener.sink.plan import Plan, SecretSources

STRICT = "blocking-strict"
_MODES = ("batch", "blocking", STRICT)
DEFAULT_SECRET = "DefaultSecret"  # noqa: S105 - a kind
"""The kind of a reference to an operator's Secret in the extension's namespace, which is copied for the sink."""


def wanted(config: ProviderConfig, controller: ControllerConfig) -> bool:
    """Whether there is any destination. Without one no sink is made, and no API server is told to post."""
    if isinstance(config, OwnAuditConfig):
        return bool(config.sink.get("destinations"))
    return bool(backend.enabled(_backends(config, controller)))


def mode(config: ProviderConfig, controller: ControllerConfig) -> str:
    """How the API server posts: as the user says, else the operator, else blocking-strict."""
    if isinstance(config, OwnAuditConfig):
        return config.webhook.mode or controller.default_webhook_mode or STRICT
    chosen = config.webhook_mode if config.webhook_mode in _MODES else controller.default_webhook_mode or STRICT
    # An API server that refuses what cannot be audited, audited through itself, would never come up.
    forwards = "clusterForwarding" in backend.enabled(_backends(config, controller))
    return "blocking" if forwards and chosen == STRICT else chosen


def webhook(config: ProviderConfig) -> WebhookFlags:
    """The other flags of the API server."""
    if isinstance(config, OwnAuditConfig):
        return config.webhook
    # Their sink could not take large events; ours can, so events are cut only for those who say a size.
    cut = config.messages.max_event_size - EVENT_OVERHEAD if config.messages else None
    return WebhookFlags(truncate_max_event_size=cut)


def needed(config: ProviderConfig, place: ControlPlane, controller: ControllerConfig) -> dict[str, Reference]:
    """The Secrets whose content the plan depends on, by how the plan asks for them. Raises ConfigurationError."""
    if isinstance(config, OwnAuditConfig):
        return {
            name: place.reference(name, document.KINDS, key)
            for name, key in document.referenced(_referring(config)).items()
        }
    users, effective = config.backends or Backends(), _backends(config, controller)
    found = {}
    parts: tuple[tuple[str, Splunk | S3 | None, Splunk | S3 | None], ...] = (
        ("splunk", effective.splunk, users.splunk),
        ("s3", effective.s3, users.s3),
    )
    for name, part, users_own in parts:
        if part is None or not part.enabled:
            continue
        if part is users_own:
            key = f"backends.{name}.secretResourceName"
            found[name] = place.reference(part.secret_resource_name, ("Secret",), key)
        else:
            default = controller.default_secret_prefix + part.secret_resource_name
            found[name] = Reference(DEFAULT_SECRET, default, default)
    return {**found, **_custom_needed(effective, place, controller)}


def plan(
    config: ProviderConfig,
    place: ControlPlane,
    controller: ControllerConfig,
    fetched: Mapping[str, Object],
    volume: str = "",
) -> Plan:
    """The plan. `fetched` has what `needed` asked for; `volume` is the size of those that are there already, if any.

    Raises ConfigurationError.
    """
    volume = volume or str(config.persistence.size)
    references = needed(config, place, controller)
    if isinstance(config, OwnAuditConfig):
        built = _own(config, place, controller, references, fetched, volume=volume)
    else:
        built = _theirs(config, place, controller, references, fetched, volume=volume)
    document.check(dict(built.document))
    if built.evacuation is not None:
        document.check(dict(built.evacuation))
    return replace(built, checksum=_checksum(built.source, references, fetched))


def _own(
    config: OwnAuditConfig,
    place: ControlPlane,
    controller: ControllerConfig,
    references: Mapping[str, Reference],
    fetched: Mapping[str, Object],
    *,
    volume: str,
) -> Plan:
    both, source = document.resolved(_referring(config), references, fetched)
    sink = both["sink"]
    labels = {**(place.labels if config.identity_labels else {}), **config.labels}
    chosen = mode(config, controller)
    return Plan(
        place=place,
        image=controller.image,
        document=document.complete(sink, place, labels, volume, _when_full(chosen)),
        replicas=0 if place.hibernated else config.replicas,
        persistence=config.persistence,
        resources=config.resources,
        source=source,
        evacuation=document.evacuation(both["evacuation"], sink) if config.evacuation else None,
    )


def _referring(config: OwnAuditConfig) -> Object:
    """What may refer to resources."""
    return {"sink": config.sink, **({"evacuation": config.evacuation} if config.evacuation else {})}


def _theirs(
    config: AuditConfig,
    place: ControlPlane,
    controller: ControllerConfig,
    references: Mapping[str, Reference],
    fetched: Mapping[str, Object],
    *,
    volume: str,
) -> Plan:
    chosen = _backends(config, controller)
    names = backend.enabled(chosen)
    copies: dict[str, Mapping[str, bytes]] = {}
    for name, reference in references.items():
        if reference.kind == DEFAULT_SECRET:
            copies[reference.name] = {key: data(fetched[name], key) for key in fetched[name].get("data") or {}}
    destinations, source = [], SecretSources(copies=copies)
    if "log" in names:
        destinations.append(backend.log())
    if chosen.cluster_forwarding and chosen.cluster_forwarding.enabled:
        destinations.append(backend.cluster_forwarding(chosen.cluster_forwarding))
    if chosen.splunk and chosen.splunk.enabled:
        made, more = backend.splunk(chosen.splunk, references["splunk"], fetched["splunk"])
        destinations.append(made)
        source += more
    if chosen.s3 and chosen.s3.enabled:
        made, more = backend.s3(chosen.s3, references["s3"], fetched["s3"])
        destinations.append(made)
        source += more
    if chosen.custom_forwarding and chosen.custom_forwarding.enabled:
        made, more = backend.custom_forwarding(
            fetched["custom-config"], references.get("custom-secret"), fetched.get("custom-secret")
        )
        destinations.append(made)
        source += more
    if chosen.splunk and chosen.splunk.enabled:
        destinations = backend.with_custom_data(destinations, chosen.splunk.custom_data)
    how = mode(config, controller)
    sink = {"destinations": destinations}
    return Plan(
        place=place,
        image=controller.image,
        document=document.complete(sink, place, {}, volume, _when_full(how)),
        replicas=0 if place.hibernated else config.replicas,
        persistence=config.persistence,
        resources=Resources(),
        source=source,
        forwarding="clusterForwarding" in names,
    )


def _backends(config: AuditConfig, controller: ControllerConfig) -> Backends:
    allowed = controller.allow_custom_backends
    return backend.with_defaults(config.backends, controller.default_backends, custom=allowed)


def _custom_needed(effective: Backends, place: ControlPlane, controller: ControllerConfig) -> dict[str, Reference]:
    """Of the custom output. A default of the operator's names resources that every Shoot would have to have."""
    part, key = effective.custom_forwarding, "backends.customForwarding"
    if part is None or not part.enabled:
        return {}
    if not controller.allow_custom_backends:
        raise ConfigurationError(f"{key}: the operator does not allow it; ask for allowCustomBackends, or use another")
    found = {
        "custom-config": place.reference(part.config_map_resource_name, ("ConfigMap",), f"{key}.configMapResourceName")
    }
    if part.secret_resource_name:
        name = f"{key}.secretResourceName"
        found["custom-secret"] = place.reference(part.secret_resource_name, ("Secret",), name)
    return found


def _when_full(chosen: str) -> str:
    """Strict promises that nothing happens unaudited; otherwise a full ring must not slow down the API."""
    return "reject" if chosen == STRICT else "drop_oldest"


def _checksum(source: SecretSources, references: Mapping[str, Reference], fetched: Mapping[str, Object]) -> str:
    names = {reference.name: name for name, reference in references.items()}
    taken = [
        [variable.name, digest(data(fetched[names[variable.secret]], variable.key).hex(), 64)]
        for variable in source.variables
    ]
    return digest(taken) if taken else ""

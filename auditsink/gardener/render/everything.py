"""All objects of one sink."""

from collections.abc import Mapping

from auditsink.gardener.objects import Object, as_yaml, digest, encoded
from auditsink.gardener.render import evacuation, forwarding, guards, monitoring, names, network
from auditsink.gardener.render.monitoring import Monitoring
from auditsink.gardener.render.workload import CertificateNames, stateful_set
from auditsink.gardener.sink.plan import Plan


def in_seed(plan: Plan, certificates: CertificateNames, shown: Monitoring, gateway_image: str) -> list[Object]:
    """What lies beside the API server."""
    config = config_map(plan)
    found = [
        guards.service_account(plan),
        config,
        *_copies(plan),
        network.service(plan),
        network.pods(plan),
        stateful_set(plan, config["metadata"]["name"], certificates),
        guards.disruption_budget(plan),
        guards.autoscaler(plan),
        *monitoring.objects(plan, shown),
    ]
    return found + (forwarding.seed_objects(plan.place, gateway_image) if plan.forwarding else [])


def in_shoot(plan: Plan, tailer_image: str, certificate: Mapping[str, str]) -> list[Object]:
    """What the shoot itself gets; mostly nothing. `certificate`: the data of the tailer's Secret."""
    return forwarding.shoot_objects(tailer_image, dict(certificate)) if plan.forwarding else []


def config_map(plan: Plan) -> Object:
    """The sink's file, and that of the Jobs that work on its volume."""
    data = {"config.yaml": as_yaml(plan.document)}
    if plan.evacuation is not None:
        data[evacuation.FILE] = as_yaml(plan.evacuation)
    labels = {names.GARBAGE_COLLECTABLE: "true"}
    metadata = names.metadata(f"{names.SINK}-config-{digest(data)}", plan.place.namespace, labels=labels)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data}


def _copies(plan: Plan) -> list[Object]:
    """Secrets of the operator, where the pods can mount them."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": names.metadata(name, plan.place.namespace),
            "type": "Opaque",
            "data": encoded(plan.source.copies[name]),
        }
        for name in sorted(plan.source.copies)
    ]

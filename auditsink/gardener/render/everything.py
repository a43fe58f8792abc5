"""All objects of one sink: what runs it is in `workload`; here are its Services, and what stands around the pods."""

from collections.abc import Mapping

import msgspec

from auditsink.gardener.objects import Object, as_yaml, digest, encoded
from auditsink.gardener.render import evacuation, forwarding, monitoring, names
from auditsink.gardener.render.monitoring import Monitoring
from auditsink.gardener.render.workload import CertificateNames, stateful_set
from auditsink.gardener.sink.plan import ADMIN_PORT, RECEIVE_PORT, Plan

_PREFIX = "networking.resources.gardener.cloud"


def service(plan: Plan) -> Object:
    """Where API servers post to; their pods may reach whatever is annotated for webhook targets."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(
            names.SINK,
            plan.place.namespace,
            annotations={f"{_PREFIX}/from-all-webhook-targets-allowed-ports": _ports(RECEIVE_PORT)},
        ),
        "spec": {
            "type": "ClusterIP",
            "selector": names.selector(),
            "ports": [{"name": "receive", "port": RECEIVE_PORT, "targetPort": RECEIVE_PORT, "protocol": "TCP"}],
        },
    }


def pods(plan: Plan) -> Object:
    """The pods one by one, for Prometheus and the controller."""
    garden = plan.place.extension_class == "garden"
    annotations = {
        f"{_PREFIX}/from-all-{'garden-' if garden else ''}scrape-targets-allowed-ports": _ports(ADMIN_PORT),
        f"{_PREFIX}/namespace-selectors": '[{"matchLabels":{"gardener.cloud/role":"extension"}}]',
    }
    if not garden:
        annotations[f"{_PREFIX}/pod-label-selector-namespace-alias"] = "all-shoots"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(
            names.PODS,
            plan.place.namespace,
            labels={"app.kubernetes.io/component": "admin"},
            annotations=annotations,
        ),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # one that is not ready has the most to tell
            "selector": names.selector(),
            "ports": [{"name": "admin", "port": ADMIN_PORT, "targetPort": ADMIN_PORT, "protocol": "TCP"}],
        },
    }


def _ports(port: int) -> str:
    return msgspec.json.encode([{"port": port, "protocol": "TCP"}]).decode()


def service_account(plan: Plan) -> Object:
    """Without any right, and without a token in the pod."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": names.metadata(names.SINK, plan.place.namespace),
        "automountServiceAccountToken": False,
    }


def disruption_budget(plan: Plan) -> Object:
    """One pod at a time may go, healthy or not: the ring is on its volume and goes with it, and no drain is blocked."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": names.metadata(names.SINK, plan.place.namespace),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names.selector()},
        },
    }


def autoscaler(plan: Plan) -> Object:
    """Moves the requests; the limit of memory stays, a limit of CPU there is none."""
    return {
        "apiVersion": "autoscaling.k8s.io/v1",
        "kind": "VerticalPodAutoscaler",
        "metadata": names.metadata(names.SINK, plan.place.namespace),
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": names.SINK},
            "updatePolicy": {"updateMode": "Recreate"},
            "resourcePolicy": {
                "containerPolicies": [
                    {
                        "containerName": names.CONTAINER,
                        "controlledValues": "RequestsOnly",
                        "minAllowed": {"memory": "64Mi"},
                    }
                ]
            },
        },
    }


def in_seed(plan: Plan, certificates: CertificateNames, shown: Monitoring, gateway_image: str) -> list[Object]:
    """What lies beside the API server."""
    config = config_map(plan)
    found = [
        service_account(plan),
        config,
        *_copies(plan),
        service(plan),
        pods(plan),
        stateful_set(plan, config["metadata"]["name"], certificates),
        disruption_budget(plan),
        autoscaler(plan),
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

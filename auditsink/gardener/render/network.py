"""The Services of a sink, with the annotations from which Gardener makes its network policies."""

import msgspec

from auditsink.gardener.objects import Object
from auditsink.gardener.render import names
from auditsink.gardener.sink.plan import ADMIN_PORT, RECEIVE_PORT, Plan

_PREFIX = "networking.resources.gardener.cloud"
ADMIN_LABEL = f"{_PREFIX}/to-all-shoots-{names.PODS}-tcp-{ADMIN_PORT}"
"""The label of the controller's own pods, with which they may ask sinks in shoots' namespaces."""


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

"""What stands around the pods: their account, the budget for disruptions, the vertical autoscaler."""

from auditsink.gardener.objects import Object
from auditsink.gardener.render import names
from auditsink.gardener.sink.plan import Plan


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

"""The Jobs that carry a stopped sink's backlog into a bucket and back, and the volumes that they work on."""

from typing import Literal

from auditsink.gardener.objects import Object
from auditsink.gardener.render import names
from auditsink.gardener.render.workload import CertificateNames, claim_spec, pod_volumes, references_mount
from auditsink.gardener.sink.plan import CONFIG, DATA, Plan

Action = Literal["evacuate", "take-up"]
FILE = "evacuation.yaml"
ATTEMPTS = 2


def claims(plan: Plan) -> list[Object]:
    """The volumes that the StatefulSet will find: it takes those that have the names of its own."""
    metadata = [names.metadata(f"data-{names.SINK}-{number}", plan.place.namespace) for number in range(plan.replicas)]
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    return [{**kind, "metadata": one, "spec": claim_spec(plan)} for one in metadata]


def job(plan: Plan, action: Action, claim: str, config_map: str, certificates: CertificateNames) -> Object:
    """For one volume. The name in the bucket is that of the namespace and the volume, the same in both seeds."""
    namespace = plan.place.namespace
    mounts = [
        {"name": "data", "mountPath": DATA},
        {"name": "config", "mountPath": CONFIG, "readOnly": True},
        {"name": "work", "mountPath": "/tmp"},  # noqa: S108 - of the container
        *references_mount(plan),
    ]
    container = {
        "name": action,
        "image": plan.image,
        "args": ["gardener", action, "-c", f"{CONFIG}/{FILE}", "--name", f"{namespace}/{claim}", "--work", "/tmp"],  # noqa: S108
        "env": [
            {"name": variable.name, "valueFrom": {"secretKeyRef": {"name": variable.secret, "key": variable.key}}}
            for variable in plan.source.variables
        ],
        "securityContext": names.CONTAINER_SECURITY,
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": mounts,
    }
    kept = ("config", "references")
    volumes = [volume for volume in pod_volumes(plan, config_map, certificates) if volume["name"] in kept]
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "priorityClassName": names.priority(plan),
        "securityContext": names.POD_SECURITY,
        "containers": [container],
        "volumes": [
            *volumes,
            {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "work", "emptyDir": {}},
        ],
    }
    allowed = {f"networking.gardener.cloud/to-{one}": names.ALLOWED for one in names.EGRESS}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{names.SINK}-{action}-{claim.rpartition('-')[2]}", "namespace": namespace},
        "spec": {
            "backoffLimit": ATTEMPTS,
            "template": {"metadata": {"labels": {"app": f"{names.SINK}-{action}", **allowed}}, "spec": pod},
        },
    }

"""The StatefulSet: each replica has a volume and a ring of its own."""

from dataclasses import dataclass
from itertools import groupby

from auditsink.gardener.objects import Object, digest
from auditsink.gardener.render import names
from auditsink.gardener.sink.plan import ADMIN_PORT, CERTIFICATES, CONFIG, DATA, RECEIVE_PORT, REFERENCES, Plan

SINK_ENDS_SECONDS = 30
"""The preStop sleep, then the sink's own ten seconds, and room for a slow disk."""


@dataclass(frozen=True)
class CertificateNames:
    """Names of Secrets: the sink's own certificate, the CAs of its clients, and its certificate for the tailer."""

    server: str
    bundle: str
    forwarding: str = ""


def stateful_set(plan: Plan, config_map: str, certificates: CertificateNames) -> Object:
    """Gardener's webhook for high availability adds zones and spreading; the replicas stay as the user says."""
    referenced = _reference_annotations(config_map)
    replicas = {"high-availability-config.resources.gardener.cloud/replicas": str(plan.replicas)}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": names.metadata(
            names.SINK,
            plan.place.namespace,
            labels={"high-availability-config.resources.gardener.cloud/type": "server"},
            annotations={**referenced, **replicas},
        ),
        "spec": {
            "serviceName": names.PODS,
            "replicas": plan.replicas,
            "revisionHistoryLimit": 2,
            "podManagementPolicy": "Parallel",  # each has a ring of its own and waits for no other
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": names.selector()},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "template": _template(plan, config_map, certificates, referenced),
            "volumeClaimTemplates": [
                {"metadata": {"name": "data", "labels": names.selector()}, "spec": claim_spec(plan)}
            ],
        },
    }


def _template(plan: Plan, config_map: str, certificates: CertificateNames, referenced: dict[str, str]) -> Object:
    annotations = dict(referenced)
    if plan.checksum:
        annotations["checksum/referenced-secrets"] = plan.checksum
    return {
        "metadata": {"labels": {**names.selector(), **_network(plan)}, "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "serviceAccountName": names.SINK,
            "priorityClassName": names.priority(plan),
            "terminationGracePeriodSeconds": SINK_ENDS_SECONDS,
            "securityContext": names.POD_SECURITY,
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [_apart()]}},
            "containers": [_container(plan)],
            "volumes": pod_volumes(plan, config_map, certificates),
        },
    }


def _container(plan: Plan) -> Object:
    mounts = [
        {"name": "data", "mountPath": DATA},
        {"name": "config", "mountPath": CONFIG, "readOnly": True},
        {"name": "tls", "mountPath": CERTIFICATES, "readOnly": True},
        *references_mount(plan),
    ]
    return {
        "name": names.CONTAINER,
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve", "-c", f"{CONFIG}/config.yaml"],
        "env": [
            {"name": variable.name, "valueFrom": {"secretKeyRef": {"name": variable.secret, "key": variable.key}}}
            for variable in plan.source.variables
        ],
        "ports": [
            {"name": "receive", "containerPort": RECEIVE_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "securityContext": names.CONTAINER_SECURITY,
        "resources": {"requests": plan.resources.requests, "limits": plan.resources.limits},
        # A large ring is looked through before the ports open.
        "startupProbe": _probe("/livez", periodSeconds=2, failureThreshold=60, timeoutSeconds=2),
        "livenessProbe": _probe("/livez", periodSeconds=10, failureThreshold=6, timeoutSeconds=5),
        "readinessProbe": _probe("/readyz", periodSeconds=5, timeoutSeconds=5),
        # Until the endpoint is gone everywhere, so that no new connection meets a port that refuses.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "volumeMounts": mounts,
    }


def references_mount(plan: Plan) -> list[Object]:
    """Where there is anything to be mounted."""
    mount = {"name": "references", "mountPath": REFERENCES, "readOnly": True}
    return [mount] if plan.source.mounted or plan.forwarding else []


def pod_volumes(plan: Plan, config_map: str, certificates: CertificateNames) -> list[Object]:
    """All but the sink's own volume."""
    tls = [
        _projected("secret", certificates.server, {"tls.crt": "tls.crt", "tls.key": "tls.key"}),
        _projected("secret", certificates.bundle, {"bundle.crt": "ca.crt"}),
    ]
    volumes: list[Object] = [
        {"name": "config", "configMap": {"name": config_map}},
        {"name": "tls", "projected": {"defaultMode": 0o440, "sources": tls}},
    ]
    items = []
    for (directory, kind, name), files in groupby(plan.source.mounted, lambda one: (one.directory, one.kind, one.name)):
        inside = {file.key: f"{directory}/{file.key}" for file in files}
        items.append(_projected("configMap" if kind == "ConfigMap" else "secret", name, inside))
    if plan.forwarding:
        inside = {key: f"cluster-forwarding/{key}" for key in ("ca.crt", "tls.crt", "tls.key")}
        items.append(_projected("secret", certificates.forwarding, inside))
    if items:
        volumes.append({"name": "references", "projected": {"defaultMode": 0o440, "sources": items}})
    return volumes


def _projected(kind: str, name: str, items: dict[str, str]) -> Object:
    paths = [{"key": key, "path": items[key]} for key in sorted(items)]
    return {kind: {"name": name, "items": paths}}


def _probe(path: str, **limits: int) -> Object:
    return {"httpGet": {"path": path, "port": "admin"}, **limits}


def _apart() -> Object:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": names.selector()}}
    return {"weight": 100, "podAffinityTerm": term}


def claim_spec(plan: Plan) -> Object:
    """The volume of a replica."""
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(plan.persistence.size)}},
    }
    if plan.persistence.storage_class_name:
        spec["storageClassName"] = plan.persistence.storage_class_name
    return spec


def _network(plan: Plan) -> dict[str, str]:
    allowed = {f"networking.gardener.cloud/to-{one}": names.ALLOWED for one in names.EGRESS}
    if plan.forwarding:
        gateway = "networking.resources.gardener.cloud/to-audit-cluster-forwarding-vpn-gateway-tcp-9876"
        allowed[gateway] = names.ALLOWED
    return allowed


def _reference_annotations(config_map: str) -> dict[str, str]:
    """Gardener's garbage collector keeps the immutable objects that a workload names so."""
    return {f"reference.resources.gardener.cloud/configmap-{digest(config_map)}": config_map}

"""Cluster forwarding: a gateway into the shoot's VPN beside the sink, and in the shoot a tailer that prints what comes.

Names, images and labels are those of metal-stack's extension, whose gateway and tailer these are.
"""

from auditsink.gardener.control_plane import ControlPlane
from auditsink.gardener.objects import Object, digest
from auditsink.gardener.render import names
from auditsink.gardener.sink.backends import GATEWAY, GATEWAY_PORT, TAILER

SHOOT_NAMESPACE = "kube-system"
TAILER_PORT = 24224
_NOBODY = 65534
ACCESS_SECRET = f"shoot-access-{GATEWAY}"
_KUBECONFIG = "/var/run/secrets/gardener.cloud/shoot/generic-kubeconfig"
_FLUENTD = """\
<source>
  @type forward
  port 24224
  bind 0.0.0.0
  <transport tls>
    ca_path                   /fluentd/etc/ssl/ca.crt
    cert_path                 /fluentd/etc/ssl/tls.crt
    private_key_path          /fluentd/etc/ssl/tls.key
    client_cert_auth          true
  </transport>
</source>
<match **>
  @type stdout
  <buffer>
    @type file
    path /fluentbuffer/auditlog-*
    chunk_limit_size 64m
  </buffer>
  <format>
    @type json
  </format>
</match>
"""


def access_secret(place: ControlPlane) -> Object:
    """Gardener fills it with a token for the shoot's API; the gateway finds the tailer with it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": ACCESS_SECRET,
            "namespace": place.namespace,
            "labels": {
                "resources.gardener.cloud/class": "shoot",
                "resources.gardener.cloud/purpose": "token-requestor",
            },
            "annotations": {
                "serviceaccount.resources.gardener.cloud/name": GATEWAY,
                "serviceaccount.resources.gardener.cloud/namespace": SHOOT_NAMESPACE,
            },
        },
        "type": "Opaque",
    }


def seed_objects(place: ControlPlane, image: str) -> list[Object]:
    """The gateway through which a sink reaches the shoot, as it lies in the seed."""
    labels = {"app": GATEWAY}
    network = [
        "networking.gardener.cloud/to-dns",
        "networking.gardener.cloud/to-private-networks",
        "networking.gardener.cloud/to-public-networks",
        "networking.gardener.cloud/to-runtime-apiserver",
        "networking.gardener.cloud/to-shoot-apiserver",
        "networking.resources.gardener.cloud/to-kube-apiserver-tcp-443",
        "networking.resources.gardener.cloud/to-vpn-seed-server-tcp-9443",
    ]
    container = {
        "name": "gardener-vpn-gateway",
        "image": image,
        "args": _arguments(place),
        "env": [
            {"name": "GATEWAY_SHOOT_KUBECONFIG", "value": f"{_KUBECONFIG}/kubeconfig"},
            {"name": "GATEWAY_SEED_NAMESPACE", "value": place.namespace},
            {"name": "GATEWAY_NAMESPACE", "value": SHOOT_NAMESPACE},
            {"name": "GATEWAY_SERVICE_NAME", "value": TAILER},
        ],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "volumeMounts": [{"name": "kubeconfig", "mountPath": _KUBECONFIG, "readOnly": True}],
    }
    sources = [
        {"secret": {"name": place.kubeconfig_secret, "items": [{"key": "kubeconfig", "path": "kubeconfig"}]}},
        {"secret": {"name": ACCESS_SECRET, "items": [{"key": "token", "path": "token"}]}},
    ]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": GATEWAY, "namespace": place.namespace, "labels": labels},
        "spec": {
            "replicas": 0 if place.hibernated else 1,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": {**labels, **dict.fromkeys(network, names.ALLOWED)}},
                "spec": {
                    "serviceAccountName": GATEWAY,
                    "priorityClassName": "gardener-system-300",
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [container],
                    "volumes": [{"name": "kubeconfig", "projected": {"sources": sources}}],
                },
            },
        },
    }
    metadata = {"name": GATEWAY, "namespace": place.namespace}
    port = {"name": "forward", "port": GATEWAY_PORT, "targetPort": GATEWAY_PORT, "protocol": "TCP"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *_rights(GATEWAY, place.namespace, place.namespace, ["secrets"]),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "labels": labels},
            "spec": {"type": "ClusterIP", "selector": labels, "ports": [port]},
        },
        deployment,
    ]


def shoot_objects(image: str, certificate: dict[str, str]) -> list[Object]:
    """The tailer. `certificate` is the `data` of its Secret: ca.crt, tls.crt, tls.key."""
    labels = {"app": TAILER}
    config = {"fluent.conf": _FLUENTD}
    config_name, secret_name = f"{TAILER}-config", f"{TAILER}-server"
    container = {
        "name": TAILER,
        "image": image,
        "env": [{"name": "RUBY_GC_HEAP_OLDOBJECT_LIMIT_FACTOR", "value": "1.2"}],
        "ports": [{"name": "forward", "containerPort": TAILER_PORT, "protocol": "TCP"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/fluentd/etc", "readOnly": True},
            {"name": "certificates", "mountPath": "/fluentd/etc/ssl", "readOnly": True},
            {"name": "buffer", "mountPath": "/fluentbuffer"},
        ],
    }
    metadata = {"namespace": SHOOT_NAMESPACE, "labels": labels}
    port = {"name": "forward", "port": TAILER_PORT, "targetPort": TAILER_PORT, "protocol": "TCP"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": TAILER, **metadata},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": {**labels, "networking.gardener.cloud/from-seed": names.ALLOWED},
                    "annotations": {"checksum/all": digest([config, certificate])},
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "priorityClassName": "system-cluster-critical",
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": _NOBODY,
                        "fsGroup": _NOBODY,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [
                        {"name": "config", "configMap": {"name": config_name}},
                        {"name": "certificates", "secret": {"secretName": secret_name, "defaultMode": 0o440}},
                        {"name": "buffer", "emptyDir": {"sizeLimit": "1Gi"}},
                    ],
                },
            },
        },
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": config_name, **metadata}, "data": config},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret_name, **metadata},
            "type": "Opaque",
            "data": certificate,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": TAILER, **metadata},
            "spec": {"type": "ClusterIP", "selector": labels, "ports": [port]},
        },
        deployment,
        *_rights(TAILER, SHOOT_NAMESPACE, SHOOT_NAMESPACE, ["secrets", "services"]),
    ]


def _arguments(place: ControlPlane) -> list[str]:
    """The gateway's key for the VPN's proxy, which Gardener has since 1.124; an unknown version is a newer one."""
    numbers = place.gardener_version.lstrip("v").split(".")[:2]
    old = len(numbers) == 2 and all(number.isdigit() for number in numbers) and tuple(map(int, numbers)) < (1, 124)
    return [] if old else ["--proxy-client-secret=kube-apiserver-http-proxy-client"]


def _rights(name: str, namespace: str, account_namespace: str, resources: list[str]) -> list[Object]:
    group = "rbac.authorization.k8s.io"
    metadata = {"name": name, "namespace": namespace}
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": resources, "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": GATEWAY, "namespace": account_namespace}],
        },
    ]

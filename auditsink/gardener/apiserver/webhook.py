"""The registrations of our webhooks: of API servers' Deployments in the seed, of Shoots and Secrets in the garden."""

import base64
from dataclasses import dataclass

from auditsink.gardener.objects import Object

DEPLOYMENTS = "/webhooks/kube-apiserver"
SHOOTS = "/webhooks/shoots"
SECRETS = "/webhooks/secrets"
TIMEOUT_SECONDS = 10
_GROUP = "admissionregistration.k8s.io/v1"


@dataclass(frozen=True)
class WebhookAddress:
    """Where the API finds us: a Service, or a URL where it runs elsewhere. `bundle` is PEM."""

    bundle: bytes
    service: str = ""
    namespace: str = ""
    url: str = ""

    def client(self, path: str) -> Object:
        """As a webhook says it."""
        found: Object = {"caBundle": base64.b64encode(self.bundle).decode()}
        if self.url:
            found["url"] = self.url.rstrip("/") + path
        else:
            found["service"] = {"name": self.service, "namespace": self.namespace, "path": path, "port": 443}
        return found


def of_deployments(
    name: str, extension_type: str, extension_class: str, address: WebhookAddress, owner: Object
) -> Object:
    """Named as metal-stack's for the same type, so that it takes its place: one that is left behind would block."""
    garden = extension_class == "garden"
    key = "kubernetes.io/metadata.name" if garden else f"extensions.gardener.cloud/{extension_type}"
    labels = {"role": "apiserver"} if garden else {"app": "kubernetes", "gardener.cloud/role": "controlplane"}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "scope": "*"}
    webhook = {
        **_webhook(f"kapiserver.{extension_type}.extensions.gardener.cloud", address.client(DEPLOYMENTS)),
        "rules": [{**rule, "operations": ["CREATE", "UPDATE"]}],
        "namespaceSelector": {
            "matchExpressions": [{"key": key, "operator": "In", "values": ["garden" if garden else "true"]}]
        },
        "objectSelector": {"matchLabels": {**labels, "role": "apiserver"}},
        "reinvocationPolicy": "Never",
    }
    metadata = {
        "name": name,
        "labels": {"remediation.webhook.shoot.gardener.cloud/exclude": "true"},
        **({"ownerReferences": [owner]} if owner else {}),
    }
    return {
        "apiVersion": _GROUP,
        "kind": "MutatingWebhookConfiguration",
        "metadata": metadata,
        "webhooks": [webhook],
    }


def of_shoots(name: str, extension_type: str, address: WebhookAddress, owner: Object) -> Object:
    """Shoots that have the extension, and Secrets of projects: without us the latter are written unchecked."""
    shoots = {
        **_webhook(f"shoots.{extension_type}.extensions.gardener.cloud", address.client(SHOOTS)),
        "rules": [_rule("core.gardener.cloud", "v1beta1", "shoots", ["CREATE", "UPDATE"])],
        "objectSelector": {"matchLabels": {f"extensions.extensions.gardener.cloud/{extension_type}": "true"}},
    }
    secrets = {
        **_webhook(f"secrets.{extension_type}.extensions.gardener.cloud", address.client(SECRETS)),
        "rules": [_rule("", "v1", "secrets", ["UPDATE"])],
        "namespaceSelector": {"matchLabels": {"gardener.cloud/role": "project"}},
        "failurePolicy": "Ignore",
    }
    return {
        "apiVersion": _GROUP,
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name, **({"ownerReferences": [owner]} if owner else {})},
        "webhooks": [shoots, secrets],
    }


def _webhook(name: str, client: Object) -> Object:
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": client,
        "failurePolicy": "Fail",
        "matchPolicy": "Exact",
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT_SECONDS,
        "namespaceSelector": {},
    }


def _rule(group: str, version: str, resource: str, what: list[str]) -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": [resource],
        "operations": what,
        "scope": "*",
    }

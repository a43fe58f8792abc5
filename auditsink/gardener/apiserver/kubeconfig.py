"""The kubeconfig with which an API server posts to its sink: everything inside, so that one Secret says it all."""

import base64

from auditsink.gardener.objects import Object, as_yaml, encoded
from auditsink.gardener.render import names
from auditsink.gardener.sink.plan import RECEIVE_PORT

KEY = "kubeconfig"


def secret(namespace: str, bundle: bytes, certificate: bytes, key: bytes) -> Object:
    """The Secret. PEM in; the bundle is the CAs by which the sink is known."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": names.metadata(names.KUBECONFIG, namespace),
        "type": "Opaque",
        "data": encoded({KEY: _kubeconfig(namespace, bundle, certificate, key)}),
    }


def _kubeconfig(namespace: str, bundle: bytes, certificate: bytes, key: bytes) -> bytes:
    text = as_yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": names.SINK,
            "clusters": [
                {
                    "name": names.SINK,
                    "cluster": {
                        "server": f"https://{names.SINK}.{namespace}.svc:{RECEIVE_PORT}/audit",
                        "certificate-authority-data": _text(bundle),
                    },
                }
            ],
            "contexts": [{"name": names.SINK, "context": {"cluster": names.SINK, "user": names.SINK}}],
            "users": [
                {
                    "name": names.SINK,
                    "user": {"client-certificate-data": _text(certificate), "client-key-data": _text(key)},
                }
            ],
        }
    )
    return text.encode()


def _text(pem: bytes) -> str:
    return base64.b64encode(pem).decode()

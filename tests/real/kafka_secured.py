"""One broker with every way in: plain, SASL, TLS, mTLS, a certificate that has ended; and rights for each user.

Who needs no credentials (the plain listener) may do everything; the others what `grant` gives them.
"""

import asyncio
import datetime as dt
from pathlib import Path
from typing import cast

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from cryptography.hazmat.primitives import serialization
from kafka_server import Kafka

USER, PASSWORD = "sink", "a-pass word"
CERTIFICATE_USER = "by-certificate"
_LISTENERS = {"SASL": "SASL_PLAINTEXT", "SASLTLS": "SASL_SSL", "TLS": "SSL", "MTLS": "SSL", "ENDED": "SSL"}
_MECHANISMS = {"PLAIN": "plain.Plain", "SCRAM-SHA-256": "scram.Scram", "SCRAM-SHA-512": "scram.Scram"}


class Secured(Kafka):
    """See `Kafka`. `ca_file`, `cert_file` and `key_file` are what a client needs."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True)
        ca = trustme.CA()
        self.ca_file, self.cert_file, self.key_file = (place / name for name in ("ca.pem", "client.pem", "client.key"))
        ca.cert_pem.write_to_path(self.ca_file)
        client = ca.issue_cert("client.example.com")
        client.cert_chain_pems[0].write_to_path(self.cert_file)
        client.private_key_pem.write_to_path(self.key_file)
        ended = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        settings = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "sasl.enabled.mechanisms": ",".join(_MECHANISMS),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": _keystore(place / "server.pem", ca.issue_cert("localhost")),
            "listener.name.ended.ssl.keystore.type": "PEM",
            "listener.name.ended.ssl.keystore.location": _keystore(
                place / "ended.pem", ca.issue_cert("localhost", not_after=ended)
            ),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.ca_file,
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.mtls.ssl.principal.mapping.rules": f"RULE:^.*$/{CERTIFICATE_USER}/",
        } | {
            f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config": _login(mechanism, module)
            for listener in ("sasl", "sasltls")
            for mechanism, module in _MECHANISMS.items()
        }
        scram = [f"{name}=[name={USER},password={PASSWORD}]" for name in _MECHANISMS if name.startswith("SCRAM")]
        super().__init__(place, listeners=_LISTENERS, settings=settings, scram=scram)

    async def grant(self, user: str, topic: str) -> None:
        """Let the user write to the topic."""
        admin = self.admin()
        binding = AclBinding(*_resource(topic), f"User:{user}", "*", AclOperation.WRITE, AclPermissionType.ALLOW)
        await asyncio.to_thread(admin.create_acls([binding])[binding].result, 30)

    async def grant_transactions(self, user: str, transactional_id: str, topic: str) -> None:
        """Let the user have transactions under that id, as docs/kafka.md says."""
        admin = self.admin()
        rights: list[tuple[ResourceType, str, ResourcePatternType, AclOperation]] = [
            (ResourceType.TRANSACTIONAL_ID, transactional_id, ResourcePatternType.LITERAL, AclOperation.WRITE),
            (ResourceType.TRANSACTIONAL_ID, transactional_id, ResourcePatternType.LITERAL, AclOperation.DESCRIBE),
            (ResourceType.GROUP, transactional_id, ResourcePatternType.PREFIXED, AclOperation.READ),
            (*_resource(topic), AclOperation.READ),
        ]
        bindings = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for kind, name, pattern, operation in rights
        ]
        for answer in admin.create_acls(bindings).values():
            await asyncio.to_thread(answer.result, 30)

    async def revoke(self, user: str, topic: str) -> None:
        """Take the right back."""
        admin = self.admin()
        user, anywhere = f"User:{user}", cast("str", None)  # what stands for any, and its signature does not know
        wanted = AclBindingFilter(*_resource(topic), user, anywhere, AclOperation.ANY, AclPermissionType.ANY)
        await asyncio.to_thread(admin.delete_acls([wanted])[wanted].result, 30)


def _resource(topic: str) -> tuple[ResourceType, str, ResourcePatternType]:
    return ResourceType.TOPIC, topic, ResourcePatternType.LITERAL


def _keystore(path: Path, certificate: trustme.LeafCert) -> Path:
    """Kafka takes a key in PKCS#8 only."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pkcs8 + b"".join(one.bytes() for one in certificate.cert_chain_pems))
    return path


def _login(mechanism: str, module: str) -> str:
    users = f' user_{USER}="{PASSWORD}"' if mechanism == "PLAIN" else ""
    return f"org.apache.kafka.common.security.{module}LoginModule required{users};"

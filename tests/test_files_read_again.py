"""Every key of the configuration that ends in `_file`: a file that changes is in force without a restart.

One row for each; a key that is added without one fails here.
"""

import asyncio
import base64
import json
import os
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import corpus
import msgspec
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from auditsink import config, load
from auditsink.admin.server import _watched
from auditsink.clusters.registry import Registry
from auditsink.common.clock import SystemClock
from auditsink.config import Config, Section
from auditsink.delivery.destination import Batch
from auditsink.destinations.authorization import Authorization, ClientCredentials
from auditsink.destinations.fluentd import ForwardDestination
from auditsink.destinations.object_stores import StoreClient
from auditsink.destinations.splunk import SplunkDestination
from auditsink.evidence.make import build as evidence
from auditsink.filters import build as filter_build
from auditsink.http.proxy import ProxyRoute
from auditsink.http.tls import Tls
from auditsink.kafka.brokers import Brokers, BrokerSettings
from auditsink.receive.certificates import Certificates
from auditsink.spool.keys import Keyring

CA = trustme.CA()
PAIR = CA.issue_cert("localhost")
PRIVATE_KEY = trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.bytes().decode()


class Row(NamedTuple):
    """`contents`: makes what is written before and after. `observe` is given the file, and gives what shows it."""

    contents: Callable[[], bytes]
    observe: Callable[[Path], Callable[[], object]]


def secret() -> bytes:
    return base64.b32encode(os.urandom(10))


def certificate() -> bytes:
    return trustme.CA().cert_pem.bytes()


def signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encryption_key() -> bytes:
    return b"k%b %b\n" % (secret(), base64.b64encode(os.urandom(32)))


def service_account() -> bytes:
    known = {"private_key": PRIVATE_KEY, "private_key_id": secret().decode(), "client_email": "a@b"}
    return json.dumps({**known, "disable_oauth": True, "gcs_base_url": "https://x"}).encode()


def policy() -> bytes:
    level = policy.levels.pop()  # type: ignore[attr-defined]
    return f"{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{{level: {level}}}]}}".encode()


policy.levels = ["None", "Metadata"]  # type: ignore[attr-defined]


def parsed(text: str) -> Config:
    return load.parse(text.encode(), "f", {})


def destination(text: str) -> Any:
    return parsed(f"destinations: [{{name: a, {text}}}]").destinations[0]


def server_tls(file: Path, key: str) -> Callable[[], object]:
    place = file.parent
    (place / "cert").write_bytes(PAIR.cert_chain_pems[0].bytes())
    (place / "key").write_bytes(PAIR.private_key_pem.bytes())
    files: dict[str, Any] = {"cert_file": place / "cert", "key_file": place / "key", "client_ca_file": None, key: file}
    one = Certificates(config.ServerTls(**files))

    def observe() -> object:
        one.changed()
        return one.context

    return observe


def client_tls(file: Path, key: str) -> Callable[[], object]:
    place = file.parent
    (place / "cert").write_bytes(PAIR.cert_chain_pems[0].bytes())
    (place / "key").write_bytes(PAIR.private_key_pem.bytes())
    pair: dict[str, Any] = {"cert_file": place / "cert", "key_file": place / "key"} if key != "ca_file" else {}
    return Tls(config.ClientTls(**{**pair, key: file}), "tls").context


def clusters(file: Path, text: str) -> Callable[[], object]:
    registry = Registry(parsed(f"{{{text}, destinations: [{{name: a, type: stdout}}]}}"))

    def observe() -> object:
        registry.poll()
        return frozenset(registry.cluster_set.tokens)

    return observe


def encryption(file: Path) -> Callable[[], object]:
    keys, now = Keyring.load(file), iter(range(10, 1000, 10))

    def observe() -> object:
        keys.refresh(next(now))
        return keys.newest.name

    return observe


def admin(file: Path) -> Callable[[], object]:
    watched = _watched(config.Admin(token_file=file))
    assert watched is not None

    def observe() -> object:
        watched.changed()
        return watched.get().reveal()

    return observe


def policy_filter(file: Path) -> Callable[[], object]:
    sift = filter_build.build(destination(f"type: stdout, filter: {{policy_file: {file}}}"))
    assert sift is not None
    batch = Batch("c", "", [corpus.event("1", b"{}")], range(1), 0)
    return lambda: len(sift(batch).batch.events)


def authorization(file: Path, text: str) -> Callable[[], object]:
    auth = destination(f"type: http, url: 'http://x', auth: {{{text}: {file}}}").auth
    one = Authorization(auth, "auth", SystemClock(), timeout=1, proxy=None)
    return lambda: asyncio.run(_headers(one))


async def _headers(one: Authorization) -> object:
    return dict(typing.cast("Any", await one.headers()))


def oauth2(file: Path) -> Callable[[], object]:
    section = config.OAuth2(token_url="http://x", client_id="i", client_secret_file=file)
    return ClientCredentials(section, "oauth2", SystemClock(), timeout=1, proxy=None)._secret.reveal


def kafka(file: Path) -> Callable[[], object]:
    security = f"{{mechanism: PLAIN, username: u, password_file: {file}}}"
    section = destination(f"type: kafka, bootstrap_servers: ['k:1'], security: {security}")
    brokers = Brokers(BrokerSettings("x", section.bootstrap_servers, section.security, section.timeout))
    return lambda: brokers._connection()["sasl_plain_password"]


def splunk(file: Path) -> Callable[[], object]:
    one = SplunkDestination(destination(f"type: splunk, url: 'http://x', token_file: {file}"), SystemClock())
    return lambda: one._headers(None)["Authorization"]


def forward(file: Path, text: str, shown: str) -> Callable[[], object]:
    one = ForwardDestination(destination(f"type: forward, address: 'x:1', {text}: {file}"), SystemClock())
    return typing.cast("Any", getattr(one, shown)).reveal  # type: ignore[no-any-return]


def store(file: Path, text: str) -> Callable[[], object]:
    return StoreClient(destination(f"{text}: {file}")).store


def store_secret(file: Path, text: str) -> Callable[[], object]:
    return _revealed(StoreClient(destination(f"{text}: {file}")))


def backup(file: Path, text: str) -> StoreClient:
    """What a backup makes of its section."""
    whole = f"spool: {{path: {file.parent}, backup: {{{text}: {file}}}}}\ndestinations: [{{name: d, type: stdout}}]"
    section = parsed(whole).spool.backup
    assert section is not None
    return StoreClient(section.objects())


def _revealed(client: StoreClient) -> Callable[[], object]:
    assert client._secret is not None
    return client._secret.reveal


S3 = "type: s3, bucket: trail, region: r"
AZURE = "type: azure, account: a, container: trail"
ROWS = {
    ("ServerTls", "cert_file"): Row(PAIR.cert_chain_pems[0].bytes, lambda file: server_tls(file, "cert_file")),
    ("ServerTls", "key_file"): Row(PAIR.private_key_pem.bytes, lambda file: server_tls(file, "key_file")),
    ("ServerTls", "client_ca_file"): Row(certificate, lambda file: server_tls(file, "client_ca_file")),
    ("Receive", "tokens_file"): Row(
        lambda: b"c %b\n" % secret(), lambda file: clusters(file, f"receive: {{tokens_file: {file}}}")
    ),
    ("Cluster", "token_file"): Row(secret, lambda file: clusters(file, f"clusters: [{{name: c, token_file: {file}}}]")),
    ("Encryption", "key_file"): Row(encryption_key, encryption),
    ("Evidence", "key_file"): Row(
        signing_key,
        lambda file: lambda: typing.cast("Any", SIGNERS.setdefault(file, _signer(file))()).key_id,
    ),
    ("Admin", "token_file"): Row(lambda: secret() * 4, admin),
    ("Filter", "policy_file"): Row(policy, policy_filter),
    ("ClientTls", "ca_file"): Row(certificate, lambda file: client_tls(file, "ca_file")),
    ("ClientTls", "cert_file"): Row(PAIR.cert_chain_pems[0].bytes, lambda file: client_tls(file, "cert_file")),
    ("ClientTls", "key_file"): Row(PAIR.private_key_pem.bytes, lambda file: client_tls(file, "key_file")),
    ("Proxy", "password_file"): Row(
        secret,
        lambda file: ProxyRoute(config.Proxy(url="http://p", username="u", password_file=file), "proxy").headers,
    ),
    ("HttpAuth", "bearer_file"): Row(secret, lambda file: authorization(file, "bearer_file")),
    ("HttpAuth", "password_file"): Row(secret, lambda file: authorization(file, "username: u, password_file")),
    ("OAuth2", "client_secret_file"): Row(secret, oauth2),
    ("KafkaSecurity", "password_file"): Row(secret, kafka),
    ("SplunkConfig", "token_file"): Row(secret, splunk),
    ("ForwardConfig", "shared_key_file"): Row(secret, lambda file: forward(file, "shared_key_file", "_shared_key")),
    ("ForwardConfig", "password_file"): Row(
        secret, lambda file: forward(file, "shared_key: k, username: u, password_file", "_password")
    ),
    ("S3Config", "secret_access_key_file"): Row(
        secret, lambda file: store_secret(file, f"{S3}, access_key_id: k, secret_access_key_file")
    ),
    ("S3Config", "ca_file"): Row(certificate, lambda file: store(file, f"{S3}, ca_file")),
    ("GcsConfig", "service_account_file"): Row(
        service_account, lambda file: store(file, "type: gcs, bucket: trail, service_account_file")
    ),
    ("GcsConfig", "ca_file"): Row(certificate, lambda file: store(file, "type: gcs, bucket: trail, ca_file")),
    ("AzureConfig", "access_key_file"): Row(
        lambda: base64.b64encode(secret()), lambda file: store_secret(file, f"{AZURE}, access_key_file")
    ),
    ("AzureConfig", "ca_file"): Row(certificate, lambda file: store(file, f"{AZURE}, ca_file")),
    ("S3Backup", "secret_access_key_file"): Row(
        secret, lambda file: _revealed(backup(file, f"{S3}, access_key_id: k, secret_access_key_file"))
    ),
    ("S3Backup", "ca_file"): Row(certificate, lambda file: backup(file, f"{S3}, ca_file").store),
    ("GcsBackup", "service_account_file"): Row(
        service_account, lambda file: backup(file, "type: gcs, bucket: trail, service_account_file").store
    ),
    ("GcsBackup", "ca_file"): Row(certificate, lambda file: backup(file, "type: gcs, bucket: trail, ca_file").store),
    ("AzureBackup", "access_key_file"): Row(
        lambda: base64.b64encode(secret()), lambda file: _revealed(backup(file, f"{AZURE}, access_key_file"))
    ),
    ("AzureBackup", "ca_file"): Row(certificate, lambda file: backup(file, f"{AZURE}, ca_file").store),
}
SIGNERS: dict[Path, Callable[[], object]] = {}


def _signer(file: Path) -> Callable[[], object]:
    return evidence.signer(config.Evidence(path=file.parent / "checkpoints", key_file=file))


def sections(kind: Any, seen: set[type]) -> Iterator[type]:
    """All types of sections below a type."""
    if isinstance(kind, type) and issubclass(kind, Section):
        if kind in seen:
            return
        seen.add(kind)
        yield kind
        for hint in typing.get_type_hints(kind).values():
            yield from sections(hint, seen)
    for inner in typing.get_args(kind):
        yield from sections(inner, seen)


def keys() -> set[tuple[str, str]]:
    """Each key that ends in `_file`, where it was declared."""
    return {
        (kind.__name__, field.name)
        for kind in sections(Config, set())
        for field in msgspec.structs.fields(kind)
        if field.name.endswith("_file")
    }


def test_every_file_of_the_configuration_has_its_row() -> None:
    assert keys() == set(ROWS)


@pytest.mark.parametrize("key", ROWS, ids=".".join)
def test_a_file_that_changes_is_in_force(tmp_path: Path, key: tuple[str, str]) -> None:
    row, file = ROWS[key], tmp_path / "file"
    file.write_bytes(row.contents())
    observe = row.observe(file)
    before = observe()
    assert observe() == before, "it changes by itself"
    (tmp_path / "next").write_bytes(row.contents())
    (tmp_path / "next").replace(file)
    after = observe()
    assert after != before
    assert observe() == after

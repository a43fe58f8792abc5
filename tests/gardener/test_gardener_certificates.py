"""Certificates in every phase of a rotation: who trusts whom, what is made, what stays."""

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from gardenerkit import FakeIssuer

from auditsink.gardener.certificates.decide import CertificateDecision, Made
from auditsink.gardener.certificates.wanted import Authority, Leaf
from auditsink.gardener.control import certificates
from auditsink.gardener.control.certificates import issued
from auditsink.gardener.control_plane import Rotation
from auditsink.gardener.objects import data, label, meta

NOW = 1_780_000_000.0
DAY = 86_400.0
STARTED = "2026-11-01T10:00:00Z"


class Store:
    """Secrets as they gather over several passes."""

    def __init__(self) -> None:
        self.there: list[Any] = []
        self.issuer = FakeIssuer()

    def decide(self, rotation: Rotation, now: float = NOW, authority: Authority = certificates.AUTHORITY) -> Made:
        leaves = certificates.leaves("ns", forwarding=False)
        decision = CertificateDecision("ns", "audit", self.there, now, self.issuer)
        made = decision.decide(authority, leaves, rotation, DAY if authority.renew else 0)
        self.there += made.created
        return made


def signer(made: Made, leaf: str) -> str:
    return data(made.leaves[leaf], "tls.crt").decode().split(" by ")[1].split("#")[1].strip()


def trusted(made: Made) -> list[str]:
    return [line.split("#")[1] for line in data(made.bundle, "bundle.crt").decode().splitlines()]


@pytest.mark.parametrize(
    ("rotation", "server", "client", "bundle"),
    [
        (Rotation(), "1", "1", ["1"]),
        (Rotation(STARTED, both_trusted=True), "1", "4", ["1", "4"]),
        (Rotation(STARTED, both_trusted=False), "4", "4", ["4"]),
    ],
    ids=["none", "preparing", "completing"],
)
def test_each_phase_of_a_rotation(rotation: Rotation, server: str, client: str, bundle: list[str]) -> None:
    store = Store()
    store.decide(Rotation())
    if rotation.initiated:
        store.decide(Rotation(STARTED, both_trusted=True))
    made = store.decide(rotation)
    assert signer(made, certificates.SERVER) == server
    assert signer(made, certificates.CLIENT) == client
    assert trusted(made) == bundle


def test_nothing_is_made_when_nothing_changed() -> None:
    store = Store()
    store.decide(Rotation(STARTED, both_trusted=True))
    count = len(store.issuer.made)
    again = store.decide(Rotation(STARTED, both_trusted=True), NOW + DAY)
    assert again.created == []
    assert len(store.issuer.made) == count


def test_a_leaf_is_renewed_before_it_ends_and_its_authority_is_not() -> None:
    store = Store()
    first = store.decide(Rotation())
    later = store.decide(Rotation(), NOW + 9 * 365 * DAY)
    assert [label(one, "name") for one in later.created] == [certificates.SERVER, certificates.CLIENT]
    assert later.trusted == first.trusted


def test_an_authority_that_renews_itself_is_trusted_beside_its_heir_for_a_day() -> None:
    store = Store()
    authority = Authority("ca", 30 * DAY, persist=False, renew=True)
    first = store.decide(Rotation(), authority=authority)
    assert trusted(store.decide(Rotation(), NOW + 19 * DAY, authority)) == trusted(first)
    heir = store.decide(Rotation(), NOW + 21 * DAY, authority)
    assert len(trusted(heir)) == 2
    assert {str(meta(one)["name"]) for one in first.trusted} < heir.used
    assert len(trusted(store.decide(Rotation(), NOW + 22.5 * DAY, authority))) == 1


def test_secrets_have_the_labels_by_which_gardener_persists_and_finds_them() -> None:
    made = Store().decide(Rotation(STARTED, both_trusted=True))
    authority = made.trusted[-1]
    assert label(authority, "persist") == "true"
    assert label(authority, "managed-by") == "secrets-manager"
    assert label(authority, "last-rotation-initiation-time") == "1793527200"
    assert all(one["immutable"] for one in made.created)
    assert label(made.bundle, "bundle-for") == certificates.AUTHORITY.name


def test_what_was_restored_from_another_seed_is_taken_up() -> None:
    before = Store()
    made = before.decide(Rotation())
    after = Store()
    after.there = [one for one in before.there if label(one, "persist")]
    assert after.decide(Rotation(), NOW + DAY).trusted == made.trusted


def test_real_certificates_speak_tls_with_each_other(tmp_path: Path) -> None:
    authority, server = Authority("ca"), Leaf("s", "auditsink", "server", ("auditsink.ns.svc",))
    ca = issued(authority, None, NOW)
    pairs = {"server": issued(server, ca, NOW), "client": issued(Leaf("c", "kube-apiserver", "client"), ca, NOW)}
    for name, pair in pairs.items():
        (tmp_path / name).write_bytes(pair.certificate + pair.key)
    (tmp_path / "ca").write_bytes(ca.certificate)
    listening = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca")
    listening.verify_mode = ssl.CERT_REQUIRED
    listening.load_cert_chain(tmp_path / "server")
    asking = ssl.create_default_context(cafile=tmp_path / "ca")
    asking.load_cert_chain(tmp_path / "client")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname="auditsink.ns.svc")
    host = listening.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, host):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = host.getpeercert()
    assert shown is not None
    assert shown["subject"] == ((("commonName", "kube-apiserver"),),)
    assert (
        x509.load_pem_x509_certificate(ca.certificate)
        .extensions.get_extension_for_class(x509.BasicConstraints)
        .value.ca
    )

"""The ends of certificates, from files as an operator writes them."""

import datetime as dt
import os
from pathlib import Path

import pytest
import trustme

from auditsink.config import ClientTls, Config, HttpConfig, Receive, ServerTls
from auditsink.observe.expiry import Expiries, validity

SOON = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)
LATER = dt.datetime(2035, 1, 1, tzinfo=dt.UTC)


def write(path: Path, ends: dt.datetime) -> Path:
    leaf = trustme.CA().issue_cert("sink.test", not_after=ends)
    path.write_bytes(leaf.cert_chain_pems[0].bytes())
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)
    key = tmp_path / "key.pem"
    key.write_text("not looked at")
    tls = ServerTls(cert_file=write(tmp_path / "cert.pem", SOON), key_file=key)
    hook = HttpConfig(name="hook", url="https://x.test", tls=ClientTls(ca_file=ca))
    return Config(receive=Receive(tls=tls), destinations=[hook])


def test_each_named_file_is_told_by_its_key(config: Config) -> None:
    found = {one.key: one.at for one in Expiries(config).read()}
    assert set(found) == {"receive.tls.cert_file", "destinations[0].tls.ca_file"}
    assert found["receive.tls.cert_file"] == SOON.timestamp()


def test_a_renewed_certificate_is_read_again_and_a_broken_one_keeps_the_last_answer(
    config: Config, tmp_path: Path
) -> None:
    expiries = Expiries(config)
    renewed = write(tmp_path / "new.pem", LATER)
    renewed.rename(tmp_path / "cert.pem")
    assert {one.at for one in expiries.read() if one.key.startswith("receive")} == {LATER.timestamp()}
    (tmp_path / "cert.pem").write_text("half a rota")
    assert {one.at for one in expiries.read() if one.key.startswith("receive")} == {LATER.timestamp()}


def test_of_a_chain_the_first_end_counts(tmp_path: Path) -> None:
    chain = write(tmp_path / "a.pem", LATER).read_bytes() + write(tmp_path / "b.pem", SOON).read_bytes()
    assert validity(chain)[1] == SOON.timestamp()


def test_a_file_without_certificates_is_left_to_whoever_uses_it(config: Config, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("nothing")
    os.utime(tmp_path / "cert.pem")
    assert [one.key for one in Expiries(config).read()] == ["destinations[0].tls.ca_file"]

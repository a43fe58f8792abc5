"""A checkpoint's line: what is signed, what is chained, and that no odd line passes for one."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from evidencekit import OTHER, PRIVATE, event, ledger, private_pem, public_pem, signer, span
from hypothesis import given
from hypothesis import strategies as st

from auditsink.evidence import EvidenceError
from auditsink.evidence.checkpoint import NoCheckpointError, decode
from auditsink.evidence.keys import PublicKeys, Signer

LINES = [event("a"), event("b"), event("c")]
(LINE,) = ledger([span(LINES, first=7, cluster="blue")]).splitlines()


def test_a_line_is_exactly_this() -> None:
    """Whoever has the text of the package can check it with other tools; so it must not change."""
    fields = json.loads(LINE)
    assert list(fields) == ["checkpoint", "fingerprints", "signature"]
    assert fields["checkpoint"] == {
        "cluster": "blue",
        "count": 3,
        "first": 7,
        "first_received": "1970-01-01T00:00:01Z",
        "key": signer().key_id,
        "last_received": "1970-01-01T00:00:01Z",
        "next": 10,
        "number": 1,
        "previous": None,
        "ring": "0" * 32,
        "sha256": hashlib.sha256(b"".join(line + b"\n" for line in LINES)).hexdigest(),
        "time": "1970-01-01T00:00:01Z",
        "version": 1,
    }


def test_the_canonical_form_is_sorted_and_without_white_space() -> None:
    canonical = json.dumps(json.loads(LINE)["checkpoint"], sort_keys=True, separators=(",", ":")).encode()
    found = decode(LINE)
    assert found.canonical == canonical
    assert found.digest == hashlib.sha256(canonical).hexdigest()
    assert found.line() == LINE + b"\n"


def test_the_order_and_the_spaces_of_a_copy_do_not_matter() -> None:
    fields = json.loads(LINE)
    fields["checkpoint"] = dict(reversed(list(fields["checkpoint"].items())))
    copy = decode(json.dumps({"level": "info", **fields}, indent=1).encode())
    assert copy == decode(LINE)


def test_openssl_agrees_with_the_signature(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    (tmp_path / "key").write_bytes(public_pem())
    (tmp_path / "message").write_bytes(decode(LINE).canonical)
    (tmp_path / "signature").write_bytes(decode(LINE).signature or b"")
    command = [
        openssl,
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "key",
        "-rawin",
        "-in",
        "message",
        "-sigfile",
        "signature",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert b"Successfully" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version":1', b'"version":2'),
        (b'"count":3', b'"count":4'),
        (b'"next":10', b'"next":7'),
        (b'"first":7', b'"first":-7'),
        (b'"first":7', b'"first":7.5'),
        (b'"ring":"0', b'"ring":"g'),
        (b'"ring":"0', b'"ring":"'),
        (b'"sha256":"', b'"sha256":"00'),
        (b'"cluster":"blue"', b'"cluster":""'),
        (b'"cluster":"blue"', b'"cluster":null'),
        (b'"fingerprints":"', b'"fingerprints":"AAAA'),
        (b'"fingerprints":"', b'"fingerprints":"!'),
        (b'"signature":"', b'"signature":"\xc3\xa9'),
        (b'"signature":"', b'"signature":7,"x":"'),
        (b'"time":"1970', b'"time":"x970'),
        (b'"checkpoint":{', b'"checkpoint":[{'),
        (b'"checkpoint":{', b'"other":{'),
        (b'"number":1', b'"number":' + b"1" * 5000),
        (b'"number":1', b'"number":' + b"[" * 50_000),
    ],
)
def test_an_odd_line_is_no_checkpoint(old: bytes, new: bytes) -> None:
    assert old in LINE
    with pytest.raises(NoCheckpointError):
        decode(LINE.replace(old, new, 1))


@given(st.binary(max_size=300) | st.integers(0, len(LINE) - 1).map(lambda at: LINE[:at]))
def test_no_bytes_make_it_fail_in_another_way(data: bytes) -> None:
    with pytest.raises(NoCheckpointError):
        decode(data)


@given(st.integers(0, len(LINE) - 1), st.integers(1, 255))
def test_a_flipped_byte_changes_the_statement_or_breaks_it(at: int, bits: int) -> None:
    flipped = bytearray(LINE)
    flipped[at] ^= bits
    try:
        found = decode(bytes(flipped))
    except NoCheckpointError:
        return
    keys = PublicKeys([PRIVATE.public_key()])
    right = found.signature is not None and keys.verify(signer().key_id, found.canonical, found.signature)
    assert not right or found.checkpoint == decode(LINE).checkpoint


def test_keys_are_told_apart_by_their_ids() -> None:
    keys = PublicKeys([PRIVATE.public_key()])
    assert signer().key_id in keys
    assert signer(OTHER).key_id not in keys
    assert len(keys) == 1
    assert keys.verify(signer().key_id, b"message", signer().sign(b"message"))
    assert not keys.verify(signer().key_id, b"message", signer(OTHER).sign(b"message"))
    assert not keys.verify(signer(OTHER).key_id, b"message", signer(OTHER).sign(b"message"))
    assert not keys.verify(signer().key_id, b"message", b"short")
    assert "PRIVATE" not in repr(signer())


RSA = b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("content", [b"", b"no key", RSA, b"\xff\xfe", private_pem()], ids=range(5))
def test_what_is_no_public_key_is_told_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(EvidenceError, match=r"key\.pem: is no Ed25519 public key in PEM; get it .*`openssl pkey"):
        PublicKeys.load([path])


@pytest.mark.parametrize("content", [b"", b"no key", public_pem()], ids=range(3))
def test_what_is_no_private_key_is_told_with_the_remedy(content: bytes) -> None:
    with pytest.raises(ValueError, match="is no private key in PEM; make one with `openssl genpkey"):
        Signer.parse(content)


def test_a_key_of_another_kind_or_with_a_password_is_told() -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key  # noqa: PLC0415

    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    other = generate_private_key(SECP256R1()).private_bytes(pem, pkcs8, serialization.NoEncryption())
    with pytest.raises(ValueError, match="another kind than Ed25519"):
        Signer.parse(other)
    locked = PRIVATE.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"password"))
    with pytest.raises(ValueError, match="is encrypted"):
        Signer.parse(locked)


def test_a_missing_library_is_told_as_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(EvidenceError, match=r"--public-key: .* pip install 'auditsink\[evidence\]'"):
        PublicKeys.load([])

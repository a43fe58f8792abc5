"""The key file: what is a key, what is a mistake, and that nothing of either is ever shown."""

import base64
import hashlib
import hmac
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.common.redact import redact
from auditsink.common.secret import WatchedFile
from auditsink.spool import frame
from auditsink.spool.errors import DecryptionError, MissingKeyError, SpoolError
from auditsink.spool.keys import Key, Keyring, cipher_of, parse_keys
from auditsink.spool.segment import SegmentHeader

ONE, TWO = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def keyring(tmp_path: Path, text: str) -> tuple[Keyring, Path]:
    path = tmp_path / "spool.keys"
    path.write_text(text)
    return Keyring(WatchedFile(path, parse_keys)), path


def test_a_key_file_holds_names_and_keys_and_remarks() -> None:
    keys = parse_keys(f"# made in November\n\n2026-11 {ONE}\r\n  2026-08\t{TWO}  \n".encode())
    assert [key.name for key in keys] == ["2026-11", "2026-08"]
    assert keys[0].check != keys[1].check
    assert keys[0].check == parse_keys(f"another-name {ONE}".encode())[0].check, "a key is its bytes"


def test_what_is_derived_is_hkdf_expand() -> None:
    """RFC 5869: T(1) = HMAC-Hash(PRK, "" | info | 0x01), which is all there is to 32 bytes of SHA-256."""
    key = parse_keys(f"k {ONE}".encode())[0]
    expected = hmac.new(b"\1" * 32, b"auditsink spool 1 digest\1", hashlib.sha256).digest()
    assert key.derive(b"digest") == key.digest_key == expected
    assert key.derive(b"segment x") != key.derive(b"segment y")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no key"),
        ("# only a remark\n", "holds no key"),
        (ONE, "line 1 is no key"),
        (f"\nname {ONE} more", "line 2 is no key"),
        (f"name {ONE[:-4]}", "line 1 is no key"),
        (f"name {base64.b64encode(b'x' * 16).decode()}", "line 1 is no key"),
        (f"name {ONE}!", "line 1 is no key"),
        (f"{'n' * 25} {ONE}", "line 1 is no key"),
        (f"a {ONE}\na {TWO}", "line 2 repeats"),
        (f"a {ONE}\nb {ONE}", "line 2 repeats"),
        ("caf\u00e9 " + ONE, "line 1 is no key"),
    ],
)
def test_a_mistake_is_told_by_its_line_and_not_by_its_content(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        parse_keys(text.encode())
    assert ONE[:8] not in str(caught.value)
    assert ONE[:8] not in repr(caught.value)


@given(st.binary(max_size=200))
def test_no_file_is_more_than_a_mistake(content: bytes) -> None:
    try:
        parse_keys(content)
    except ValueError as problem:
        assert str(problem).isprintable()  # noqa: PT017 - both ways are right
    else:
        assert content.split()


def test_keys_print_as_their_names(tmp_path: Path) -> None:
    ring, _path = keyring(tmp_path, f"2026-11 {ONE}\n")
    assert repr(ring) == "<Keyring 2026-11>"
    assert repr(ring.newest) == "<Key 2026-11>"


def test_a_new_first_line_encrypts_and_a_removed_one_still_decrypts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring, path = keyring(tmp_path, f"old {ONE}\n")
    old = ring.newest
    ring.refresh(0.0)
    path.write_text(f"newest {TWO}\n")
    ring.refresh(0.5)
    assert ring.newest is old, "at most one look a second"
    with caplog.at_level(logging.INFO):
        ring.refresh(1.5)
    assert ring.newest.name == "newest"
    assert ring.find(old.check) is old
    warned = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert [one.keys for one in warned] == [["old"]], "the next start may need it"  # type: ignore[attr-defined]
    assert ONE not in caplog.text


def test_a_broken_key_file_leaves_the_keys_as_they_are_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring, path = keyring(tmp_path, f"old {ONE}\n")
    path.write_text("half a li")
    for now in (1.0, 3.0, 5.0):
        ring.refresh(now)
    assert ring.newest.name == "old"
    assert len(caplog.records) == 1
    assert "line 1 is no key" in caplog.text
    assert "half" not in caplog.text


def test_a_missing_key_is_told_with_its_name_and_with_what_there_is(tmp_path: Path) -> None:
    ring, path = keyring(tmp_path, f"2026-11 {ONE}\n2026-08 {TWO}\n")

    def told(name: str, keys: Keyring | None) -> str:
        header = SegmentHeader(b"r" * 16, b"s" * 8, 0, 1, key_name=name, key_check=b"\xab" * 8)
        with pytest.raises(MissingKeyError) as caught:
            cipher_of(header, keys)
        return str(caught.value)

    assert "'2025-01' (check abababab), which was not given" in told("2025-01", None)
    assert f"which {path} does not hold (it holds 2026-11, 2026-08)" in told("2025-01", ring)
    assert "does not hold (it holds another key of that name)" in told("2026-08", ring)
    assert cipher_of(SegmentHeader(b"r" * 16, b"s" * 8, 0, 1), None) is None


def test_a_file_that_cannot_be_read_names_the_configurations_key(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"^spool\.encryption\.key_file: .*nothing: No such file"):
        Keyring.load(tmp_path / "nothing")
    (tmp_path / "empty").write_text("")
    with pytest.raises(SpoolError, match=r"^--key-file: .*empty: holds no key"):
        Keyring.load(tmp_path / "empty", "--key-file")


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text(f"a {ONE}")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(SpoolError, match=r"pip install 'auditsink\[encryption\]'"):
        Keyring.load(tmp_path / "keys")


def test_the_library_is_not_imported_where_nothing_is_encrypted() -> None:
    code = "import auditsink.service, sys; print('cryptography' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_key_is_starred_wherever_it_would_be_logged() -> None:
    keys: tuple[Key, ...] = parse_keys(f"a {ONE}".encode())
    assert ONE not in redact(f"a library quotes {ONE} in an error")
    assert keys


def test_a_seal_opens_with_its_own_key_and_what_it_was_bound_to(tmp_path: Path) -> None:
    key = keyring(tmp_path, f"first {ONE}\n")[0].newest
    header = SegmentHeader(b"r" * 16, b"s" * 8, 7, 1)
    cipher = key.cipher(header)
    encrypted = memoryview(cipher.encrypt(b"plain", b"bound"))
    assert len(encrypted) == 5 + frame.ENCRYPTION_BYTES
    assert key.cipher(header).decrypt(encrypted, b"bound") == b"plain"
    others = [SegmentHeader(b"R" * 16, b"s" * 8, 7, 1), SegmentHeader(b"r" * 16, b"S" * 8, 7, 1)]
    others += [SegmentHeader(b"r" * 16, b"s" * 8, 8, 1), SegmentHeader(b"r" * 16, b"s" * 8, 7, 2)]
    for other in others:
        with pytest.raises(DecryptionError):
            key.cipher(other).decrypt(encrypted, b"bound")
    for short in (b"", b"x" * 27):
        with pytest.raises(DecryptionError):
            cipher.decrypt(memoryview(short), b"bound")
    with pytest.raises(DecryptionError):
        cipher.decrypt(encrypted, b"BOUND")

"""The keys of encryption at rest: the file they stand in, what is derived from each, and the cipher of a segment.

What is encrypted with them, and why so, stands in the package's text. A key is 32 random bytes, so what is needed for
one purpose or one segment comes from it by HKDF-Expand (RFC 5869, section 2.3) without the extraction before it.
"""

import base64
import binascii
import hmac
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from auditsink.common.secret import Secret, UnreadableFileError, WatchedFile
from auditsink.spool.errors import DecryptionError, MissingKeyError, SpoolError
from auditsink.spool.frame import ENCRYPTION_BYTES
from auditsink.spool.segment import KEY_CHECK_BYTES, SegmentHeader

log = logging.getLogger("auditsink.spool")

KEY_BYTES = 32
NONCE_BYTES = 12
LOOK_SECONDS = 1.0
"""Between two looks at the key file."""
EXPECTED = "a line holds a name, a space, and 32 random bytes in base64 (`openssl rand -base64 32`)"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,23}\Z")


class Key:
    """32 random bytes, and the name that a person gave them. `check` tells two keys of one name apart."""

    __slots__ = ("_secret", "check", "digest_key", "name")

    def __init__(self, name: str, secret: Secret) -> None:
        self.name = name
        self._secret = secret
        self.check = self.derive(b"check")[:KEY_CHECK_BYTES]
        self.digest_key = self.derive(b"digest")

    def __repr__(self) -> str:
        return f"<Key {self.name}>"

    def derive(self, purpose: bytes) -> bytes:
        """32 bytes that are good for this purpose and tell nothing of the key."""
        key = base64.b64decode(self._secret.reveal())
        return hmac.digest(key, b"auditsink spool 1 " + purpose + b"\x01", "sha256")

    def cipher(self, header: SegmentHeader) -> "SegmentCipher":
        """What encrypts and decrypts the records of one segment."""
        return SegmentCipher(self.derive(b"segment " + header.identity))


def parse_keys(content: bytes) -> tuple[Key, ...]:
    """The keys in a key file, in its order. Raises ValueError: a sentence to stand after the file's name.

    Empty lines and what follows a `#` at a line's start are left out. No message shows anything of a line.
    """
    keys: list[Key] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        key = _parse_line(line)
        if key is None:
            raise ValueError(f"line {number} is no key: {EXPECTED}")
        if key.name in {other.name for other in keys} or key.check in {other.check for other in keys}:
            raise ValueError(f"line {number} repeats the name or the key of a line before it; give each key one line")
        keys.append(key)
    if not keys:
        raise ValueError(f"holds no key: {EXPECTED}")
    return tuple(keys)


def _parse_line(line: bytes) -> Key | None:
    try:
        name, encoded = line.decode("ascii").split()
        secret = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        return None
    return Key(name, Secret(encoded)) if _NAME.match(name) and len(secret) == KEY_BYTES else None


class SegmentCipher:
    """AES-256-GCM (NIST SP 800-38D) over the records of one segment. For one thread at a time."""

    def __init__(self, key: bytes, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """`key` is the segment's own, 32 bytes."""
        # An extra: imported where there is something to encrypt or to decrypt, and not before.
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._aead = AESGCM(key)
        self._entropy = entropy
        self._invalid = InvalidTag

    def encrypt(self, plain: bytes, bound: bytes) -> bytes:
        """`ENCRYPTION_BYTES` more than `plain`: nonce, ciphertext, and the tag, which also covers `bound`."""
        nonce = self._entropy(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, bound)

    def decrypt(self, encrypted: memoryview, bound: bytes) -> bytes:
        """What was encrypted. Raises DecryptionError."""
        if len(encrypted) < ENCRYPTION_BYTES:
            raise DecryptionError
        try:
            return self._aead.decrypt(bytes(encrypted[:NONCE_BYTES]), encrypted[NONCE_BYTES:], bound)
        except self._invalid:
            raise DecryptionError from None


class Keyring:
    """The keys of a file: the first encrypts, all decrypt. Any thread.

    A key that is taken out of the file stays in use until the process ends: readers may be in the middle of what it
    encrypted. The next start tells whether the rings still need it.
    """

    def __init__(self, file: WatchedFile[tuple[Key, ...]]) -> None:
        self.path = file.path
        self._file = file
        self._looked_at: float | None = None
        self._looking = Lock()
        self.newest = file.get()[0]
        self._known = {key.check: key for key in file.get()}

    def __repr__(self) -> str:
        return f"<Keyring {self.names}>"

    @classmethod
    def load(cls, path: Path, key: str = "spool.encryption.key_file") -> "Keyring":
        """From a key file. `key` is how messages call it. Raises SpoolError."""
        require(key)
        try:
            return cls(WatchedFile(path, parse_keys))
        except UnreadableFileError as problem:
            raise SpoolError(f"{key}: {problem}") from None

    @property
    def names(self) -> str:
        """What the keys are called, for messages."""
        return ", ".join(key.name for key in self._known.values())

    def find(self, check: bytes) -> Key | None:
        """The key with this check value."""
        return self._known.get(check)

    def refresh(self, now: float) -> None:
        """Look whether the file is another one, at most once a second. `now` in monotonic seconds."""
        with self._looking:
            if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
                return
            self._looked_at = now
            complaint = self._file.error
            if self._file.changed():
                self._take_over()
            elif self._file.error and self._file.error != complaint:
                log.warning("spool.encryption.key_file: %s; the keys known so far stay in use", self._file.error)

    def _take_over(self) -> None:
        """Use the keys that the file holds now, the first for what comes; those that it held before still decrypt."""
        there = {key.check: key for key in self._file.get()}
        if gone := [key.name for check, key in self._known.items() if check not in there]:
            log.warning(
                "keys are no longer in the key file; they stay in use until this process ends, and the next start "
                "needs each one under which `auditsink spool ls` still shows a segment",
                extra={"keys": gone, "file": str(self.path)},
            )
        self._known = {**self._known, **there}
        self.newest = self._file.get()[0]
        log.info("records are encrypted under the first key of the file", extra={"key": self.newest.name})


def cipher_of(header: SegmentHeader, keys: Keyring | None) -> "SegmentCipher | None":
    """What opens the records of a segment; None when they are not encrypted. Raises MissingKeyError."""
    if not header.encrypted:
        return None
    key = None if keys is None else keys.find(header.key_check)
    if key is None:
        raise MissingKeyError(f"it is encrypted under the key {described(header)}, which {_known(header, keys)}")
    return key.cipher(header)


def described(header: SegmentHeader) -> str:
    """A segment's key: its name, and the start of its check value."""
    return f"{header.key_name!r} (check {header.key_check.hex()[:8]})"


def _known(header: SegmentHeader, keys: Keyring | None) -> str:
    if keys is None:
        return "was not given"
    same = any(key.name == header.key_name for key in keys._known.values())  # noqa: SLF001 - one module
    other = "another key of that name" if same else keys.names
    return f"{keys.path} does not hold (it holds {other})"


def require(key: str) -> None:
    """Raise SpoolError, naming the key or option that asks for encryption, when the library is not installed."""
    try:
        import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401, PLC0415 - only whether it can be had
    except ModuleNotFoundError:
        raise SpoolError(f"{key}: encryption needs the extra: pip install 'auditsink[encryption]'") from None

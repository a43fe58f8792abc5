"""Ed25519 keys (RFC 8032) in PEM files. The library is imported when a key is configured, and not before."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from auditsink.evidence import EvidenceError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_ID_DIGITS = 16
MAKE_ONE = "make one with `openssl genpkey -algorithm ed25519 -out KEY.pem`"


class Signer:
    """Signs with one private key; `key_id` is what a checkpoint calls it."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key
        self.key_id = _key_id(key.public_key())

    def __repr__(self) -> str:
        return f"<Signer {self.key_id}>"

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of a message, 64 bytes."""
        return self._key.sign(message)

    @classmethod
    def parse(cls, content: bytes) -> "Signer":
        """From a PEM file's content. Raises ValueError: a sentence to stand after the file's name."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - see above
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        try:
            key = load_pem_private_key(content, password=None)
        except TypeError:
            raise ValueError("is encrypted; give a key without a password, readable by the sink alone") from None
        except Exception:  # noqa: BLE001 - the library raises several kinds, and their text is no help to an operator
            raise ValueError(f"is no private key in PEM; {MAKE_ONE}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"is a key of another kind than Ed25519; {MAKE_ONE}")  # noqa: TRY004 - as a file's content
        return cls(key)


class PublicKeys:
    """Public keys by their ids."""

    def __init__(self, keys: "Iterable[Ed25519PublicKey]") -> None:
        self._keys = {_key_id(key): key for key in keys}

    @classmethod
    def load(cls, paths: Iterable[Path]) -> "PublicKeys":
        """From PEM files. Raises EvidenceError."""
        require("--public-key")
        return cls(map(_load_public, paths))

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def verify(self, key_id: str, message: bytes, signature: bytes) -> bool:
        """Whether that key signed the message."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

        try:
            self._keys[key_id].verify(signature, message)
        except (KeyError, InvalidSignature):
            return False
        return True


def require(key: str) -> None:
    """Raise EvidenceError, naming the key or option that asks for signatures, when the library is not installed."""
    try:
        import cryptography  # noqa: F401, PLC0415 - only whether it is there
    except ModuleNotFoundError:
        raise EvidenceError(f"{key}: signatures need the extra: pip install 'auditsink[evidence]'") from None


def _load_public(path: Path) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as problem:
        raise EvidenceError(f"{path}: {problem.strerror}; check the path and its permissions") from None
    except Exception:  # noqa: BLE001 - as above
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceError(
            f"{path}: is no Ed25519 public key in PEM; get it from the private key with "
            "`openssl pkey -in KEY.pem -pubout -out PUBLIC.pem`"
        )
    return key


def _key_id(key: "Ed25519PublicKey") -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:KEY_ID_DIGITS]

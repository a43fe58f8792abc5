"""AES-256-GCM (NIST SP 800-38D) over the records of one segment.

Imported where something is encrypted, and not before: its library is an extra.
"""

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auditsink.spool.errors import SealBrokenError
from auditsink.spool.frame import SEAL_BYTES

NONCE_BYTES = 12


class SegmentCipher:
    """`key` is the segment's own, 32 bytes. For one thread at a time."""

    def __init__(self, key: bytes, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._aead = AESGCM(key)
        self._entropy = entropy

    def seal(self, plain: bytes, bound: bytes) -> bytes:
        """`SEAL_BYTES` more than `plain`: the nonce, what is encrypted, the tag, which also covers `bound`."""
        nonce = self._entropy(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, bound)

    def open(self, sealed: memoryview, bound: bytes) -> bytes:
        """What was sealed. Raises SealBrokenError."""
        if len(sealed) < SEAL_BYTES:
            raise SealBrokenError
        try:
            return self._aead.decrypt(bytes(sealed[:NONCE_BYTES]), sealed[NONCE_BYTES:], bound)
        except InvalidTag:
            raise SealBrokenError from None

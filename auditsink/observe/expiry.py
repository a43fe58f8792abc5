"""When the certificates that a configuration names begin and end, for the metric that warns before, and the verdict.

Read from the files and not from the contexts in use: a renewed file is what the next connection shows, and a CA that
ends breaks connections as surely as a certificate.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from auditsink.common.secret import UnreadableFileError, WatchedFile
from auditsink.config import Config
from auditsink.load import files

KINDS = ("cert_file", "client_ca_file", "ca_file")


@dataclass(frozen=True, slots=True)
class Expiry:
    """`key` is the path in the configuration (`receive.tls.cert_file`); times are in seconds since the epoch.

    `at`: the earliest end in the file. `begins`: the latest beginning.
    """

    key: str
    at: float
    begins: float = 0.0


class Expiries:
    """The certificates of a configuration; each file is parsed again when it has changed. Blocks for small reads."""

    def __init__(self, config: Config) -> None:
        """There are none without the library that reads them, which the extras `evidence` and `encryption` bring."""
        named = [(key, path) for key, path in files.named(config) if key.rpartition(".")[2] in KINDS]
        self._watched = list(_watched(named)) if named and _can_parse() else []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._watched)

    def read(self) -> list[Expiry]:
        """What is in each file now. One that no longer parses keeps what it last said. From any thread."""
        with self._lock:
            for _, file in self._watched:
                file.changed()
        return self.known()

    def known(self) -> list[Expiry]:
        """What `read` last found, without a look at the disk."""
        found = ((key, file.get()) for key, file in self._watched)
        return [Expiry(key, ends, begins) for key, (begins, ends) in found]


def _watched(named: list[tuple[str, Path]]) -> Iterator[tuple[str, WatchedFile[tuple[float, float]]]]:
    for key, path in named:
        try:
            yield key, WatchedFile(path, validity)
        except UnreadableFileError:  # whoever uses the file refuses to start, with better words
            continue


def validity(pem: bytes) -> tuple[float, float]:
    """From when until when all certificates in a PEM file are valid, in seconds since the epoch. Raises ValueError."""
    from cryptography import x509  # noqa: PLC0415 - 10 MiB that a sink without TLS need not carry

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd serial numbers in old CAs are nobody's problem here
        several = x509.load_pem_x509_certificates(pem)
        return (
            max(one.not_valid_before_utc.timestamp() for one in several),
            min(one.not_valid_after_utc.timestamp() for one in several),
        )


def _can_parse() -> bool:
    try:
        import cryptography  # noqa: F401, PLC0415 - asked for, not used
    except ModuleNotFoundError:
        return False
    return True

"""When the certificates that a configuration names end, for the metric that warns before they do.

Read from the files and not from the contexts in use: a renewed file is what the next connection shows, and a CA that
ends breaks connections as surely as a certificate.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from auditsink.common.secret import UnreadableFileError, WatchedFile
from auditsink.config import Config
from auditsink.load import files

KINDS = ("cert_file", "client_ca_file", "ca_file")


@dataclass(frozen=True, slots=True)
class Expiry:
    """`key` is the path in the configuration (`receive.tls.cert_file`); `at` is in seconds since the epoch."""

    key: str
    at: float


class Expiries:
    """The certificates of a configuration; each file is parsed again when it has changed. Blocks for small reads."""

    def __init__(self, config: Config) -> None:
        """There are none without the library that reads them, which the extras `evidence` and `encryption` bring."""
        named = [(key, path) for key, path in files.named(config) if key.rpartition(".")[2] in KINDS]
        self._watched = list(_watched(named)) if named and _can_parse() else []

    def read(self) -> list[Expiry]:
        """The earliest end in each file. A file that no longer parses keeps what it last said."""
        for _, file in self._watched:
            file.changed()
        return [Expiry(key, file.get()) for key, file in self._watched]


def _watched(named: list[tuple[str, Path]]) -> Iterator[tuple[str, WatchedFile[float]]]:
    for key, path in named:
        try:
            yield key, WatchedFile(path, earliest_end)
        except UnreadableFileError:  # whoever uses the file refuses to start, with better words
            continue


def earliest_end(pem: bytes) -> float:
    """Of all certificates in a PEM file, the end of the one that ends first. Raises ValueError."""
    from cryptography import x509  # noqa: PLC0415 - 10 MiB that a sink without TLS need not carry

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd serial numbers in old CAs are nobody's problem here
        return min(certificate.not_valid_after_utc.timestamp() for certificate in x509.load_pem_x509_certificates(pem))


def _can_parse() -> bool:
    try:
        import cryptography  # noqa: F401, PLC0415 - asked for, not used
    except ModuleNotFoundError:
        return False
    return True

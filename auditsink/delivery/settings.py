"""What destinations share in reading their settings: where a key stands, secrets that may change, packing, URLs."""

import logging
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from auditsink.common.secret import Secret, UnreadableFileError, WatchedFile, header_safe, parse_secret
from auditsink.config import DestinationSection as Section
from auditsink.config import HttpAuth, Proxy
from auditsink.delivery.destination import DestinationError, Limits

_log = logging.getLogger(__name__)


def key(config: Section, name: str) -> str:
    """The path of a key as operators know it: `destinations[siem].token_file`.

    A section that stands elsewhere and is read as a destination's has its path for a name: `spool.backup`.
    """
    return f"{config.name}.{name}" if "." in config.name else f"destinations[{config.name}].{name}"


def limits(config: Section, default: Limits) -> Limits:
    """What the file says about packing, and the destination type's own default for the rest."""
    packing = config.batch
    return Limits(
        max_bytes=default.max_bytes if packing.max_bytes is None else packing.max_bytes,
        max_events=default.max_events if packing.max_events is None else packing.max_events,
        max_wait=default.max_wait if packing.max_wait is None else packing.max_wait,
        in_flight=default.in_flight if config.in_flight is None else config.in_flight,
    )


def checked_url(where: str, url: str) -> str:
    """The URL, if it can be posted to and holds no credentials. The error does not repeat it: it may hold some."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and url.isascii()
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise DestinationError(f"{where}: is no URL; write http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise DestinationError(f"{where}: holds credentials; take them out, they belong into their own keys")
    return url


class Credential:
    """A secret from the file's own text or from a file of its own, which is looked at each time it is asked for."""

    def __init__(self, where: str, inline: Secret | None, file: Path | None, *, header_safe: bool) -> None:
        """Raises DestinationError. `where` is the key's path; the file's key is the same with `_file`."""
        self._where = where if inline is not None else f"{where}_file"
        self._header_safe = header_safe
        self._complained: str | None = None
        try:
            self._inline = None if inline is None else self._checked(inline)
            self._file = None if file is None or inline is not None else WatchedFile(file, self._parse)
        except (ValueError, UnreadableFileError) as problem:
            raise DestinationError(f"{self._where}: {problem}") from None
        if self._inline is None and self._file is None:
            raise DestinationError(f"{self._where}: is missing; name a file that holds the secret")

    def reveal(self) -> str:
        """The secret of this moment. A file that has become unreadable keeps its last good value, logged once."""
        if self._file is None:
            assert self._inline is not None
            return self._inline.reveal()
        self._file.changed()
        if self._file.error and self._file.error != self._complained:
            _log.warning("%s: %s; the last good value stays in use", self._where, self._file.error)
        self._complained = self._file.error
        return self._file.get().reveal()

    def _parse(self, content: bytes) -> Secret:
        return self._checked(parse_secret(content))

    def _checked(self, secret: Secret) -> Secret:
        return header_safe(secret) if self._header_safe else secret


def basic(section: HttpAuth | Proxy, where: str) -> Callable[[], str] | None:
    """What makes the value of a header from a section's name and password (RFC 7617). Raises DestinationError."""
    if section.username is None:
        return None
    password = Credential(f"{where}.password", section.password, section.password_file, header_safe=False)
    return lambda: f"Basic {b64encode(f'{section.username}:{password.reveal()}'.encode()).decode()}"

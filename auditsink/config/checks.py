"""What several sections ask of a value: each yields `(key, sentence)` for what is wrong, and never shows the value."""

from urllib.parse import urlsplit

from auditsink.common.listen import Address, parse_address
from auditsink.config.section import Broken


def whole(key: str, value: int, least: int, most: int) -> Broken:
    """A whole number within bounds."""
    if not least <= value <= most:
        yield key, f"must be from {least:,} to {most:,}"


def positive(key: str, value: float) -> Broken:
    """A number that is more than 0."""
    if value <= 0:
        yield key, "must be more than 0"


def not_both(section: object, value: str, file: str) -> Broken:
    """A secret stands in the file itself or in one of its own."""
    if given(section, value) and given(section, file):
        yield value, f"stands beside {file}; remove one of the two"


def given(section: object, key: str) -> bool:
    """Whether a key has a value."""
    return getattr(section, key) is not None


def address(key: str, text: str) -> Broken:
    """A text of the form `host:port`."""
    try:
        parse_address(text)
    except ValueError as problem:
        yield key, str(problem)


def url(key: str, value: str, *, tls: bool) -> Broken:
    """Something that can be posted to, without credentials. `tls`: settings for it stand beside."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and value.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in value:
        yield key, "is no URL; write http:// or https:// and a host"
    elif parts.username or parts.password:
        yield key, "holds credentials; take them out, they belong into their own keys"
    elif parts.fragment:
        yield key, "holds a fragment (#...); take it out"
    elif parts.scheme == "http" and tls:
        yield "tls", f"has no effect on an http:// {key}; write https:// or remove tls"


def origin(url: str) -> str:
    """Scheme and host for a person to read: path and query may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def in_the_clear(url: str) -> bool:
    """Whether what is sent there can be read on the way: plain HTTP beyond this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not Address(parts.hostname or "", 0).loopback

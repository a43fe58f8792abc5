"""The rules for what speaks HTTP to a destination: headers, credentials, a proxy, the formats' own sections."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from auditsink import config
from auditsink.load.checks import Broken, given, not_both, url

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_OUR_HEADERS = {
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "proxy-authorization",
    "transfer-encoding",
}
_FORMATS = ("elasticsearch", "loki", "otlp", "meilisearch")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# What Elasticsearch allows, without what begins a system index; what Meilisearch allows.
_INDEX = re.compile(r"(?![-_+.])(?:[^A-Z\\/*?\"<>|\s,#:{}]|\{cluster\}|\{date\})+\Z")
_INDEX_UID = re.compile(r"(?:[A-Za-z0-9_-]|\{cluster\})+\Z")
_PROXY = re.compile(r"http://[^/?]+/?\Z")
_LONGEST_INDEX = 128  # characters: Elasticsearch allows 255 bytes, and a cluster's name takes up to 63


def _http(section: config.HttpConfig) -> Broken:
    yield from url("url", section.url, section.tls)
    for name, value in section.headers.items():
        where = f"headers.{name}"
        if not _HEADER.match(name) or not value.isprintable():
            yield where, "is no header; a name is letters, digits and dashes, a value is one line"
        elif name.lower() in _OUR_HEADERS:
            yield where, "is set by the sink itself; for credentials write auth"
    for name in _FORMATS:
        if given(section, name) and section.format != name:
            yield name, f"has no effect with format {section.format}; write format: {name} or remove it"


def _http_auth(section: config.HttpAuth) -> Broken:
    yield from not_both(section, "bearer", "bearer_file")
    yield from _name_and_password(section)
    if not _HEADER.match(section.scheme):
        yield "scheme", "is no word that can stand before a token; write Bearer, ApiKey or the like"
    ways = {
        "bearer": given(section, "bearer") or given(section, "bearer_file"),
        "username": bool(section.username),
        "oauth2": section.oauth2 is not None,
    }
    first, *others = [way for way, used in ways.items() if used] or [""]
    for other in others:
        yield other, f"contradicts {first}: show one credential; remove one of the two"


def _oauth2(section: config.OAuth2) -> Broken:
    yield from url("token_url", section.token_url, section.tls)
    yield from not_both(section, "client_secret", "client_secret_file")
    if not given(section, "client_secret") and not given(section, "client_secret_file"):
        yield "client_secret_file", "is missing; name a file that holds the secret (or set client_secret)"
    if not section.client_id:
        yield "client_id", "is empty; write the id that the token server knows"


def _proxy(section: config.Proxy) -> Broken:
    mistakes = [*url("url", section.url, config.ClientTls())]
    yield from mistakes
    if not mistakes and not _PROXY.match(section.url):
        yield "url", "has a path or is not http; write http://, a host and a port"
    yield from _name_and_password(section)


def _name_and_password(section: config.HttpAuth | config.Proxy) -> Broken:
    yield from not_both(section, "password", "password_file")
    has_password = given(section, "password") or given(section, "password_file")
    if section.username and not has_password:
        yield "password_file", "is missing; username needs it (or password)"
    if has_password and not section.username:
        yield "username", "is missing; a password needs it"
    if section.username and ":" in section.username:
        yield "username", "holds a colon, which ends a user name on the wire (RFC 7617); no server can tell them apart"


def _elasticsearch(section: config.Elasticsearch) -> Broken:
    if not _INDEX.match(section.index) or len(section.index) > _LONGEST_INDEX:
        yield "index", "write lower-case letters, digits, dots, dashes, underscores, {cluster} and {date}"
    yield from _templates("fields", section.fields)
    if "@timestamp" in section.fields or "kubernetes.audit" in section.fields:
        yield "fields", "must not hold @timestamp or kubernetes.audit; those are the event's"


def _loki(section: config.Loki) -> Broken:
    if not section.labels:
        yield "labels", "is empty; a stream needs at least one"
    for name in section.labels:
        if not _LABEL.match(name):
            yield f"labels.{name}", "is no label; write letters, digits and underscores, and no digit first"
    yield from _templates("labels", section.labels)


def _otlp(section: config.Otlp) -> Broken:
    yield from _templates("resource", section.resource)


def _meilisearch(section: config.Meilisearch) -> Broken:
    if not _INDEX_UID.match(section.index) or len(section.index) > _LONGEST_INDEX:
        yield "index", "write letters, digits, dashes, underscores and {cluster}"


def _templates(key: str, values: Mapping[str, str]) -> Broken:
    for name, value in values.items():
        if re.search(r"[{}]", value.replace("{cluster}", "")):
            yield f"{key}.{name}", "has a {...} that is not known; {cluster} is"


RULES: dict[type, Callable[[Any], Broken]] = {
    config.HttpConfig: _http,
    config.HttpAuth: _http_auth,
    config.OAuth2: _oauth2,
    config.Proxy: _proxy,
    config.Elasticsearch: _elasticsearch,
    config.Loki: _loki,
    config.Otlp: _otlp,
    config.Meilisearch: _meilisearch,
}

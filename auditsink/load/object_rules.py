"""What makes sense in a destination that is an object store. Each rule yields `(key, sentence)`."""

import re
from collections.abc import Callable
from typing import Any

from auditsink import config
from auditsink.load.checks import Broken, given, not_both, url

_PREFIX = re.compile(r"(?:[A-Za-z0-9!_.*'()=,@ -]|\{cluster\}|\{date\}|\{hour\}|/)+\Z")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}\Z")


def _objects(section: config.ObjectConfig) -> Broken:
    parts = section.prefix.split("/")
    if not _PREFIX.match(section.prefix) or any(part in ("", ".", "..") for part in parts):
        yield "prefix", "write parts between single slashes, with {cluster}, {date} or {hour} where they shall stand"
    elif "{cluster}" not in section.prefix:
        yield "prefix", "lacks {cluster}: each cluster's events count from 0, and one's objects could replace another's"


def _s3(section: config.S3Config) -> Broken:
    yield from _named("bucket", section.bucket)
    yield from _endpoint(section.endpoint)
    yield from not_both(section, "secret_access_key", "secret_access_key_file")
    has_secret = given(section, "secret_access_key") or given(section, "secret_access_key_file")
    if section.access_key_id and not has_secret:
        yield "secret_access_key_file", "is missing; access_key_id needs it"
    if has_secret and not section.access_key_id:
        yield "access_key_id", "is missing; its secret stands here"
    if section.kms_key_id and section.encryption not in ("aws:kms", "aws:kms:dsse"):
        yield "kms_key_id", "needs encryption: aws:kms (or aws:kms:dsse) beside it"


def _gcs(section: config.GcsConfig) -> Broken:
    yield from _named("bucket", section.bucket)
    yield from _endpoint(section.endpoint)


def _azure(section: config.AzureConfig) -> Broken:
    yield from _named("container", section.container)
    yield from _endpoint(section.endpoint)
    yield from not_both(section, "access_key", "access_key_file")


def _named(key: str, name: str) -> Broken:
    if not _BUCKET.match(name):
        yield key, "is no name of one; write it without s3:// and without a path"


def _endpoint(endpoint: str | None) -> Broken:
    if endpoint is not None:
        yield from url("endpoint", endpoint, config.ClientTls())


RULES: dict[type, Callable[[Any], Broken]] = {
    config.ObjectConfig: _objects,
    config.S3Config: _s3,
    config.GcsConfig: _gcs,
    config.AzureConfig: _azure,
}

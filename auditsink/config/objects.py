"""`type: s3`, `gcs`, `azure`, `local`: object stores; see docs/objects.md. What is left out is the environment's."""

import re
from pathlib import Path
from typing import ClassVar, Literal

from auditsink.common.secret import Secret
from auditsink.config.checks import given, in_the_clear, not_both, origin, url
from auditsink.config.destination import LabelledSection
from auditsink.config.section import Broken

_PREFIX = re.compile(r"(?:[A-Za-z0-9!_.*'()=,@ -]|\{cluster\}|\{date\}|\{hour\}|/)+\Z")
_KEY_FORMAT = re.compile(r"(?:[A-Za-z0-9!_.*'()=,@ /-]|%[YmdHMSyjeBbAaZz%]|\$UUID|\$TAG(?:\[[0-9]\])?)+\Z")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}\Z")


class ObjectConfig(LabelledSection, frozen=True, kw_only=True):
    """What all of them share: an object is a batch as NDJSON, compressed."""

    IMPLEMENTATION: ClassVar[str] = "auditsink.destinations.objects:ObjectDestination"
    LISTS: ClassVar[bool] = True
    EXTRA: ClassVar[str] = "objectstore"

    prefix: str = "audit/{cluster}/{date}"  # and {hour}: UTC, of when the first event was accepted
    compression: Literal["zstd", "gzip", "none"] = "zstd"

    def broken(self) -> Broken:
        """See `Section.broken`."""
        parts = self.prefix.split("/")
        if not _PREFIX.match(self.prefix) or any(part in ("", ".", "..") for part in parts):
            yield (
                "prefix",
                "write parts between single slashes, with {cluster}, {date} or {hour} where they shall stand",
            )
        elif "{cluster}" not in self.prefix:
            yield (
                "prefix",
                "lacks {cluster}: each cluster's events count from 0, and one's objects could replace another's",
            )
        yield from super().broken()

    def _describe(self, where: str) -> str:
        return f"objects {where}, as {self.prefix}/..."


def _broken_bucket(key: str, name: str, endpoint: str | None, *, shortest: int = 2) -> Broken:
    if not _BUCKET.match(name) and not (len(name) == shortest == 1 and name.isalnum()):
        yield key, "is no name of one; write it without s3:// and without a path"
    if endpoint is not None:
        yield from url("endpoint", endpoint, tls=False)


def _endpoint_risks(endpoint: str | None) -> Broken:
    if endpoint is not None and in_the_clear(endpoint):
        yield "endpoint", "is plain http: events travel in the clear; use https"


class S3Config(ObjectConfig, frozen=True, kw_only=True, tag="s3"):
    """Amazon S3, and what speaks its protocol."""

    bucket: str
    key_format: str | None = None  # instead of prefix and our names: strftime in UTC, $UUID, $TAG, $TAG[0] to $TAG[9]
    tag: str = "audit"  # what $TAG stands for
    tag_delimiters: str = "."  # what $TAG[n] is parted at
    region: str | None = None
    endpoint: str | None = None
    path_style: bool = True
    access_key_id: str | None = None  # neither: AWS_*, web identity, container or instance role
    secret_access_key: Secret | None = None
    secret_access_key_file: Path | None = None
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    kms_key_id: str | None = None
    storage_class: str | None = None
    checksum: Literal["sha256", "none"] = "sha256"  # none: for a store that refuses it
    ca_file: Path | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from _broken_bucket("bucket", self.bucket, self.endpoint, shortest=1)  # stores of others are less strict
        if self.key_format is not None:
            parts = self.key_format.strip("/").split("/")
            if not _KEY_FORMAT.match(self.key_format) or any(part in ("", ".", "..") for part in parts):
                yield "key_format", "write parts between single slashes, of text, %Y %m %d %H %M %S, $UUID and $TAG"
        if not self.tag_delimiters:
            yield "tag_delimiters", "is empty; write the characters that the tag is parted at"
        yield from not_both(self, "secret_access_key", "secret_access_key_file")
        has_secret = given(self, "secret_access_key") or given(self, "secret_access_key_file")
        if self.access_key_id and not has_secret:
            yield "secret_access_key_file", "is missing; access_key_id needs it"
        if has_secret and not self.access_key_id:
            yield "access_key_id", "is missing; its secret stands here"
        if self.kms_key_id and self.encryption not in ("aws:kms", "aws:kms:dsse"):
            yield "kms_key_id", "needs encryption: aws:kms (or aws:kms:dsse) beside it"
        yield from super().broken()

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        store = origin(self.endpoint) if self.endpoint else "Amazon S3"
        where = f"in the bucket {self.bucket} of {store}"
        return self._describe(where) if self.key_format is None else f"objects {where}, as {self.key_format}"

    def risks(self) -> Broken:
        """See `DestinationSection.risks`."""
        return _endpoint_risks(self.endpoint)


class GcsConfig(ObjectConfig, frozen=True, kw_only=True, tag="gcs"):
    """A bucket of Google Cloud Storage."""

    bucket: str
    endpoint: str | None = None
    service_account_file: Path | None = None  # none: GOOGLE_*, the machine's own account
    ca_file: Path | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from _broken_bucket("bucket", self.bucket, self.endpoint)
        yield from super().broken()

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        store = origin(self.endpoint) if self.endpoint else "Google Cloud Storage"
        return self._describe(f"in the bucket {self.bucket} of {store}")

    def risks(self) -> Broken:
        """See `DestinationSection.risks`."""
        return _endpoint_risks(self.endpoint)


class AzureConfig(ObjectConfig, frozen=True, kw_only=True, tag="azure"):
    """A container of Azure Blob Storage."""

    account: str
    container: str
    endpoint: str | None = None
    access_key: Secret | None = None  # none: AZURE_*, workload or managed identity
    access_key_file: Path | None = None
    ca_file: Path | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from _broken_bucket("container", self.container, self.endpoint)
        yield from not_both(self, "access_key", "access_key_file")
        yield from super().broken()

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        store = origin(self.endpoint) if self.endpoint else "Azure"
        return self._describe(f"in {self.account}/{self.container} of {store}")

    def risks(self) -> Broken:
        """See `DestinationSection.risks`."""
        return _endpoint_risks(self.endpoint)


class LocalConfig(ObjectConfig, frozen=True, kw_only=True, tag="local"):
    """The same objects as files below a directory."""

    path: Path

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        return self._describe(f"as files in {self.path}")

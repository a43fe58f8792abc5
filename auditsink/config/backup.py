"""`spool.backup`: the copy of the rings in an object store; see docs/backup.md. Absent: there is none."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from auditsink.common.secret import Secret
from auditsink.common.units import Duration
from auditsink.config.objects import AzureConfig, GcsConfig, LocalConfig, S3Config
from auditsink.config.section import Broken, Section

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=,@-]+(?:/[A-Za-z0-9!_.*'()=,@-]+)*\Z")


PLACE = "spool.backup"
"""Where the section stands in the file."""


class BackupSection(Section, frozen=True, kw_only=True, tag_field="type"):
    """What the types of store share. `objects()`: the same store as an object destination would name it."""

    STORE: ClassVar[type[S3Config | GcsConfig | AzureConfig | LocalConfig]]

    name: str = "auditsink"  # of this sink: a start on an empty directory restores the copy of this name
    prefix: str = "auditsink-backup"
    every: Duration = Duration(10)
    keep: Duration = Duration(3600)  # what every destination has had for so long is deleted there
    at_start: Literal["refuse", "start_empty"] = "refuse"  # the directory is empty and the store is away
    timeout: Duration = Duration(30)

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if not _NAME.match(self.name):
            yield "name", "write 1 to 63 of a-z, A-Z, 0-9, ., _ and -, beginning with a letter or a digit"
        if not _PREFIX.match(self.prefix) or any(part in (".", "..") for part in self.prefix.split("/")):
            yield "prefix", "write parts between single slashes"
        if not 1 <= self.every <= 3600:
            yield "every", "must be from 1s to 1h: what is younger goes with the disk"
        if not 1 <= self.timeout <= 600:
            yield "timeout", "must be from 1s to 10m"
        theirs = ("name", "prefix", "timeout")
        yield from ((key, why) for key, why in self.objects().broken() if key not in theirs)

    def objects(self) -> S3Config | GcsConfig | AzureConfig | LocalConfig:
        """The store, in the words of the destinations that write to it: a type's own keys are called the same there."""
        own = {key: getattr(self, key) for key in self.__struct_fields__ if key not in BackupSection.__struct_fields__}
        return self.STORE(name=PLACE, prefix="{cluster}", timeout=self.timeout, **own)

    @property
    def where(self) -> str:
        """The place, for people."""
        return self.objects().describe().removeprefix("objects ").rpartition(", as ")[0]

    @property
    def root(self) -> str:
        """Below which all objects of this sink lie."""
        return f"{self.prefix}/{self.name}"

    @property
    def lease_seconds(self) -> float:
        """For how long a sink that says nothing may still be there."""
        return max(3.0 * self.every, 5.0)

    def plan(self) -> Iterator[str]:
        """What is copied, a sentence each."""
        yield (
            f"copies the rings every {self.every} to {self.root} {self.where}; what every destination has is deleted "
            f"there after {self.keep}"
        )
        empty = "it does not start" if self.at_start == "refuse" else "it starts empty"
        yield f"restores that copy into an empty spool.path; while the store is away, {empty}"

    def risks(self, *, encrypted: bool) -> Broken:
        """What an operator should know before relying on it."""
        yield from self.objects().risks()
        if not encrypted:
            yield "prefix", "holds events that whoever reads the store can read; set spool.encryption to encrypt them"
        if self.at_start == "start_empty":
            yield "at_start", "start_empty leaves the copy to a person when the store is away at the start"


class S3Backup(BackupSection, frozen=True, kw_only=True, tag="s3"):
    """Amazon S3, and what speaks its protocol with conditional writes."""

    STORE = S3Config

    bucket: str
    region: str | None = None
    endpoint: str | None = None
    path_style: bool = True
    access_key_id: str | None = None  # neither: AWS_*, web identity, container or instance role
    secret_access_key: Secret | None = None
    secret_access_key_file: Path | None = None
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    kms_key_id: str | None = None
    checksum: Literal["sha256", "none"] = "sha256"  # none: for a store that refuses it
    ca_file: Path | None = None


class GcsBackup(BackupSection, frozen=True, kw_only=True, tag="gcs"):
    """A bucket of Google Cloud Storage."""

    STORE = GcsConfig

    bucket: str
    service_account_file: Path | None = None
    endpoint: str | None = None
    ca_file: Path | None = None


class AzureBackup(BackupSection, frozen=True, kw_only=True, tag="azure"):
    """A container of Azure Blob Storage."""

    STORE = AzureConfig

    account: str
    container: str
    access_key: Secret | None = None
    access_key_file: Path | None = None
    endpoint: str | None = None
    ca_file: Path | None = None


class LocalBackup(BackupSection, frozen=True, kw_only=True, tag="local"):
    """A directory, on another disk or another machine's."""

    STORE = LocalConfig

    path: Path


Backup = S3Backup | GcsBackup | AzureBackup | LocalBackup

"""Destinations that are object stores; see docs/objects.md. What is left out is taken from the environment."""

from pathlib import Path
from typing import Literal

from auditsink.common.secret import Secret
from auditsink.config.destination import DestinationSection


class ObjectConfig(DestinationSection, frozen=True, kw_only=True):
    """What all of them share: an object is a batch as NDJSON, compressed."""

    prefix: str = "audit/{cluster}/{date}"  # and {hour}: UTC, of when the first event was accepted
    compression: Literal["zstd", "gzip"] = "zstd"


class S3Config(ObjectConfig, frozen=True, kw_only=True, tag="s3"):
    """Amazon S3, and what speaks its protocol."""

    bucket: str
    region: str | None = None
    endpoint: str | None = None
    path_style: bool = True
    access_key_id: str | None = None  # neither: AWS_*, web identity, container or instance role
    secret_access_key: Secret | None = None
    secret_access_key_file: Path | None = None
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    kms_key_id: str | None = None
    storage_class: str | None = None
    ca_file: Path | None = None


class GcsConfig(ObjectConfig, frozen=True, kw_only=True, tag="gcs"):
    """Google Cloud Storage."""

    bucket: str
    endpoint: str | None = None
    service_account_file: Path | None = None  # none: GOOGLE_*, the machine's own account
    ca_file: Path | None = None


class AzureConfig(ObjectConfig, frozen=True, kw_only=True, tag="azure"):
    """Azure Blob Storage."""

    account: str
    container: str
    endpoint: str | None = None
    access_key: Secret | None = None  # none: AZURE_*, workload or managed identity
    access_key_file: Path | None = None
    ca_file: Path | None = None


class LocalConfig(ObjectConfig, frozen=True, kw_only=True, tag="local"):
    """The same objects as files below a directory."""

    path: Path

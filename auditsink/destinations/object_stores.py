"""From a section to obstore's client for that store. No request is made here; retries are the forwarder's."""

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from auditsink.config import AzureConfig, GcsConfig, LocalConfig, ObjectConfig, S3Config
from auditsink.delivery.destination import DestinationError
from auditsink.delivery.settings import Credential, checked_url, key

_NO_RETRIES: Any = {"max_retries": 0}
_KEYS_LIVE = timedelta(seconds=60)
"""After which the secret's file is looked at again."""


def store(config: ObjectConfig) -> ObjectStore:
    """The client. Raises DestinationError for settings that it refuses, and for files that cannot be read."""
    try:
        return _BUILDERS[type(config)](config)
    except (BaseError, ValueError, OSError):
        # Its text is not repeated: it quotes what it was given.
        raise DestinationError(
            f"{key(config, 'type')}: the store's client refuses these settings; check each"
        ) from None


def _s3(config: S3Config) -> ObjectStore:
    given = {
        "region": config.region,
        "endpoint": _endpoint(config, config.endpoint),
        "virtual_hosted_style_request": not config.path_style,
        "server_side_encryption": config.encryption,
        "sse_kms_key_id": config.kms_key_id,
    }
    more: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if config.access_key_id is not None:
        more["credential_provider"] = _keys(config, config.access_key_id)
    return S3Store(config.bucket, client_options=_client(config, config.endpoint), retry_config=_NO_RETRIES, **more)


def _keys(config: S3Config, key_id: str) -> Callable[[], Any]:
    where = key(config, "secret_access_key")
    secret = Credential(where, config.secret_access_key, config.secret_access_key_file, header_safe=False)
    return lambda: {
        "access_key_id": key_id,
        "secret_access_key": secret.reveal(),
        "expires_at": datetime.now(UTC) + _KEYS_LIVE,
    }


def _gcs(config: GcsConfig) -> ObjectStore:
    more: dict[str, Any] = {}
    if config.service_account_file is not None:
        more["service_account"] = str(config.service_account_file)
    if config.endpoint is not None:
        more["base_url"] = _endpoint(config, config.endpoint)
    return GCSStore(config.bucket, client_options=_client(config, config.endpoint), retry_config=_NO_RETRIES, **more)


def _azure(config: AzureConfig) -> ObjectStore:
    more: dict[str, Any] = {"account_name": config.account}
    if config.endpoint is not None:
        more["endpoint"] = _endpoint(config, config.endpoint)
    if config.access_key is not None or config.access_key_file is not None:
        access = Credential(key(config, "access_key"), config.access_key, config.access_key_file, header_safe=False)
        more["credential_provider"] = lambda: {
            "access_key": access.reveal(),
            "expires_at": datetime.now(UTC) + _KEYS_LIVE,
        }
    options = _client(config, config.endpoint)
    return AzureStore(config.container, client_options=options, retry_config=_NO_RETRIES, **more)


def _local(config: LocalConfig) -> ObjectStore:
    try:
        return LocalStore(config.path, mkdir=True)
    except (BaseError, OSError) as problem:
        why = problem.strerror if isinstance(problem, OSError) and problem.strerror else "cannot be made or written to"
        raise DestinationError(
            f"{key(config, 'path')}: {config.path}: {why}; check the path and its permissions"
        ) from None


_BUILDERS: Mapping[type, Callable[[Any], ObjectStore]] = {
    S3Config: _s3,
    GcsConfig: _gcs,
    AzureConfig: _azure,
    LocalConfig: _local,
}


def _endpoint(config: ObjectConfig, url: str | None) -> str | None:
    return None if url is None else checked_url(key(config, "endpoint"), url).rstrip("/")


def _client(config: S3Config | GcsConfig | AzureConfig, endpoint: str | None) -> Any:
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=config.timeout),
        "allow_http": endpoint is not None and urlsplit(endpoint).scheme == "http",
    }
    if config.ca_file is not None:
        options["root_certificate"] = _content(key(config, "ca_file"), config.ca_file)
    return options


def _content(where: str, path: Path) -> bytes:
    content = b""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise DestinationError(f"{where}: {path}: holds no readable certificate (PEM); check the path and the content")
    return content

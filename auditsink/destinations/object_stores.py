"""From a section to obstore's client for that store. No request is made here; retries are the forwarder's."""

import asyncio
import logging
import os
import random as random_module
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from auditsink.common.resolver import LookUpError
from auditsink.common.secret import UnreadableFileError, WatchedFile
from auditsink.config import AzureConfig, GcsConfig, LocalConfig, ObjectConfig, S3Config
from auditsink.delivery.destination import DestinationError, UnavailableError
from auditsink.delivery.settings import Credential, checked_url, key
from auditsink.http.client import lifetime

_log = logging.getLogger(__name__)

_Contents = Mapping[str, bytes]
"""Of the files that the client is made from, by key."""

_NO_RETRIES: Any = {"max_retries": 0}
_KEYS_LIVE = timedelta(seconds=60)
"""After which the secret's file is looked at again."""


class StoreClient:
    """obstore's client for one destination, made anew when a file that it was made from has changed.

    Also every few minutes: it keeps its connections for as long as they are in use, and would never see that the
    store's name has other addresses by now.
    """

    def __init__(
        self,
        config: ObjectConfig,
        *,
        now: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """Raises DestinationError for settings that the client refuses, and for files that cannot be read."""
        self._config = config
        self._now = now
        self._random = random
        self._files = {name: _watched(config, name, path) for name, path in _named(config)}
        self._secret = _secret(config)
        self._complained: str | None = None
        self._stale = False
        self._store = self._made()

    def __repr__(self) -> str:
        return f"<StoreClient {self._config.name}>"

    def store(self) -> ObjectStore:
        """For the next request. Blocks for a look at the files."""
        changed = [file.changed() for file in self._files.values()]
        self._stale = self._stale or any(changed) or self._now() >= self._renew_at
        problems = [f"{key(self._config, name)}: {file.error}" for name, file in self._files.items() if file.error]
        if self._stale:
            try:
                self._store = self._made()
            except DestinationError as problem:
                problems.append(str(problem))
        said = problems[0] if problems else None
        if said is not None and said != self._complained:
            _log.warning("%s; the last good files stay in use", said)
        self._complained = said
        return self._store

    def _made(self) -> ObjectStore:
        contents = {name: file.get() for name, file in self._files.items()}
        try:
            made = _BUILDERS[type(self._config)](self._config, contents, self._secret)
        except (BaseError, ValueError, OSError):
            # Its text is not repeated: it quotes what it was given.
            raise DestinationError(
                f"{key(self._config, 'type')}: the store's client refuses these settings; check each"
            ) from None
        self._stale = False
        self._renew_at = self._now() + lifetime(self._random)
        return made


def host(config: ObjectConfig) -> tuple[str, int] | None:
    """Whose name is looked up for a request; None where that is nobody's, or not known from the configuration."""
    match config:
        case S3Config(endpoint=None, region=str(region), bucket=bucket, path_style=path_style):
            return f"{'' if path_style else f'{bucket}.'}s3.{region}.amazonaws.com", 443
        case GcsConfig(endpoint=None):
            return "storage.googleapis.com", 443
        case AzureConfig(endpoint=None, account=account):
            return f"{account}.blob.core.windows.net", 443
        case S3Config(endpoint=str(url)) | GcsConfig(endpoint=str(url)) | AzureConfig(endpoint=str(url)):
            parts = urlsplit(url)
            return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        case _:
            return None


async def looked_up(name: tuple[str, int] | None) -> None:
    """Raise LookUpError when a store's name (as `host` has it) cannot be looked up because that hangs.

    obstore does it on threads of its own, which all its stores share; it is asked only when ours came back. Other
    failures are left to it: behind a proxy the name may be nobody's business here.
    """
    if name is not None:
        try:
            await asyncio.get_running_loop().getaddrinfo(*name)
        except LookUpError:
            raise
        except OSError:
            return


def _s3(config: S3Config, contents: _Contents, secret: Credential | None) -> ObjectStore:
    given = {
        "region": config.region,
        "endpoint": _endpoint(config, config.endpoint),
        "virtual_hosted_style_request": not config.path_style,
        "server_side_encryption": config.encryption,
        "sse_kms_key_id": config.kms_key_id,
        # A bucket with a default retention (Object Lock) takes no object without a checksum in its header.
        "checksum_algorithm": None if config.checksum == "none" else config.checksum.upper(),
    }
    more: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if config.access_key_id is not None and secret is not None:
        more["credential_provider"] = _keys(config.access_key_id, secret)
    options = _client(config, config.endpoint, contents)
    return S3Store(config.bucket, client_options=options, retry_config=_NO_RETRIES, **more)


def _keys(key_id: str, secret: Credential) -> Callable[[], Any]:
    return lambda: {
        "access_key_id": key_id,
        "secret_access_key": secret.reveal(),
        "expires_at": datetime.now(UTC) + _KEYS_LIVE,
    }


def _gcs(config: GcsConfig, contents: _Contents, _: Credential | None) -> ObjectStore:
    more: dict[str, Any] = {}
    if config.service_account_file is not None:
        more["service_account_key"] = contents["service_account_file"].decode()
    if config.endpoint is not None:
        more["base_url"] = _endpoint(config, config.endpoint)
    options = _client(config, config.endpoint, contents)
    return GCSStore(config.bucket, client_options=options, retry_config=_NO_RETRIES, **more)


def _azure(config: AzureConfig, contents: _Contents, access: Credential | None) -> ObjectStore:
    more: dict[str, Any] = {"account_name": config.account}
    if config.endpoint is not None:
        more["endpoint"] = _endpoint(config, config.endpoint)
    if access is not None:
        more["credential_provider"] = lambda: {
            "access_key": access.reveal(),
            "expires_at": datetime.now(UTC) + _KEYS_LIVE,
        }
    options = _client(config, config.endpoint, contents)
    return AzureStore(config.container, client_options=options, retry_config=_NO_RETRIES, **more)


def _local(config: LocalConfig, _contents: _Contents, _: Credential | None) -> ObjectStore:
    try:
        return LocalStore(config.path, mkdir=True)
    except (BaseError, OSError) as problem:
        why = problem.strerror if isinstance(problem, OSError) and problem.strerror else "cannot be made or written to"
        raise UnavailableError(
            f"{key(config, 'path')}: {config.path}: {why}; check the path and its permissions"
        ) from None


_BUILDERS: Mapping[type, Callable[[Any, _Contents, Credential | None], ObjectStore]] = {
    S3Config: _s3,
    GcsConfig: _gcs,
    AzureConfig: _azure,
    LocalConfig: _local,
}


def _endpoint(config: ObjectConfig, url: str | None) -> str | None:
    return None if url is None else checked_url(key(config, "endpoint"), url).rstrip("/")


def _client(config: S3Config | GcsConfig | AzureConfig, endpoint: str | None, contents: _Contents) -> Any:
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=config.timeout),
        "allow_http": endpoint is not None and urlsplit(endpoint).scheme == "http",
    }
    if config.ca_file is not None:
        options["root_certificate"] = contents["ca_file"]
    return options


def _secret(config: ObjectConfig) -> Credential | None:
    match config:
        case S3Config(access_key_id=str()):
            where = key(config, "secret_access_key")
            return Credential(where, config.secret_access_key, config.secret_access_key_file, header_safe=False)
        case AzureConfig() if config.access_key is not None or config.access_key_file is not None:
            return Credential(key(config, "access_key"), config.access_key, config.access_key_file, header_safe=False)
        case _:
            return None


def _named(config: ObjectConfig) -> Iterator[tuple[str, Path]]:
    if isinstance(config, S3Config | GcsConfig | AzureConfig) and config.ca_file is not None:
        yield "ca_file", config.ca_file
    if isinstance(config, GcsConfig) and config.service_account_file is not None:
        yield "service_account_file", config.service_account_file


def _watched(config: ObjectConfig, name: str, path: Path) -> WatchedFile[bytes]:
    try:
        return WatchedFile(path, _PARSERS[name])
    except UnreadableFileError as problem:
        raise DestinationError(f"{key(config, name)}: {problem}") from None


def _certificates(content: bytes) -> bytes:
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ValueError("holds no certificate; write PEM into it")
    return content


def _service_account(content: bytes) -> bytes:
    try:
        found = orjson.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("is no key of a service account (JSON); download one anew")  # noqa: TRY004 - as of a file
    return content


_PARSERS: Mapping[str, Callable[[bytes], bytes]] = {
    "ca_file": _certificates,
    "service_account_file": _service_account,
}


def make_durable(directory: Path, path: str) -> None:
    """Put a file on stable storage, and the directories that lead to it. Blocks. Raises OSError."""
    place = directory / path
    for one in (place, *place.parents):
        fd = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        if one == directory:
            return

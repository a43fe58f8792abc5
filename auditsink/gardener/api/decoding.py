"""Decoding of what users wrote: strict, with the key's path, never with a value of it."""

from typing import Any, TypeVar

import msgspec
import yaml

from auditsink.gardener.api import audit_config, own_config
from auditsink.gardener.api.audit_config import AuditConfig
from auditsink.gardener.api.own_config import OwnAuditConfig
from auditsink.gardener.errors import ConfigurationError

T = TypeVar("T")
ProviderConfig = AuditConfig | OwnAuditConfig

MAX_BYTES = 2**20
"""Of one document; etcd takes no larger object."""


def provider_config(raw: Any) -> ProviderConfig:
    """An Extension's `spec.providerConfig`. None, as `autoEnable` makes it, is the default of metal-stack's group."""
    if raw is None:
        return AuditConfig()
    if not isinstance(raw, dict):
        raise ConfigurationError("providerConfig: must be an AuditConfig")
    version = raw.get("apiVersion")
    found: ProviderConfig
    if version == audit_config.API_VERSION:
        found = convert(raw, AuditConfig, "providerConfig")
    elif version == own_config.API_VERSION:
        found = convert(raw, OwnAuditConfig, "providerConfig")
    else:
        raise ConfigurationError(
            f"providerConfig.apiVersion: must be {audit_config.API_VERSION} or {own_config.API_VERSION}"
        )
    if found.kind != "AuditConfig":
        raise ConfigurationError("providerConfig.kind: must be AuditConfig")
    if mistakes := found.mistakes():
        raise ConfigurationError("; ".join(f"providerConfig.{mistake}" for mistake in mistakes))
    return found


def convert(raw: dict[str, Any], kind: type[T], name: str) -> T:
    """The mapping as `kind`. A null is as good as a key that is left out, as in Go. Raises ConfigurationError."""
    try:
        return msgspec.convert(_without_nulls(raw), kind)
    except msgspec.ValidationError as problem:
        raise ConfigurationError(f"{name}: {problem}") from None
    except RecursionError:
        raise ConfigurationError(f"{name}: is nested too deep") from None


def document(text: bytes) -> dict[str, Any]:
    """A YAML mapping. Raises ConfigurationError."""
    if len(text) > MAX_BYTES:
        raise ConfigurationError(f"configuration: has more than {MAX_BYTES} bytes")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"configuration: is no YAML{where}") from None
    if not isinstance(found, dict):
        raise ConfigurationError("configuration: must be a mapping")
    return found


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value

"""Kubernetes objects as plain mappings: what everybody here needs to read them and to write them the same each time."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

Object = dict[str, Any]
"""An object as JSON has it."""

HASH_LENGTH = 8
"""Hexadecimal digits of a digest in a name or an annotation, as Gardener has them."""


def meta(thing: Mapping[str, Any]) -> Object:
    """The metadata of an object; {} where it has none."""
    return thing.get("metadata") or {}


def annotation(thing: Mapping[str, Any], key: str) -> str | None:
    """The value, or None."""
    value = (meta(thing).get("annotations") or {}).get(key)
    return None if value is None else str(value)


def label(thing: Mapping[str, Any], key: str) -> str:
    """The value, or ""."""
    return str((meta(thing).get("labels") or {}).get(key, ""))


def at(thing: Any, *path: str) -> Any:
    """What stands at the path, or None where something on the way is missing or no mapping."""
    for key in path:
        if not isinstance(thing, Mapping):
            return None
        thing = thing.get(key)
    return thing


def data(secret: Mapping[str, Any], key: str) -> bytes:
    """One value of a Secret; b"" when it is not there."""
    return base64.b64decode((secret.get("data") or {}).get(key, ""))


def encoded(values: Mapping[str, bytes]) -> dict[str, str]:
    """The `data` of a Secret."""
    return {key: base64.b64encode(values[key]).decode() for key in sorted(values)}


def digest(value: Any, length: int = HASH_LENGTH) -> str:
    """Hexadecimal digits that stand for a value: equal for equal JSON, whatever the order of its keys."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:length]


def as_json(value: Any) -> str:
    """JSON with sorted keys: equal values give equal text."""
    return msgspec.json.encode(value, order="sorted").decode()


def as_yaml(value: Any) -> str:
    """The same as YAML, for what people read."""
    text = yaml.dump(value, Dumper=_NoAliases, sort_keys=True, default_flow_style=False, width=4096)
    assert isinstance(text, str)
    return text


class _NoAliases(yaml.SafeDumper):
    """Repeats what occurs twice: an alias would depend on which objects are the same in memory."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

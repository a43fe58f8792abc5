"""The `sink` of our own AuditConfig: references become files and variables, everything else stays as it is."""

import re
from collections.abc import Mapping
from typing import Any

from auditsink.gardener.control_plane import Reference
from auditsink.gardener.errors import ConfigurationError
from auditsink.gardener.objects import Object, data, digest
from auditsink.gardener.sink.document import strings
from auditsink.gardener.sink.plan import REFERENCES, Mounted, SecretSources, Variable

KINDS = ("ConfigMap", "Secret")
"""Of resources that can be files; a variable is out of a Secret."""
_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_KEY = r"[A-Za-z0-9._-]{1,253}"
_FILE = re.compile(rf"resource:({_NAME})/({_KEY})")
_VARIABLE = re.compile(r"(?<!\$)\$\{([^}]*)\}")


def referenced(sink: Mapping[str, Any]) -> dict[str, str]:
    """The names of resources that it refers to, each with the path of a key that does. Raises ConfigurationError."""
    found: dict[str, str] = {}
    for path, text in strings(sink, ""):
        for name, _key in _in(path, text):
            found.setdefault(name, path)
    return dict(sorted(found.items()))


def resolved(
    sink: Mapping[str, Any], references: Mapping[str, Reference], fetched: Mapping[str, Object]
) -> tuple[Object, SecretSources]:
    """The sections as the sink's file has them, and what they need. Raises ConfigurationError for a missing key."""
    source = SecretSources()
    for path, text in strings(sink, ""):
        for name, key in _in(path, text):
            reference = references[name]
            if not data(fetched[name], key):
                raise ConfigurationError(f"{path}: {reference.kind} {reference.original} has no key {key}")
            if text.startswith("resource:"):
                source += SecretSources(mounted=(Mounted(name, reference.kind, reference.name, key),))
            elif reference.kind != "Secret":
                raise ConfigurationError(f"{path}: spec.resources[{name}] is a {reference.kind}; a Secret is needed")
            else:
                source += SecretSources(variables=(Variable(_variable(name, key), reference.name, key),))
    changed = _change(sink)
    assert isinstance(changed, dict)
    return changed, source


def _in(path: str, text: str) -> list[tuple[str, str]]:
    """The references in a string, as name and key."""
    key = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
    if text.startswith("resource:"):
        match = _FILE.fullmatch(text)
        if match is None or not key.endswith("_file"):
            raise ConfigurationError(f"{path}: a reference is resource:NAME/KEY, as the value of a key ending in _file")
        return [(match[1], match[2])]
    if key.endswith("_file"):
        raise ConfigurationError(f"{path}: a pod has no such file; write resource:NAME/KEY of spec.resources")
    found = []
    for variable in _VARIABLE.findall(text):
        match = _FILE.fullmatch(variable)
        if match is None:
            raise ConfigurationError(f"{path}: a variable is ${{resource:NAME/KEY}}; write $${{ for a literal ${{")
        found.append((match[1], match[2]))
    return found


def _change(value: Any) -> Any:
    if isinstance(value, str):
        if value.startswith("resource:"):
            return f"{REFERENCES}/{value.removeprefix('resource:')}"
        return _VARIABLE.sub(
            lambda match: "${" + _variable(*match[1].removeprefix("resource:").split("/")) + "}", value
        )
    if isinstance(value, Mapping):
        return {str(key): _change(inner) for key, inner in value.items()}
    return [_change(inner) for inner in value] if isinstance(value, list) else value


def _variable(name: str, key: str) -> str:
    """A name that is one in a shell too, and another for every reference."""
    return f"RESOURCE_{digest([name, key]).upper()}"

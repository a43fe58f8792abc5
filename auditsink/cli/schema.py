"""`auditsink schema`: the JSON Schema of the configuration file, for editors and the chart, from its types.

What it refuses the loader refuses too; what only `Section.broken` knows it may let through. msgspec's own generator
knows neither our sizes and durations nor `${NAME}`, so this walks the same type information as `load.fields`. Draft 7
is what editors and helm know; patterns are of the kind that Python, JavaScript and Go agree on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import orjson
from msgspec import NODEFAULT, UNSET
from msgspec import inspect as types

from auditsink import config
from auditsink.common.cluster_name import CLUSTER
from auditsink.common.secret import Secret
from auditsink.common.units import DURATION_PATTERN, SIZE_PATTERN, Duration, Size
from auditsink.config.destination import NAME
from auditsink.config.destinations import foreign, load_foreign
from auditsink.config.filters import CODES_PATTERN
from auditsink.load.fields import PASSED_OVER
from auditsink.load.scalars import LARGEST_SIZE


@click.command("schema")
def command() -> int:
    """Print the JSON Schema of the configuration file: editors complete by it and underline mistakes.

    Most take it from the file's first line: # yaml-language-server: $schema=auditsink.schema.json. Destinations that
    other packages bring are in it. `auditsink check` knows more, and is what counts.

    \b
    Example:
      auditsink schema > auditsink.schema.json
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    try:
        others = {name: load_foreign(name) for name in foreign()}
    except ValueError as problem:
        raise click.ClickException(str(problem)) from None
    click.echo(orjson.dumps(schema(others), option=orjson.OPT_INDENT_2))
    return 0


Schema = dict[str, Any]
"""A JSON Schema, or a part of one."""

_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}
_LEAVES: dict[str, list[Schema]] = {
    "reference": [{"description": "${NAME}: what the environment says.", **_REFERENCE}],
    "boolean": [{"type": "boolean"}, _REFERENCE],
    "integer": [{"type": "integer"}, _REFERENCE],
    "size": [
        {"type": "integer", "minimum": 0, "maximum": LARGEST_SIZE},
        {"type": "string", "pattern": SIZE_PATTERN},
        _REFERENCE,
    ],
    "duration": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}, _REFERENCE],
    "path": [{"type": "string", "minLength": 1}],
    "secret": [{"type": "string", "pattern": r"\S"}],
    "codes": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": f"^({CODES_PATTERN})$"},
        _REFERENCE,
    ],
}
"""The ways to write a single value, by the name of its definition."""
_CUSTOM = {Size: "size", Duration: "duration", Path: "path", Secret: "secret", config.Codes: "codes"}


def schema(foreign: Mapping[str, type[config.DestinationSection]]) -> Schema:
    """The whole file's. `foreign`: the destinations of other packages, by their type."""
    writer = _Writer(foreign)
    whole = writer.of(types.type_info(config.Config))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The configuration of auditsink",
        "allOf": [whole],
        "definitions": {
            **{name: ways[0] if len(ways) == 1 else {"anyOf": ways} for name, ways in _LEAVES.items()},
            **dict(sorted(writer.definitions.items())),
        },
    }


class _Writer:
    def __init__(self, foreign: Mapping[str, type[config.DestinationSection]]) -> None:
        self.definitions: dict[str, Schema] = {}
        self._foreign = foreign

    def of(self, kind: types.Type, limits: Schema | None = None) -> Schema:
        """What a value of that type may be. `limits` go to the value that is written out, not to a reference."""
        match kind:
            case types.StructType():
                return self._section(kind)
            case types.UnionType():
                return self._either(kind, limits)
            case types.ListType(item_type=item):
                return {"type": "array", "items": self.of(item, (limits or {}).get("items")), **_bounds(limits)}
            case types.DictType(value_type=item):
                return {"type": "object", "additionalProperties": self.of(item)}
            case types.AnyType():
                return {}
        return _leaf(kind, limits or {})

    def _either(self, kind: types.UnionType, limits: Schema | None) -> Schema:
        others = [one for one in kind.types if not isinstance(one, types.NoneType)]
        if len(others) > 1:
            several = self._several([struct for struct in others if isinstance(struct, types.StructType)])
            return several if len(others) == len(kind.types) else {"anyOf": [several, {"type": "null"}]}
        inner = self.of(others[0], limits)
        return {"anyOf": [*inner.get("anyOf", [inner]), {"type": "null"}]}

    def _several(self, ours: list[types.StructType]) -> Schema:
        """One of several sections, told apart by `type`; an editor shows the mistakes of the one that is meant."""
        destinations = any(issubclass(struct.cls, config.DestinationSection) for struct in ours)
        theirs = [types.type_info(one) for one in self._foreign.values()] if destinations else []
        by_type = {str(one.tag): one for one in (*ours, *theirs) if isinstance(one, types.StructType)}
        named = [
            {"if": {"properties": {"type": {"const": tag}}}, "then": self.of(one)}
            for tag, one in sorted(by_type.items())
        ]
        return {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": sorted(by_type)}},
            "allOf": named,
        }

    def _section(self, kind: types.StructType) -> Schema:
        name = kind.cls.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # a section may hold itself
            self.definitions[name] = self._keys(kind)
        reference = {"$ref": f"#/definitions/{name}"}
        short = getattr(kind.cls, "SHORT_FOR", None)
        if short is None:
            return reference
        (members,) = (self.of(field.type) for field in kind.fields if field.encode_name == short)
        return {"anyOf": [reference, members]}

    def _keys(self, kind: types.StructType) -> Schema:
        limits = {key: limit for base in kind.cls.__mro__ for key, limit in _LIMITS.get(base, {}).items()}
        required = [field.encode_name for field in kind.fields if field.required]
        tag: Schema = {"type": {"const": kind.tag}} if kind.tag else {}
        keys = {
            field.encode_name: {**self.of(field.type, limits.get(field.encode_name)), **_default(field)}
            for field in kind.fields
        }
        if getattr(kind.cls, "NULL_IS_ABSENT", False):
            keys = {key: _or_null(way) for key, way in keys.items()}
        rules = [_TOGETHER[kind.cls]] if kind.cls in _TOGETHER else []
        for governed, governing in getattr(kind.cls, "UNKNOWN_KEYS", {}).items():
            # Refused unless they are passed over: then nothing can be said of the section.
            rules.append(
                {
                    "if": {"properties": {governing: {"const": "refuse"}}},
                    "then": {"properties": {governed: keys[governed]}},
                }
            )
            keys[governed] = {}
        return {
            "description": (kind.cls.__doc__ or "").split("\n\n")[0],
            "type": ["object"] if required else ["object", "null"],  # `receive:` with nothing below it is a section
            "properties": {**tag, **keys},
            **({"patternProperties": {f"^{PASSED_OVER}": {}}} if getattr(kind.cls, "ANCHORS", False) else {}),
            "additionalProperties": False,
            **({"required": required} if required else {}),
            **(rules[0] if len(rules) == 1 else {"allOf": rules} if rules else {}),
        }


def _leaf(kind: types.Type, limits: Schema) -> Schema:
    """A single value. Whatever is expected can stand in the environment instead; any text may hold a reference."""
    match kind:
        case types.LiteralType(values=values):
            return _or_reference({"enum": sorted(values)})
        case types.CustomType(cls=cls):
            return {"$ref": f"#/definitions/{_CUSTOM[cls]}"}
        case types.BoolType():
            return {"$ref": "#/definitions/boolean"}
        case types.IntType():
            return _or_reference({"type": "integer", **limits}) if limits else {"$ref": "#/definitions/integer"}
    assert isinstance(kind, types.StrType), kind
    return _or_reference({"type": "string", **limits}) if limits else {"type": "string"}


def _or_null(way: Schema) -> Schema:
    default = {key: way[key] for key in ("default",) if key in way}
    inner = {key: part for key, part in way.items() if key != "default"}
    return {"anyOf": [*inner.get("anyOf", [inner]), {"type": "null"}], **default}


def _or_reference(way: Schema) -> Schema:
    return {"anyOf": [way, {"$ref": "#/definitions/reference"}]}


def _bounds(limits: Schema | None) -> Schema:
    return {key: bound for key, bound in (limits or {}).items() if key != "items"}


def _default(field: types.Field) -> Schema:
    """The default as a person would write it; a section shows its own."""
    default = field.default_factory() if field.default_factory not in (NODEFAULT, UNSET) else field.default
    if default in (NODEFAULT, UNSET, None, [], {}) or isinstance(default, config.Section):
        return {}
    return {"default": str(default) if isinstance(default, Size | Duration | Path) else default}


def _whole(least: int, most: int) -> Schema:
    return {"minimum": least, "maximum": most}


def _text(pattern: str) -> Schema:
    return {"pattern": pattern}


def _name(pattern: str) -> Schema:
    r"""Python's `\Z`, and a match from the beginning on, in the words of others."""
    return _text("^(" + pattern.removesuffix(r"\Z") + ")$")


_ADDRESS = _text(r":[0-9]{1,5}$")
_URL = _text(r"^https?://[^\s]+$")

_LIMITS: dict[type, dict[str, Schema]] = {
    config.Receive: {
        "listen": _ADDRESS,
        "path": _text("^/.*[^/]$"),
        "cluster": _name(CLUSTER.pattern),
        "max_connections": _whole(1, 100_000),
        "max_clusters": _whole(1, 10_000),
    },
    config.Admin: {"listen": _ADDRESS},
    config.Config: {"destinations": {"minItems": 1}},
    config.Evidence: {"deliver_as": _name(CLUSTER.pattern)},
    config.Cluster: {"name": _name(CLUSTER.pattern), "destinations": {"minItems": 1}},
    config.Rate: {"events_per_second": _whole(1, 10_000_000), "burst": _whole(1, 100_000_000)},
    config.Packing: {"max_events": _whole(1, 1_000_000)},
    config.DestinationSection: {"name": _name(NAME.pattern), "in_flight": _whole(1, 64)},
    config.SplunkConfig: {"url": _URL},
    config.HttpConfig: {"url": _URL},
    config.OAuth2: {"token_url": _URL},
    config.Proxy: {"url": _text("^http://[^/?]+/?$")},
    config.KafkaConfig: {"bootstrap_servers": {"minItems": 1, "items": _ADDRESS}},
    config.FileConfig: {"keep": _whole(1, 10_000)},
    config.S3Config: {"endpoint": _URL},
    config.GcsConfig: {"endpoint": _URL},
    config.AzureConfig: {"endpoint": _URL},
    config.Policy: {"rules": {"minItems": 1}},
}
"""What a key's value is bound to, where that can be said of it alone; the sections' `broken` is what counts."""


def _given(key: str) -> Schema:
    return {"type": "object", "required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _one_of(first: str, second: str) -> Schema:
    return {"oneOf": [_given(first), _given(second)]}


def _not_both(first: str, second: str) -> Schema:
    return {"not": {"allOf": [_given(first), _given(second)]}}


_TOGETHER: dict[type, Schema] = {
    config.SplunkConfig: _one_of("token", "token_file"),
    config.OAuth2: _one_of("client_secret", "client_secret_file"),
    config.S3Config: _not_both("secret_access_key", "secret_access_key_file"),
    config.AzureConfig: _not_both("access_key", "access_key_file"),
    config.KafkaSecurity: _not_both("password", "password_file"),
    config.HttpAuth: _not_both("bearer", "bearer_file"),
    config.Proxy: _not_both("password", "password_file"),
    config.Filter: _not_both("policy", "policy_file"),
    config.ClientTls: {"if": _given("cert_file"), "then": _given("key_file"), "else": {"not": _given("key_file")}},
}
"""Which keys of a section stand together, and which do not."""

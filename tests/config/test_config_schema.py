"""The JSON Schema takes what the loader takes, and refuses nothing else than mistakes."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_config_examples import ENVIRONMENT, EXAMPLES

from auditsink import cli, load
from auditsink.cli.schema import schema
from auditsink.load import document

COMMITTED = Path(__file__).parents[2] / "config" / "auditsink.schema.json"
VALIDATOR = jsonschema.Draft7Validator(json.loads(COMMITTED.read_text()))
GOOD = """
receive: {listen: "127.0.0.1:9880", max_body: 1MiB, retry_after: 5s, tls: {cert_file: a, key_file: b}}
spool: {path: /spool, max_bytes: 1GiB}
destinations:
  - {name: siem, type: splunk, url: "https://hec:8088", token_file: t, fields: {a: b}, batch: {max_events: 10}}
  - {name: lake, type: kafka, bootstrap_servers: ["kafka:9092"], security: {mechanism: PLAIN, username: u, password: p}}
  - {name: hook, type: http, url: "https://hook", headers: {a: b}, auth: {bearer_file: b}, proxy: {url: "http://p:1"}}
  - {name: disk, type: file, path: a.ndjson, filter: {only: [{verbs: [get], resources: [{group: apps}]}]}}
  - {name: store, type: s3, bucket: audit}
clusters: [{name: shoot, token_file: t, rate: {events_per_second: 10}, labels: {a: b}}]
evidence: {path: e.ndjson, every: 60s}
admin: {listen: "127.0.0.1:2020"}
log: {level: info, format: text}
"""
MISTAKES = [
    # a key that is not one, on every level
    ("destination", []),
    ("receive.listne", "127.0.0.1:1"),
    ("receive.tls.cert", "a"),
    ("spool.maxbytes", "1GiB"),
    ("destinations.0.token_fil", "t"),
    ("destinations.0.batch.max_event", 1),
    ("destinations.1.security.user", "u"),
    ("destinations.2.auth.token", "t"),
    ("destinations.3.filter.only.0.verb", ["get"]),
    ("destinations.3.filter.only.0.resources.0.groups", "apps"),
    ("destinations.3.filter.policy", {"rules": [{"level": "None", "verb": ["get"]}]}),
    ("destinations.3.filter.policy", {"rules": [{"level": "None"}], "metadata": {"nam": None}}),
    ("destinations.3.filter.only.0.responseCodes", [600]),
    ("destinations.3.filter.only.0.responseCodes", ["4x"]),
    ("destinations.3.labels_as", "annotation"),
    ("destinations.0.labels_as", "fields"),
    ("clusters.0.rate.per_second", 10),
    ("log.fmt", "text"),
    # a value of another kind
    ("receive.max_body", "1 Meg"),
    ("receive.max_body", -1),
    ("receive.max_body", "64Mib"),
    ("receive.retry_after", "5 seconds"),
    ("receive.max_connections", "many"),
    ("receive.max_connections", 1.5),
    ("receive", ["listen"]),
    ("spool.path", 5),
    ("spool.path", ""),
    ("spool.durability", "sync"),
    ("destinations", {"name": "siem"}),
    ("destinations.0.acknowledge", "yes please"),
    ("destinations.0.fields", ["a"]),
    ("destinations.0.fields.a", 1),
    ("destinations.0.compression", "lz4"),
    ("destinations.1.bootstrap_servers", "kafka:9092"),
    ("destinations.2.format", "json"),
    ("destinations.3.filter.only.0.verbs", "get"),
    ("evidence.every", "a minute"),
    ("log.level", "verbose"),
    # a value that cannot be
    ("receive.listen", "127.0.0.1"),
    ("receive.path", "/audit/"),
    ("receive.max_connections", 0),
    ("destinations", []),
    ("destinations.0.name", "SIEM"),
    ("destinations.0.url", "hec:8088"),
    ("destinations.0.in_flight", 65),
    ("destinations.0.type", "splnk"),
    ("destinations.2.proxy.url", "https://p:1"),
    ("clusters.0.name", "Shoot_1"),
    ("clusters.0.rate.events_per_second", 0),
    # keys that belong together, or do not
    ("destinations.0.token", "in the file too"),
    ("destinations.0.token_file", None),
    ("destinations.1.security.password_file", "too"),
    ("destinations.2.auth.bearer", "too"),
    ("destinations.0.tls", {"cert_file": "a"}),
    ("destinations.4.secret_access_key_file", {"a": "b"}),
]


def good() -> dict[str, Any]:
    plain = document.parse(GOOD.encode())
    assert isinstance(plain, dict)
    return plain


def changed(plain: Any, path: str, value: Any) -> Any:
    place = plain
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    for part in way:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    place[last] = value
    return plain


def takes(plain: Any) -> bool:
    """Whether the loader does."""
    try:
        load.parse(yaml.safe_dump(plain, allow_unicode=True).encode(), "mistaken", ENVIRONMENT)
    except load.ConfigError:
        return False
    return True


def test_the_committed_schema_is_what_the_command_prints(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.run(["schema"]) == 0
    assert capsysbinary.readouterr().out == COMMITTED.read_bytes(), "make schema"


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema({}))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_validates(path: Path) -> None:
    VALIDATOR.validate(document.parse(path.read_bytes()))


def test_a_file_with_everything_validates_and_the_loader_takes_it() -> None:
    VALIDATOR.validate(good())
    assert takes(good())


@pytest.mark.parametrize(("path", "value"), MISTAKES)
def test_a_mistake_does_not_validate_nor_does_the_loader_take_it(path: str, value: Any) -> None:
    plain = changed(good(), path, value)
    assert not VALIDATOR.is_valid(plain)
    assert not takes(plain)


REQUIRED = ("destinations", "destinations.0.url", "destinations.0.type", "receive.tls.key_file")


@pytest.mark.parametrize(("path", "may_be_missing"), [*((path, False) for path in REQUIRED), ("spool", True)])
def test_a_missing_key_is_a_mistake_where_there_is_no_default(path: str, may_be_missing: bool) -> None:
    plain = good()
    place: Any = plain
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    for part in way:
        place = place[part]
    del place[last]
    assert VALIDATOR.is_valid(plain) is takes(plain) is may_be_missing


@pytest.mark.parametrize("path", ["receive.max_body", "receive.retry_after", "receive.max_connections", "log.level"])
def test_what_is_expected_can_stand_in_the_environment(path: str) -> None:
    for reference in ("${HOSTNAME}", "${HOSTNAME:-5}"):
        VALIDATOR.validate(changed(good(), path, reference))


def test_a_default_stands_for_what_the_environment_does_not_say() -> None:
    for path, value in (("receive.max_body", "${NOT_SET:-1MiB}"), ("log.level", "${NOT_SET:-debug}")):
        plain = changed(good(), path, value)
        VALIDATOR.validate(plain)
        assert takes(plain)


def test_a_policy_may_say_more_where_that_is_passed_over_and_null_is_absent() -> None:
    rule = {"level": "None", "users": None, "resources": [{"group": None, "resource": ["pods"]}]}
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "metadata": None, "rules": [rule]}
    wanted: dict[str, Any] = {"policy": policy, "policy_unknown_keys": "warn"}
    for how in ("warn", "refuse"):
        plain = changed(good(), "destinations.3.filter", {**wanted, "policy_unknown_keys": how})
        assert VALIDATOR.is_valid(plain) is takes(plain) is (how != "refuse")
    plain = changed(good(), "destinations.3.filter", {"policy": {"rules": [{"level": "None", "users": None}]}})
    assert VALIDATOR.is_valid(plain)
    assert takes(plain)


def test_anchors_may_stand_under_keys_that_nobody_reads_and_a_section_may_be_empty() -> None:
    plain = changed({**good(), "x-backoff": {"initial": "1s"}, "receive": None}, "spool.x-note", [1])
    VALIDATOR.validate(plain)
    assert takes(plain)


def test_a_policy_has_no_keys_for_anchors_since_kube_apiserver_takes_none() -> None:
    plain = changed(good(), "destinations.3.filter", {"policy": {"rules": [{"level": "Metadata"}]}})
    assert VALIDATOR.is_valid(plain)
    assert takes(plain)
    changed(plain, "destinations.3.filter.policy.x-note", "a")
    assert not VALIDATOR.is_valid(plain)
    assert not takes(plain)


def test_an_editor_is_told_what_is_wrong_with_the_type_that_is_meant() -> None:
    (problem,) = VALIDATOR.iter_errors(changed(good(), "destinations.1.topc", "audit"))
    assert "'topc'" in problem.message
    assert [*problem.absolute_path] == ["destinations", 1]


def bounds(plain: Any, where: str) -> Iterator[tuple[str, int]]:
    """Keys of whole numbers in the schema that have a least or a most."""
    for name, definition in plain["definitions"].items():
        for key, one in definition.get("properties", {}).items():
            for way in one.get("anyOf", []):
                if way.get("type") == "integer" and where in way:
                    yield f"{name}.{key}", way[where]


LIMITED = {
    "Receive.max_connections": "receive.max_connections",
    "Receive.max_clusters": "receive.max_clusters",
    "Rate.events_per_second": "clusters.0.rate.events_per_second",
    "Rate.burst": "clusters.0.rate.burst",
    "Packing.max_events": "destinations.0.batch.max_events",
    "SplunkConfig.in_flight": "destinations.0.in_flight",
    "FileConfig.keep": "destinations.3.keep",
}


@pytest.mark.parametrize(("name", "path"), LIMITED.items())
def test_its_bounds_are_the_loaders(name: str, path: str) -> None:
    least, most = (dict(bounds(schema({}), one))[name] for one in ("minimum", "maximum"))
    for value, fits in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
        plain = changed(good(), path, value)
        assert takes(plain) is fits
        assert VALIDATOR.is_valid(plain) is fits


def test_every_bound_is_compared_with_the_loaders() -> None:
    shared = {name for name, _ in bounds(schema({}), "minimum")} - {*LIMITED}
    assert all(name.endswith(".in_flight") for name in shared)


def walk(plain: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, one in entries:
        yield (*way, key)
        yield from walk(one, (*way, key))


JUNK: list[object] = [
    None,
    0,
    -1,
    1.5,
    True,
    "",
    "a",
    "5s",
    "1GiB",
    "${HOSTNAME}",
    "${NO:-5s}",
    "https://a",
    "a:1",
    [],
    ["a"],
    {},
]


@given(st.integers(0, 2**32), st.sampled_from([*map(Path.read_bytes, EXAMPLES), GOOD.encode()]))
def test_what_it_refuses_the_loader_refuses_too(seed: int, text: bytes) -> None:
    chance, plain = random.Random(seed), document.parse(text)
    for _ in range(chance.randint(1, 3)):
        *way, last = chance.choice([*walk(plain)] or [("destinations",)])
        place: Any = plain
        for part in way:
            place = place[part]
        if chance.random() < 0.1 and last in place:
            del place[last]
        elif chance.random() < 0.2 and isinstance(place, dict):
            place[chance.choice(["nam", "tls", "token", "max_events", "password"])] = copy.deepcopy(chance.choice(JUNK))
        else:
            place[last] = copy.deepcopy(chance.choice(JUNK))
    if takes(plain):
        VALIDATOR.validate(plain)

"""Every example in `config/` is what it says it is."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from auditsink import config, load
from auditsink.config.filters import PolicyMeta

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = sorted(CONFIG.glob("*.yaml"))
KUBECONFIGS = sorted((CONFIG / "apiserver").glob("kubeconfig-*.yaml"))
ENVIRONMENT = {
    "HEC_TOKEN": "t",
    "KAFKA_PASSWORD": "p",
    "COLLECTOR_TOKEN": "t",
    "COLLECTOR_PASSWORD": "p",
    "S3_SECRET": "s",
    "FORWARD_KEY": "k",
    "FORWARD_PASSWORD": "p",
    "AZURE_KEY": "a",
    "SHOOT_1_TOKEN": "t",
    "HOSTNAME": "sink-0",
}
OPTIONAL = re.compile(r" *#[a-z_]+:")


def loaded(text: str) -> config.Config:
    return load.parse(text.encode(), "example", ENVIRONMENT)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads(path: Path) -> None:
    assert load.load(path, ENVIRONMENT).destinations


def test_the_reference_says_the_defaults() -> None:
    reference = load.load(CONFIG / "auditsink.yaml", {})
    (disk,) = reference.destinations
    assert isinstance(disk, config.FileConfig)
    assert reference == config.Config(destinations=[config.FileConfig(name="disk", path=disk.path)])


def with_option(lines: list[str], place: int) -> str:
    """The file with the optional line at `place` in use, instead of the line that says the same or its alternative."""
    line = lines[place].replace("#", "", 1)
    key = line.split(":")[0]
    rivals = (f"{key}:", f"{key}_file:")
    kept = [other for number, other in enumerate(lines) if number == place or not other.startswith(rivals)]
    return "\n".join(kept).replace(lines[place], line)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_optional_line_works_when_its_mark_is_removed(path: Path) -> None:
    lines = path.read_text().splitlines()
    places = [place for place, line in enumerate(lines) if OPTIONAL.match(line)]
    assert places
    for place in places:
        assert loaded(with_option(lines, place)) != loaded("\n".join(lines)), lines[place]


def sections(kind: type) -> dict[str, type]:
    """The keys of a section, those of its own sections too."""
    keys: dict[str, type] = {}
    for field in msgspec.structs.fields(kind):
        keys[field.encode_name] = kind
        for inner in getattr(field.type, "__args__", (field.type,)):
            if inner in (config.Filter, PolicyMeta):  # has an example of its own; nobody reads it
                continue
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                keys |= sections(inner)
    return keys


FORMATS: dict[str, type] = {
    "elasticsearch": config.Elasticsearch,
    "loki": config.Loki,
    "otlp": config.Otlp,
    "meilisearch": config.Meilisearch,
}
SHARED = set(sections(config.StdoutConfig))
OWNERS: dict[str, list[type]] = {
    "auditsink.yaml": [config.Receive, config.Spool, config.FileConfig, config.Evidence, config.Admin, config.Log],
    "splunk.yaml": [config.SplunkConfig],
    "kafka.yaml": [config.KafkaConfig],
    "kafka-spool.yaml": [config.SpoolTopic],
    "http.yaml": [config.HttpConfig],
    "forward.yaml": [config.ForwardConfig],
    "filters.yaml": [config.Filter],
    "s3.yaml": [config.S3Config, config.GcsConfig, config.AzureConfig, config.LocalConfig],
    "backup.yaml": [config.S3Backup, config.GcsBackup, config.AzureBackup, config.LocalBackup],
    "clusters.yaml": [config.Clusters, config.Cluster, config.Rate],
    **{f"{name}.yaml": [kind] for name, kind in FORMATS.items()},
}


@pytest.mark.parametrize("name", OWNERS)
def test_no_key_is_missing(name: str) -> None:
    """Whoever adds a key adds it to the example, or this fails."""
    text = (CONFIG / name).read_text()
    wanted = {key for kind in OWNERS[name] for key in sections(kind)}
    if name != "auditsink.yaml":
        wanted -= SHARED
    else:
        wanted -= sections(config.SpoolTopic).keys()
        wanted -= {key for kind in OWNERS["backup.yaml"] for key in sections(kind)} - {"path", "encryption"}
    if name == "http.yaml":
        wanted -= {key for kind in FORMATS.values() for key in sections(kind)} | {*FORMATS}
    if name != "splunk.yaml":
        wanted.discard("insecure_skip_verify")  # one warning in the examples is enough
    assert {key for key in wanted if not re.search(rf"(^| |#|\{{){key}:", text, re.MULTILINE)} == set()


@pytest.mark.parametrize("name", FORMATS)
def test_the_example_of_a_format_says_its_defaults(name: str) -> None:
    (destination,) = load.load(CONFIG / f"{name}.yaml", ENVIRONMENT).destinations
    assert isinstance(destination, config.HttpConfig)
    assert destination.format == name
    assert getattr(destination, name) == FORMATS[name]()


@pytest.mark.parametrize("path", KUBECONFIGS, ids=lambda path: path.name)
def test_a_kubeconfig_points_to_the_receive_port(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    (cluster,), (user,), (context,) = document["clusters"], document["users"], document["contexts"]
    assert context["name"] == document["current-context"]
    assert context["context"] == {"cluster": cluster["name"], "user": user["name"]}
    server = urlsplit(cluster["cluster"]["server"])
    assert (server.port, server.query, server.path.split("/")[1]) == (9880, "", "audit")
    assert not server.path.endswith("/")
    if server.scheme == "http":
        assert user["user"] == {}, "kube-apiserver sends no credentials over http://"
    else:
        assert cluster["cluster"]["certificate-authority"]
        assert user["user"]


def test_the_policy_is_one_that_kube_apiserver_takes() -> None:
    policy = yaml.safe_load((CONFIG / "apiserver" / "policy.yaml").read_text())
    assert (policy["kind"], policy["apiVersion"]) == ("Policy", "audit.k8s.io/v1")
    assert set(policy["omitStages"]) < {"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}
    for rule in policy["rules"]:
        assert rule["level"] in {"None", "Metadata", "Request", "RequestResponse"}
        assert set(rule) <= {"level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs"}
        assert not ("nonResourceURLs" in rule and "resources" in rule)
        assert all(set(entry) <= {"group", "resources", "resourceNames"} for entry in rule.get("resources", []))
    assert policy["rules"][-1] == {"level": "Metadata"}, "the last rule takes what no other took"


def test_the_policy_never_records_the_body_of_a_secret() -> None:
    """The rule that keeps secrets at Metadata stands before every rule that records bodies."""
    rules = yaml.safe_load((CONFIG / "apiserver" / "policy.yaml").read_text())["rules"]
    first_body = next(place for place, rule in enumerate(rules) if rule["level"].startswith("Request"))
    first_secret = next(place for place, rule in enumerate(rules) if "secrets" in str(rule.get("resources")))
    assert first_secret < first_body
    assert rules[first_secret]["level"] == "Metadata"


def test_the_flags_are_flags() -> None:
    flags = yaml.safe_load((CONFIG / "apiserver" / "flags.yaml").read_text())
    assert len(flags) == 10
    assert all(re.fullmatch(r"--audit-[a-z-]+=[\w./-]+", flag) for flag in flags)

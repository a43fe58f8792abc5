"""Every release of today's extension as a configuration of ours; what has no meaning; what stops."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from fluentbitkit import RELEASES, Release, Rendered, key_tables

from auditsink import load
from auditsink.common.units import Duration
from auditsink.config import ForwardConfig, HttpConfig, KafkaConfig, S3Config, SplunkConfig
from auditsink.fluentbit import keys, start
from auditsink.fluentbit.document import FluentBitError, FluentDocument
from auditsink.fluentbit.keys import PLUGINS, KeyFate
from auditsink.fluentbit.outputs import BUILDERS
from auditsink.fluentbit.syntax import read
from auditsink.fluentbit.translate import FluentOutput, HealthRules, Surroundings, Translation, translate

ENVIRONMENT = {"SPLUNK_HEC_TOKEN": "hec-token-1", "HOST": "collector.example.com", "PORT": "8443"}
DOCUMENTED = Path(__file__).parents[2] / "docs" / "fluent-bit.md"


def around(**more: Any) -> Surroundings:
    return Surroundings(**{"environment": ENVIRONMENT, "storage": "/data", "volume_bytes": 2 * 10**9, **more})


def of_text(place: Path, output: str, service: str = "", head: str = "", **more: Any) -> Translation:
    """One output between what is always there."""
    text = f"{head}\n[SERVICE]\n flush 1\n{service}\n[INPUT]\n name http\n[OUTPUT]\n match audit\n{output}\n"
    (place / "f.conf").write_text(text)
    return translate(read(place / "f.conf"), around(**more))


def first(found: Translation) -> dict[str, Any]:
    one: dict[str, Any] = found.document["destinations"][0]
    return one


def config_of(found: Translation) -> Any:
    return load.parse(start.dumped(found.document).encode(), "t.yaml", ENVIRONMENT)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_every_release_is_taken_over_whole(release: Release, tmp_path: Path) -> None:
    rendered = Rendered(release)

    found = translate(read(rendered.write(tmp_path)), around())
    config = config_of(found)

    assert found.served
    assert found.health == HealthRules(on=True, period=60, errors=0, retries_failed=0)
    assert found.added == {"region": "eu-1", "stage": "prod"}
    assert (config.receive.listen, config.receive.path, config.receive.cluster) == (
        "0.0.0.0:9880",
        "/audit",
        "shoot--p--n",
    )
    assert config.spool.path == Path("/data/auditsink")
    assert config.spool.max_bytes == 900_000_000
    assert config.spool.when_full == ("reject" if release.pause == "on" else "drop_oldest")
    assert config.admin.listen == "0.0.0.0:2020"
    by_name = {one.name: one for one in config.destinations}
    assert set(by_name) == set(rendered.backends) - {"null"}
    for one in config.destinations:
        assert (one.backoff.initial, one.backoff.max, one.record) == (1, 60, "event")
        assert one.add == {"region": "eu-1", "stage": "prod"}
    splunk, tailer = by_name["splunk"], by_name["cluster-forwarding"]
    assert isinstance(splunk, SplunkConfig)
    assert splunk.token is not None
    assert (splunk.url, splunk.token.reveal(), splunk.index, splunk.host, splunk.sourcetype, splunk.compression) == (
        "https://hec.example.com:8088", "hec-token-1", "k8s", "shoot--p--n", "kube:apiserver:auditlog", "none",
    )  # fmt: skip
    assert (splunk.tls.server_name, splunk.tls.ca_file) == ("splunk.internal", Path("/backends/splunk/certs/ca.crt"))
    assert isinstance(tailer, ForwardConfig)
    assert tailer.tls is not None
    assert (tailer.address, tailer.acknowledge, tailer.compression, tailer.tag, tailer.tls.server_name) == (
        "audit-cluster-forwarding-vpn-gateway:9876", True, "gzip", "audit", "audittailer",
    )  # fmt: skip
    if release.s3:
        objects = by_name["s3"]
        assert isinstance(objects, S3Config)
        assert (objects.key_format, objects.compression, objects.time_key, objects.batch.max_wait) == (
            "/audit-logs/%Y/%m/%d/%H/%M/%S/$UUID", "gzip", "timestamp", Duration(600),
        )  # fmt: skip
    if release.custom:
        loki = by_name["custom-forwarding"]
        assert isinstance(loki, HttpConfig)
        assert loki.loki is not None
        assert (loki.url, loki.format, loki.loki.labels) == (
            "https://loki.example.com:443",
            "loki",
            {"job": "fluentbit"},
        )
    assert not any("splunk_token" in note or "hec-token" in note for note in found.notes)


def test_outputs_are_numbered_as_fluent_bit_numbers_them(tmp_path: Path) -> None:
    found = translate(read(Rendered().write(tmp_path)), around())

    assert found.outputs == (
        FluentOutput("forward.0", "cluster-forwarding"),
        FluentOutput("loki.1", "custom-forwarding"),
        FluentOutput("stdout.2", "log"),
        FluentOutput("null.3", None),
        FluentOutput("s3.4", "s3"),
        FluentOutput("splunk.5", "splunk"),
    )
    assert found.filters == ("modify.0",)


def test_what_has_no_meaning_is_listed_once(tmp_path: Path) -> None:
    notes = translate(read(Rendered().write(tmp_path)), around()).notes

    told = [key for note in notes for key in note.rpartition(": ")[2].split(", ")]
    assert sorted(told) == [
        "buffer_max_size", "retry_limit", "storage.backlog.mem_limit", "storage.checksum", "storage.max_chunks_up",
        "storage.metrics", "storage.sync", "tls.debug",
    ]  # fmt: skip


def test_a_ca_file_without_tls_says_nothing(tmp_path: Path) -> None:
    rendered = Rendered()
    for key in ("tls", "tls.verify", "tls.vhost", "tls.verify_hostname"):
        del rendered.backends["splunk"][key]

    (splunk,) = [one for one in config_of(translate(read(rendered.write(tmp_path)), around())).destinations
                 if one.name == "splunk"]  # fmt: skip

    assert splunk.url == "http://hec.example.com:8088"
    assert not splunk.tls.given


@pytest.mark.parametrize(
    ("limit", "volume", "expected"),
    [("900M", 10**9, 850_000_000), ("900M", None, 900_000_000), ("10G", 10**9, 850_000_000)],
)
def test_the_ring_leaves_room_on_the_volume(limit: str, volume: int | None, expected: int, tmp_path: Path) -> None:
    rendered = Rendered()
    rendered.backends["splunk"]["storage.total_limit_size"] = limit

    found = translate(read(rendered.write(tmp_path)), around(volume_bytes=volume))

    assert found.document["spool"]["max_bytes"] == expected


@pytest.mark.parametrize(
    ("hosts", "namespaces", "expected"),
    [
        (["shoot--a--b"], ("ns",), "shoot--a--b"),
        ([], ("ns", "search"), "ns"),
        (["Not A Name"], ("ns",), "ns"),
        ([], (), "default"),
    ],
)
def test_the_cluster_has_the_name_that_is_known_best(
    hosts: list[str], namespaces: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    rendered = Rendered()
    rendered.backends["splunk"].pop("event_host")
    for host in hosts:
        rendered.backends["splunk"]["event_host"] = host

    found = translate(read(rendered.write(tmp_path)), around(clusters=namespaces))

    assert found.document["receive"]["cluster"] == expected


@pytest.mark.parametrize("by", ["custom data", "argument"])
def test_records_can_stay_lists(by: str, tmp_path: Path) -> None:
    rendered = Rendered(data={"auditsink.record": "batch", "region": "eu-1"} if by == "custom data" else {})
    del rendered.backends["custom-forwarding"]

    found = translate(read(rendered.write(tmp_path)), around(record="batch" if by == "argument" else None))

    assert "auditsink.record" not in found.added
    for one in config_of(found).destinations:
        assert one.record == "batch"


def test_lists_are_for_those_who_can_take_them(tmp_path: Path) -> None:
    found = translate(read(Rendered(data={"auditsink.record": "batch"}).write(tmp_path)), around())

    by_name = {one.name: one for one in config_of(found).destinations}
    assert by_name["custom-forwarding"].record == "event"
    assert by_name["splunk"].record == "batch"
    assert any("custom-forwarding" in note for note in found.notes)


def test_a_filter_that_does_not_fit_adds_nothing(tmp_path: Path) -> None:
    text = "[FILTER]\n name modify\n match other\n add a 1\n[FILTER]\n name modify\n match aud*\n add b 2\n"

    found = of_text(tmp_path, " name stdout", head=text)

    assert found.added == {"b": "2"}
    assert found.filters == ("modify.0", "modify.1")


CUSTOM: list[tuple[str, type, dict[str, Any]]] = [
    (
        """name http
        host ${HOST}
        port ${PORT}
        uri /in
        tls on
        tls.verify off
        format json_lines
        header X-Key abc
        header Authorization Bearer t0k3n-of-the-file
        compress gzip""",
        HttpConfig,
        {
            "url": "https://collector.example.com:8443/in",
            "format": "ndjson",
            "compression": "gzip",
            "headers": {"X-Key": "abc"},
        },
    ),
    (
        "name http\n host h\n http_user u\n http_passwd p-a-s-s",
        HttpConfig,
        {"url": "http://h:80/", "format": "json_array"},
    ),
    ("name loki\n host l\n tenant_id t\n uri /loki/api/v1/push", HttpConfig, {"headers": {"X-Scope-OrgID": "t"}}),
    (
        "name es\n host e\n logstash_format on\n logstash_prefix k8s\n pipeline p",
        HttpConfig,
        {"url": "http://e:9200?pipeline=p", "format": "elasticsearch"},
    ),
    ("name opensearch\n host e\n port 443\n tls on\n index audit\n path /x/", HttpConfig, {"url": "https://e:443/x"}),
    (
        """name kafka
        brokers k1:9092, k2:9092
        topics audit
        rdkafka.security.protocol SASL_SSL
        rdkafka.sasl.mechanism SCRAM-SHA-512
        rdkafka.sasl.username u
        rdkafka.sasl.password p-a-s-s
        rdkafka.request.required.acks 1
        tls.ca_file /backends/custom-forwarding/certs/ca.crt""",
        KafkaConfig,
        {"bootstrap_servers": ["k1:9092", "k2:9092"], "topic": "audit", "compression": "none"},
    ),
    (
        "name forward\n host f\n shared_key s3cr3t-key\n self_hostname me",
        ForwardConfig,
        {"address": "f:24224", "acknowledge": False, "compression": "none", "hostname": "me", "tls": None},
    ),
    (
        """name s3
        bucket trail
        s3_key_format /$TAG[0]/%Y
        total_file_size 10M
        storage_class GLACIER
        endpoint minio:9000""",
        S3Config,
        {
            "key_format": "/$TAG[0]/%Y",
            "endpoint": "https://minio:9000",
            "compression": "none",
            "storage_class": "GLACIER",
        },
    ),
    ("name splunk\n host ::1\n splunk_token abcdef", SplunkConfig, {"url": "http://[::1]:8088"}),
]


@pytest.mark.parametrize(("output", "kind", "expected"), CUSTOM, ids=[text.split("\n", 1)[0] for text, _, _ in CUSTOM])
def test_what_a_user_writes_for_another_plugin(
    output: str, kind: type, expected: dict[str, Any], tmp_path: Path
) -> None:
    (one,) = config_of(of_text(tmp_path, f" {output}")).destinations

    assert isinstance(one, kind)
    assert {key: getattr(one, key) for key in expected} == expected


def test_variables_of_the_file_are_filled_in_and_those_of_the_environment_are_not(tmp_path: Path) -> None:
    found = of_text(tmp_path, " name splunk\n host ${H}\n splunk_token ${SPLUNK_HEC_TOKEN}", head="@SET H=hec.here")

    assert first(found)["url"] == "http://hec.here:8088"
    assert first(found)["token"] == "${SPLUNK_HEC_TOKEN}"


def test_a_reference_that_is_not_closed_is_text_as_in_fluent_bit(tmp_path: Path) -> None:
    found = of_text(tmp_path, " name http\n host h\n header X-A ${HOST}${T\n header X-B ${")

    (one,) = config_of(found).destinations

    assert one.headers == {
        "X-A": "collector.example.com${T",
        "X-B": "${",
    }


def test_quotes_belong_to_a_header_and_not_to_what_is_added(tmp_path: Path) -> None:
    found = of_text(tmp_path, ' name http\n host h\n header X-A "a b"\n[FILTER]\n name modify\n match *\n add k "v w"')

    assert first(found)["headers"] == {"X-A": '"a b"'}
    assert found.added == {"k": "v w"}


@pytest.mark.parametrize("tag", ["foo", "kube.audit", "a b"])
def test_the_tag_of_the_input_moves_no_path(tag: str, tmp_path: Path) -> None:
    """fluent-bit 5.1.1 gives what is posted to /audit the tag audit with any `tag`; a path of /foo would be a 404."""
    (tmp_path / "f.conf").write_text(f"[INPUT]\n name http\n tag {tag}\n[OUTPUT]\n name stdout\n match audit\n")

    found = translate(read(tmp_path / "f.conf"), around())

    assert config_of(found).receive.path == "/audit"
    assert any(note.endswith(": tag") for note in found.notes)


def test_addresses_of_ipv6_get_their_brackets(tmp_path: Path) -> None:
    service = " http_server on\n http_listen ::\n[INPUT]\n name http\n listen ::1"
    text = f"[SERVICE]\n{service}\n[OUTPUT]\n name stdout\n match audit\n"
    (tmp_path / "f.conf").write_text(text)

    config = config_of(translate(read(tmp_path / "f.conf"), around()))

    assert (config.receive.listen, config.admin.listen) == ("[::1]:9880", "[::]:2020")


def test_what_fluent_bit_leaves_to_others_and_the_sink_does_not_is_told(tmp_path: Path) -> None:
    bare = of_text(tmp_path, " name splunk\n splunk_token t\n tls on\n tls.verify_hostname off").notes
    said = of_text(tmp_path, " name splunk\n splunk_token t\n tls on\n event_sourcetype s\n event_host h").notes

    assert sum("event_sourcetype" in note or "event_host" in note for note in bare) == 2
    assert any("tls.verify_hostname is off" in note for note in bare)
    assert len(bare) == len(said) + 3


def test_a_name_stays_when_another_output_comes_before_it(tmp_path: Path) -> None:
    with_all = translate(read(Rendered().write(tmp_path / "a")), around())
    rendered = Rendered()
    del rendered.backends["cluster-forwarding"], rendered.backends["custom-forwarding"]
    with_few = translate(read(rendered.write(tmp_path / "b")), around())

    assert {"splunk", "s3", "log"} < {one["name"] for one in with_all.document["destinations"]}
    assert {"splunk", "s3", "log"} == {one["name"] for one in with_few.document["destinations"]}


def test_the_same_plugin_twice_in_one_file_has_two_names(tmp_path: Path) -> None:
    found = of_text(
        tmp_path, " name stdout\n[OUTPUT]\n name stdout\n match *\n[OUTPUT]\n name stdout\n match *\n alias Mine"
    )

    assert [one["name"] for one in found.document["destinations"]] == ["stdout", "stdout-2", "mine"]
    assert [one.name for one in found.outputs] == ["stdout.0", "stdout.1", "Mine"]


STOPS = [
    (" name kinesis", "the output kinesis is not taken over; those are splunk, s3"),
    (" name splunk\n splunk_token a\n nonsense 1", "nonsense: is not known for splunk"),
    (" name splunk\n host h", "splunk_token: is missing"),
    (" name splunk\n splunk_token a-b-c-d\n splunk_send_raw on", "splunk_send_raw: cannot be kept"),
    (" name splunk\n splunk_token a-b-c-d\n event_key $log", "event_key: takes values out"),
    (" name splunk\n splunk_token a-b-c-d\n port x", "port: is no"),
    (" name splunk\n splunk_token a-b-c-d\n port ${NOT_SET}", "the environment variable NOT_SET is not set"),
    (" name stdout\n match_regex ^other$", "match: does not fit the tag audit"),
    (" name http\n host h\n http_user u\n http_passwd a-b-c-d$${HOST}", "http_passwd: has a $ before a ${...}"),
    (" name es\n host e\n logstash_format on\n logstash_dateformat %y.%m.%d", "logstash_dateformat: cannot be kept"),
    (" name forward\n host f\n unix_path /x", "unix_path: write host and port"),
    (" name loki\n host l\n label_keys $x", "label_keys: takes values out"),
    (" name loki\n host l\n labels a=$x", "labels: must be NAME=VALUE"),
    (" name es\n host e\n cloud_id x:y", "cloud_id: write host"),
    (" name kafka\n topics a,b", "topics: several topics"),
    (" name http\n host h\n format msgpack", "format: must be one of"),
    (" name file\n path /x", "format: is missing"),
    (" name s3\n bucket trail\n tls.verify off", "tls.verify: off is not offered"),
    (" name s3\n bucket trail\n role_arn a", "role_arn: roles come from the environment"),
    (" name null", "there is no [OUTPUT] but null"),
    (" name stdout\n[INPUT]\n name tail", "is a second [INPUT]"),
    (" name stdout\n[FILTER]\n name lua\n match *", "the filter lua changes events"),
    (" name stdout\n[FILTER]\n name modify\n match *\n remove x", "remove: is not known for modify"),
    (" name stdout\n[FILTER]\n name modify\n match *\n add x", "add: must be a key and a value"),
    (" name stdout\n[CUSTOM]\n name calyptia", "[CUSTOM] is not taken over"),
]


@pytest.mark.parametrize(("output", "expected"), STOPS, ids=[expected for _, expected in STOPS])
def test_what_cannot_be_kept_stops_with_one_line_that_shows_no_value(
    output: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(FluentBitError) as caught:
        of_text(tmp_path, output)

    said = str(caught.value)
    assert expected in said
    assert "\n" not in said
    assert "a-b-c-d" not in said


def test_an_input_other_than_http_stops(tmp_path: Path) -> None:
    (tmp_path / "f.conf").write_text("[INPUT]\n name tail\n[OUTPUT]\n name stdout\n match *\n")

    with pytest.raises(FluentBitError, match="name: only http is taken over"):
        translate(read(tmp_path / "f.conf"), around())


def test_without_a_volume_nothing_starts() -> None:
    with pytest.raises(FluentBitError, match=r"there is no \[INPUT\]"):
        translate(FluentDocument(()), around(storage=""))


def test_secrets_of_the_file_are_starred_and_references_are_not(tmp_path: Path) -> None:
    found = of_text(
        tmp_path,
        " name http\n host h\n uri /in?token=secret-in-url\n header X-Api-Key secret-header\n http_user u\n"
        " http_passwd secret-password\n[OUTPUT]\n name splunk\n match *\n splunk_token secret-token\n"
        "[OUTPUT]\n name splunk\n match *\n splunk_token ${SPLUNK_HEC_TOKEN}\n",
    )

    shown = start.dumped(start.masked(found.document))

    assert "secret" not in shown
    assert "${SPLUNK_HEC_TOKEN}" in shown
    assert yaml.safe_load(shown)["destinations"][0]["headers"] == {"X-Api-Key": "***"}


def test_the_documentation_has_every_key() -> None:
    """The tables there are those of the code, line by line: `python tests/fluentbitkit.py` prints them anew."""
    lines = set(DOCUMENTED.read_text().splitlines())

    assert [line for line in key_tables().splitlines() if line and line not in lines] == []


def test_every_row_says_something_and_every_plugin_has_a_builder() -> None:
    assert set(PLUGINS) == set(BUILDERS) | {"null"}
    for table in (keys.SERVICE, keys.INPUT, keys.FILTER, *PLUGINS.values()):
        for name, row in table.items():
            assert name == row.key == row.key.lower()
            assert row.says
            assert row.put == "" or row.fate is KeyFate.TRANSLATED

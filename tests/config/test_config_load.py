"""What the loader makes of good files, and what it says of bad ones."""

import itertools
from pathlib import Path
from typing import get_args

import pytest
from configkit import DISK, mistakes, parsed
from hypothesis import given
from hypothesis import strategies as st

from auditsink import load
from auditsink.common.units import Duration
from auditsink.config import BuiltIn, Config, FileConfig, HttpConfig, KafkaConfig, SplunkConfig
from auditsink.load import files


def test_what_is_left_out_is_the_default() -> None:
    config = parsed(DISK)
    assert config == Config(destinations=[FileConfig(name="disk", path=Path("./audit.ndjson"))])


def test_units_are_read() -> None:
    config = parsed("receive: {max_body: 2MiB, retry_after: 7s}\nspool: {max_bytes: 1073741824}\n" + DISK)
    assert (config.receive.max_body, config.receive.retry_after, config.spool.max_bytes) == (2 * 2**20, 7.0, 2**30)


def test_an_empty_section_is_the_default_section() -> None:
    """All keys of a section commented out leave `receive:` with nothing below it."""
    assert parsed("receive:\nlog:\n" + DISK) == parsed(DISK)


def test_every_type_of_destination_is_told_by_its_type_key() -> None:
    config = parsed(
        """
        destinations:
          - {name: a, type: splunk, url: "https://hec:8088", token: t-1, fields: {stage: prod}}
          - {name: b, type: kafka, bootstrap_servers: ["k1:9092", "[::1]:9092"]}
          - {name: c, type: http, url: "http://h/x?y=1", auth: {username: u, password: p}}
          - {name: j, type: forward, address: "fluentd:24224"}
          - {name: d, type: file, path: x}
          - {name: e, type: stdout}
          - {name: f, type: s3, bucket: trail}
          - {name: g, type: gcs, bucket: trail}
          - {name: h, type: azure, account: a, container: trail}
          - {name: i, type: local, path: x}
        """
    )
    assert [type(one) for one in config.destinations] == list(get_args(BuiltIn))
    splunk = config.destinations[0]
    assert isinstance(splunk, SplunkConfig)
    assert splunk.token is not None
    assert splunk.token.reveal() == "t-1"
    assert "t-1" not in repr(config)


def test_an_unknown_key_names_its_path_and_the_nearest_known_one() -> None:
    text = 'destinations: [{name: a, type: http, url: "http://h", timeot: 3s}]'
    (mistake,) = mistakes(text)
    assert mistake.startswith(
        'f.yaml: destinations[0].timeot: unknown key; did you mean "timeout"? (known keys: add, auth, '
    )
    assert mistake.endswith(" tls, type, url, when_dead_letters_full)")


def test_what_stands_under_a_key_for_anchors_is_used_by_its_aliases_alone() -> None:
    text = """
        x-patience: &patience {initial: 2s, max: 30s, x-why: "${NOPE}"}
        destinations: [{name: a, type: stdout, backoff: *patience}]
        """
    (destination,) = parsed(text).destinations
    assert destination.backoff.initial == Duration(2)


def test_a_type_that_is_no_text_is_a_mistake_like_any_other() -> None:
    (mistake,) = mistakes("destinations: [{name: a, type: [splunk]}]")
    assert mistake.startswith("f.yaml: destinations[0].type: expected one of azure, ")


def test_all_mistakes_are_told_in_one_run() -> None:
    text = """
        receive: {listen: "nowhere", max_body: big}
        spool: {segment_bytes: 1GiB}
        log: {level: inf}
        extra: 1
        destinations:
          - {name: Bad Name, type: file, path: x}
          - {name: b, type: splnk}
          - {name: c, type: http}
        """
    told = mistakes(text)
    paths = [line.split(": ")[1] for line in told]
    assert sorted(paths) == sorted([
        "extra", "receive.max_body", "spool.segment_bytes", "log.level",
        "destinations[0].name", "destinations[1].type", "destinations[2].url",
    ])  # fmt: skip
    assert 'did you mean "info"?' in "\n".join(told)
    assert 'did you mean "splunk"?' in "\n".join(told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "destinations: is missing; write at least one"),
        ("destinations: []", "destinations: is empty; write at least one"),
        ("destinations: {a: 1}", "destinations: expected a list, got a mapping"),
        ("destinations: [file]", "destinations[0]: expected a mapping of keys to values, got text"),
        ("destinations: [{name: a}]", "destinations[0]: has no type; write one of azure, file, forward, gcs, http"),
        ("- 1", "top level: expected a mapping of keys to values, got a list"),
        ("1: 2\n" + DISK, "top level: a key must be text, got a number (quote it if it is text)"),
        (DISK + "spool: {path: }", "spool.path: has no value; write one, or remove the key for its default"),
        (DISK + "spool: {path: ''}", "spool.path: expected a path"),
        (DISK + "spool: {when_full: no}", "spool.when_full: expected one of drop_oldest, reject"),
        (DISK + "receive: {cluster: 12}", "receive.cluster: expected text, got a number (quote it if it is text)"),
        (DISK + "receive: {retry_after: 1.5s}", "receive.retry_after: write whole seconds"),
        (DISK + "receive: {retry_after: 60s}", "receive.retry_after: write whole seconds"),
        (DISK + "receive: {max_body: .inf}", "receive.max_body: expected a size"),
        (DISK + "receive: {max_body: 99999TiB}", "receive.max_body: expected a size"),
        (DISK + "receive: {idle_timeout: .inf}", "receive.idle_timeout: expected a duration"),
        (DISK + "receive: {max_body: 65MiB}", "receive.max_in_flight: must be at least max_body"),
        (DISK + "receive: {path: audit/}", "receive.path: write a path like /audit"),
        (DISK + "receive: {max_connections: true}", "receive.max_connections: expected a whole number"),
        (DISK + "receive: {tls: {cert_file: a}}", "receive.tls.key_file: is missing"),
        (DISK + "receive: {listen: '127.0.0.1:2020'}", "admin.listen: is the same as receive.listen"),
        (DISK + "receive: {listen: '0.0.0.0:2020'}", "admin.listen: is the same as receive.listen"),
        (DISK + "receive: {listen: ':2020'}", "admin.listen: is the same as receive.listen"),
        (DISK + "receive: {listen: 'localhost:2020'}", "admin.listen: is the same as receive.listen"),
        ("destinations: [{name: a, type: splunk, token: ${T}}]", "quotes, like '${NAME}'"),
        (DISK + "admin: {listen: '::1:80'}", "admin.listen: is no address; write host:port"),
        (DISK + "admin: {listen: 'h:70000'}", "admin.listen: is no address; write host:port"),
        (DISK + 'spool: {path: "a\\0b"}', "spool.path: holds a character that is no text"),
        (DISK + 'spool: {path: "\\ud800"}', "spool.path: holds a character that is no text"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_path_and_remedy(text: str, expected: str) -> None:
    told = mistakes(text)
    assert len(told) == 1
    assert expected in told[0]


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ('type: splunk, url: "https://h"', ".token_file: is missing"),
        ('type: splunk, url: "https://h", token: a, token_file: b', ".token: stands beside token_file"),
        ('type: splunk, url: "https://h", token: 12', ".token: expected a secret: text of one line, in quotes"),
        ('type: splunk, url: "https://h", token: "a\\nb"', ".token: expected a secret"),
        ('type: splunk, url: "hec:8088", token: a', ".url: is no URL"),
        ('type: http, url: "http://u:p@h"', ".url: holds credentials"),
        ('type: http, url: "http://h", tls: {ca_file: x}', ".tls: has no effect on an http:// url"),
        ('type: http, url: "http://[::1"', ".url: is no URL"),
        ('type: http, url: "https://h", tls: {cert_file: x}', ".tls.key_file: is missing"),
        ('type: http, url: "https://h", tls: {key_file: x}', ".tls.cert_file: is missing"),
        ('type: http, url: "https://h", tls: {ca_file: x, insecure_skip_verify: true}', "contradicts ca_file"),
        ('type: http, url: "http://h", headers: {"a b": c}', ".headers.a: is no header"),
        ('type: http, url: "http://h", headers: {a: "b\\r\\nc"}', ".headers.a: is no header"),
        ('type: http, url: "http://h", headers: {Authorization: x}', ".headers.Authorization: is set by the sink"),
        ('type: http, url: "http://h", headers: {a: 1}', ".headers.a: expected text, got a number"),
        ('type: http, url: "http://h", auth: {username: u}', ".auth.password_file: is missing"),
        ('type: http, url: "http://h", auth: {password: u}', ".auth.username: is missing"),
        ('type: http, url: "http://h", auth: {bearer: b, bearer_file: f}', ".auth.bearer: stands beside"),
        ('type: http, url: "http://h", auth: {bearer: b, username: u, password: p}', "username: contradicts bearer"),
        ("type: kafka, bootstrap_servers: []", ".bootstrap_servers: is missing"),
        ("type: kafka, bootstrap_servers: [nowhere]", ".bootstrap_servers[0]: is no address"),
        ('type: kafka, bootstrap_servers: ["h:1"], topic: "a b"', ".topic: write letters"),
        ('type: kafka, bootstrap_servers: ["h:1"], transactional_id: ""', ".transactional_id: write 1 to 200"),
        ('type: kafka, bootstrap_servers: ["h:1"], transactional_id: a, in_flight: 2', ".in_flight: must be 1"),
        ('type: kafka, bootstrap_servers: ["h:1"], security: {mechanism: PLAIN, password: p}', ".username: is missing"),
        ('type: kafka, bootstrap_servers: ["h:1"], security: {mechanism: PLAIN, username: u}', "password_file: is mis"),
        ('type: kafka, bootstrap_servers: ["h:1"], security: {username: u}', ".security.mechanism: is missing"),
        ("type: file, path: x, keep: 0", ".keep: must be from 1 to 10,000"),
        ("type: file, path: x, rotate_bytes: 0", ".rotate_bytes: must be more than 0"),
        ("type: stdout, batch: {max_events: 0}", ".batch.max_events: must be from 1"),
        ("type: stdout, batch: {max_bytes: 0}", ".batch.max_bytes: must be more than 0"),
        ("type: stdout, backoff: {initial: 2m, max: 1m}", ".backoff.max: must be at least initial"),
        ("type: stdout, in_flight: 65", ".in_flight: must be from 1 to 64"),
    ],
)
def test_a_destination_that_makes_no_sense_is_refused(destination: str, expected: str) -> None:
    told = mistakes(f"destinations: [{{name: a, {destination}}}]")
    assert len(told) == 1
    assert expected in told[0]


def test_names_and_files_of_destinations_are_unique() -> None:
    told = mistakes("destinations: [{name: a, type: file, path: x}, {name: a, type: file, path: x}]")
    assert told == [
        "f.yaml: destinations[1].name: is the same as destinations[0].name; names must be unique",
        (
            "f.yaml: destinations[1].path: is the same as destinations[0].path; each file destination needs a file of "
            "its own"
        ),
    ]


def test_transactional_ids_are_unique() -> None:
    one = 'type: kafka, bootstrap_servers: ["h:1"], transactional_id: sink-1'
    (told,) = mistakes(f"destinations: [{{name: a, {one}}}, {{name: b, {one}}}]")
    assert told.startswith("f.yaml: destinations[1].transactional_id: is the same as destinations[0].transactional_id")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [2\n", "f.yaml:3:1: "),
        ("a: 1\n\tb: 2\n", "f.yaml:2:1: found character '\\t' that cannot start any token; indent with spaces"),
        ("a: b: c\n", "f.yaml:1:5: mapping values are not allowed here"),
        ("a: *secret\n", "f.yaml:1:4: found undefined alias ...; a value that begins with * needs quotes"),
        ("a: !secret\n", "f.yaml:1:4: tags are not supported here"),
        ('a: !!int ""\n', "f.yaml:1:4: tags are not supported here"),
        ("a: 1\na: 2\n", "f.yaml:2:1: this key stands in line 1 already; keep one of the two"),
        ("? [a]\n: 1\n", "f.yaml:1:3: a key must be text"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: but found another document"),
        (b"a: b\nb: x\xff\n", "f.yaml:2:5: is not UTF-8; save the file as UTF-8"),
        ("a: \x07\n", "f.yaml: character 4 is a control character; remove it"),
        ("a: " + "9" * 5000, "f.yaml: holds a number that is too long"),
        ("[" * 100_000, "f.yaml: is nested too deeply"),
        ("&a [*a]", "f.yaml:1:1: this anchor contains itself"),
        ("x" * (2**20 + 1), "f.yaml: is larger than 1 MiB"),
    ],
)
def test_broken_yaml_is_told_by_line_and_column(text: str | bytes, expected: str) -> None:
    told = mistakes(text)
    assert len(told) == 1
    assert told[0].startswith(expected)


@pytest.mark.parametrize("pattern", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_of_aliases_do_not_explode(pattern: str) -> None:
    """Ten lines that stand for nine to the tenth values are refused before anything of that size exists."""
    names = "abcdefghijk"
    lines = ["a: &a {x: 1}"]
    lines += [
        f"{name}: &{name} {pattern.format(','.join([f'*{last}'] * 9))}" for last, name in itertools.pairwise(names)
    ]
    assert mistakes("\n".join(lines)) == ["f.yaml: holds more than 100,000 values once its aliases are written out"]


def test_anchors_and_merges_of_a_sane_size_work() -> None:
    config = parsed(
        """
        destinations:
          - &one {name: a, type: http, url: "http://h", timeout: 3s}
          - {<<: *one, name: b}
        """
    )
    second = config.destinations[1]
    assert isinstance(second, HttpConfig)
    assert (second.name, second.timeout) == ("b", 3.0)


def test_a_date_is_text() -> None:
    config = parsed("destinations: [{name: a, type: kafka, bootstrap_servers: ['k:1'], topic: 2026-11-22}]")
    assert isinstance(config.destinations[0], KafkaConfig)
    assert config.destinations[0].topic == "2026-11-22"


def test_a_thousand_mistakes_are_told_in_fifty_lines() -> None:
    told = mistakes("\n".join(f"k{number}: 1" for number in range(1000)))
    assert len(told) == 51
    assert told[-1] == "and 951 more mistakes"


def test_a_secret_glued_to_its_key_is_not_shown() -> None:
    """`{token:abc}` is one key in YAML."""
    told = mistakes('destinations: [{name: a, type: splunk, url: "https://h", token:CANARY, acknowledge:CANARY 2}]')
    assert "CANARY" not in "\n".join(told)
    assert "f.yaml: destinations[0].token: unknown key; write a space after the colon" in told


KEYS = st.sampled_from([
    "name", "type", "url", "token", "token_file", "timeout", "batch", "backoff", "in_flight", "acknowledge", "headers",
    "auth", "tls", "bootstrap_servers", "security", "compression", "format", "fields", "keep", "listen",
])  # fmt: skip
WRONG = st.sampled_from([
    "CANARY", "'CANARY", '"CANARY', "*CANARY", "&CANARY", "!CANARY", "[CANARY", "{CANARY", "[CANARY]", "{a: CANARY}",
    "${CANARY", "${CANARY X}", "%CANARY", "@CANARY", "|\n  CANARY", "x: CANARY", "CANARY: x: y",
    '"\\CANARY"', "- CANARY",
    "{CANARY: 1}:", '"http://u:CANARY@h"', "&CANARY 1\nx: &CANARY", "CANARY\x01", "? CANARY", "<<: CANARY",
])  # fmt: skip


@given(st.lists(st.tuples(KEYS, WRONG), min_size=1, max_size=6), st.sampled_from([*"abcde", "splunk", "http", "kafka"]))
def test_no_message_shows_a_value(pairs: list[tuple[str, str]], kind: str) -> None:
    """Wherever a secret ends up by mistake, it is not repeated."""
    text = f"destinations:\n- type: {kind}\n" + "".join(f"  {key}: {value}\n" for key, value in pairs)
    try:
        config = parsed(text)
    except load.ConfigError as problem:
        shown = "\n".join(line for line in problem.mistakes if "CANARY: unknown key" not in line)
        assert "CANARY" not in shown
    else:
        assert config.destinations


def test_a_file_that_cannot_be_read_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(load.ConfigError, match=r"none\.yaml: No such file or directory; check the path"):
        load.load(tmp_path / "none.yaml")
    with pytest.raises(load.ConfigError, match=r"Is a directory"):
        load.load(tmp_path)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(DISK)
    assert load.load(tmp_path / "f.yaml", {}) == parsed(DISK)


def test_the_embedded_default_listens_on_loopback_only() -> None:
    config = load.embedded_default()
    assert (config.receive.listen, config.admin.listen) == ("127.0.0.1:9880", "127.0.0.1:2020")
    assert config.spool.path == Path("data/spool")
    assert config.destinations == [FileConfig(name="file", path=Path("data/audit.ndjson"))]


def test_files_that_are_missing_or_empty_are_told_by_key(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "good").write_text("x")
    config = parsed(
        f"""
        receive: {{tokens_file: {tmp_path}/empty, tls: {{cert_file: {tmp_path}/good, key_file: {tmp_path}/none}}}}
        destinations: [{{name: a, type: splunk, url: "https://h", token_file: {tmp_path}}}]
        """
    )
    assert files.missing(config) == [
        f"receive.tls.key_file: {tmp_path}/none: No such file or directory; check the path and its permissions",
        f"receive.tokens_file: {tmp_path}/empty: is empty; write its content into it",
        f"destinations[0].token_file: {tmp_path}: Is a directory; check the path and its permissions",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"swordfish\nb\n", "holds spaces, line breaks"), (b"\xff\xfe\x00a", "is not UTF-8 text"), (b" \n", "is empty")],
)
def test_a_file_that_holds_no_token_is_told_before_the_start(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    config = parsed(
        f'destinations: [{{name: a, type: splunk, url: "https://h", token_file: {tmp_path}/token}}, '
        f'{{name: b, type: http, url: "https://h", format: ndjson, auth: {{bearer_file: {tmp_path}/token}}}}]'
    )
    first, second = files.missing(config)
    assert first.startswith(f"destinations[0].token_file: {tmp_path}/token: {said}")
    assert second.startswith(f"destinations[1].auth.bearer_file: {tmp_path}/token: {said}")
    assert "swordfish" not in first + second


def test_each_mistake_has_its_line_and_a_missing_key_that_of_its_section() -> None:
    text = """receive:
  listen: x
destinations:
- {name: a, type: stdout}
- name: b
  type: file
  pth: z
"""
    with pytest.raises(load.ConfigError) as caught:
        parsed(text)
    assert [line.split(": ")[:2] for line in caught.value.mistakes] == [
        ["f.yaml:2", "receive.listen"],
        ["f.yaml:7", "destinations[1].pth"],
        ["f.yaml:5", "destinations[1].path"],
    ]


def test_several_documents_are_refused_in_words() -> None:
    (mistake,) = mistakes("receive: {}\n---\ndestinations: []\n")
    assert mistake == (
        "f.yaml:2:1: but found another document behind a line of ---; a configuration is one document: "
        "write several files"
    )

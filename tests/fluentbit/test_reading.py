"""fluent-bit's two languages, and files that include others."""

from pathlib import Path

import pytest

from auditsink.fluentbit import syntax
from auditsink.fluentbit.document import FluentBitError, FluentSection
from auditsink.fluentbit.syntax import FluentInclude, FluentVariable, read


def parsed(text: str) -> list[tuple[str, dict[str, str]]]:
    return [
        (part.kind, {entry.key: entry.value for entry in part.entries})
        for part in syntax.parse_classic(text, "f.conf")
        if isinstance(part, FluentSection)
    ]


def test_headers_and_keys_are_written_in_any_case_and_values_stay() -> None:
    assert parsed("[Output]\n    Name  Splunk\n\tMATCH\taudit\n") == [("output", {"name": "Splunk", "match": "audit"})]


def test_the_rest_of_a_line_is_the_value_whatever_is_in_it() -> None:
    text = "[OUTPUT]\n  header X-Note a b  # no comment\n  splunk_token ${A}=b c\r\n"

    assert parsed(text) == [("output", {"header": "X-Note a b  # no comment", "splunk_token": "${A}=b c"})]


def test_comments_and_empty_lines_are_passed_over() -> None:
    assert parsed("# one\n\n[SERVICE]\n    # two\n    flush 1\n#three\n") == [("service", {"flush": "1"})]


def test_a_key_may_stand_several_times_and_the_last_counts_where_one_may() -> None:
    (section,) = syntax.parse_classic("[FILTER]\n name modify\n add a 1\n add b 2\n", "f.conf")

    assert isinstance(section, FluentSection)
    assert [entry.value for entry in section.entries if entry.key == "add"] == ["a 1", "b 2"]
    assert section.text("add") == "b 2"
    assert section.entries[1].place == "f.conf:3"


def test_directives_stand_between_sections() -> None:
    parts = list(syntax.parse_classic("@SET a=b c\n[SERVICE]\n flush 1\n@include *.conf\n[INPUT]\n name http", "f"))

    assert [type(part) for part in parts] == [FluentVariable, FluentSection, FluentInclude, FluentSection]
    assert parts[0] == FluentVariable("a", "b c")
    assert parts[2] == FluentInclude("*.conf", "f:4")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[OUTPUT\n name x", "f.conf:1: is no section"),
        ("[]\n name x", "f.conf:1: is no section"),
        ("name x", "f.conf:1: stands in no section"),
        ("[OUTPUT]\n splunk_token", "f.conf:2: splunk_token has no value"),
        ("[OUTPUT]\n [group]\n a b", "f.conf:2: groups within a section"),
        ("@NOTHING x", "f.conf:1: is no directive"),
        ("@SET x", "f.conf:1: is no directive"),
    ],
)
def test_a_mistake_is_told_with_file_and_line_and_without_a_value(text: str, expected: str) -> None:
    with pytest.raises(FluentBitError, match=r"f\.conf:") as caught:
        list(syntax.parse_classic(text, "f.conf"))
    assert str(caught.value).startswith(expected)


YAML = b"""
env: {HOME_: here}
service: {httpServer: true, flush: 1, storage.path: /data}
pipeline:
  inputs: [{name: http}]
  filters: [{name: modify, match: '*', add: [a 1, b 2]}]
  outputs: [{Name: splunk, Match: audit, port: 8088}]
includes: ["*.backend.yaml"]
"""


def test_a_value_in_yaml_is_the_text_that_stands_there() -> None:
    """As fluent-bit 5.1.1 sent it to a HEC: `Authorization: Splunk 0123`, `"index":"no"`."""
    written = ("0123", "no", "1_000", "1e5", "~", "Null", "2024-01-01", "=", "1.10", "0x1F", "12:30:45")
    lines = "".join(f"\n    - {{name: splunk, splunk_token: {value}}}" for value in written)

    parts = list(syntax.parse_yaml(f"pipeline:\n  outputs:{lines}\n".encode(), "f.yaml"))

    assert tuple(part.text("splunk_token") for part in parts if isinstance(part, FluentSection)) == written


def test_a_classic_line_ends_at_a_line_feed_and_nowhere_else() -> None:
    (section,) = syntax.parse_classic("[OUTPUT]\r\n name\tsplunk\r\n splunk_token a\u2028b\x0cc\x85d\n", "f.conf")

    assert isinstance(section, FluentSection)
    assert section.text("splunk_token") == "a\u2028b\x0cc\x85d"


def test_yaml_gives_the_same_sections() -> None:
    parts = list(syntax.parse_yaml(YAML, "f.yaml"))

    assert parts[0] == FluentVariable("HOME_", "here")
    assert parts[-1] == FluentInclude("*.backend.yaml", "f.yaml: includes")
    sections = [part for part in parts if isinstance(part, FluentSection)]
    assert [(one.kind, [(entry.key, entry.value) for entry in one.entries]) for one in sections] == [
        ("service", [("http_server", "true"), ("flush", "1"), ("storage.path", "/data")]),
        ("input", [("name", "http")]),
        ("filter", [("name", "modify"), ("match", "*"), ("add", "a 1"), ("add", "b 2")]),
        ("output", [("name", "splunk"), ("match", "audit"), ("port", "8088")]),
    ]
    assert sections[3].entries[2].place == "f.yaml: pipeline.outputs[0].port"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"pipeline: {inputs: {}}", "pipeline.inputs: is no list"),
        (b"pipeline: {output: []}", "pipeline.output: is not known"),
        (b"pipeline: {outputs: [{name: [[]]}]}", "outputs[0].name: is no text"),
        (b"pipeline: {outputs: [{name: x, processors: {}}]}", "outputs[0].processors: processors change events"),
        (b"[]", "is no mapping"),
        (b"a: b: c", "1:5"),
    ],
)
def test_a_mistake_in_yaml_is_told_with_its_path(text: bytes, expected: str) -> None:
    with pytest.raises(FluentBitError, match=r"f\.yaml") as caught:
        list(syntax.parse_yaml(text, "f.yaml"))
    assert expected in str(caught.value)


def test_files_are_included_in_the_order_of_their_names_where_they_are_named(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.backend.conf").write_text(f"[OUTPUT]\n name {name}\n")
    (tmp_path / "main.conf").write_text("[INPUT]\n name http\n@INCLUDE *.backend.conf\n[OUTPUT]\n name last\n")

    found = read(tmp_path / "main.conf")

    assert [one.plugin for one in found.sections] == ["http", "a", "b", "c", "last"]
    assert found.sections[1].file == str(tmp_path / "a.backend.conf")


def test_a_pattern_without_files_is_no_mistake_and_a_name_without_one_is(tmp_path: Path) -> None:
    (tmp_path / "main.conf").write_text("[INPUT]\n name http\n@INCLUDE *.backend.conf\n")
    assert len(read(tmp_path / "main.conf").sections) == 1

    (tmp_path / "main.conf").write_text("@INCLUDE other.conf\n")
    with pytest.raises(FluentBitError, match=r"other\.conf: No such file"):
        read(tmp_path / "main.conf")


def test_a_circle_of_files_ends(tmp_path: Path) -> None:
    (tmp_path / "main.conf").write_text("@INCLUDE main.conf\n")

    with pytest.raises(FluentBitError, match="included twice"):
        read(tmp_path / "main.conf")


@pytest.mark.parametrize(("content", "expected"), [(b"\xff\xfe", "is not UTF-8"), (b"#" * 2_000_000, "larger than")])
def test_what_is_no_configuration_is_told_so(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "main.conf").write_bytes(content)

    with pytest.raises(FluentBitError, match=expected):
        read(tmp_path / "main.conf")

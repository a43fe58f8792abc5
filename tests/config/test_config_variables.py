"""Variables of the environment in a configuration: in place of a value, and of a key over a file and without one."""

import pytest
from configkit import DISK, mistakes, parsed

from auditsink import load
from auditsink.config import SplunkConfig


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("${HOST:-here}", {}, "here"),
        ("${HOST:-here}", {"HOST": ""}, "here"),
        ("${HOST:-here}", {"HOST": "there"}, "there"),
        ("${HOST:-}", {}, ""),
        ("${HOST:-a:-b}", {}, "a:-b"),
        ("$${HOST:-here}", {}, "${HOST:-here}"),
    ],
)
def test_a_variable_may_have_a_default(text: str, variables: dict[str, str], expected: str) -> None:
    config = parsed(
        f"destinations: [{{name: a, type: splunk, url: 'http://h', token: t, source: '{text}'}}]", **variables
    )
    (splunk,) = config.destinations
    assert isinstance(splunk, SplunkConfig)
    assert splunk.source == expected


def test_the_environment_fills_values_of_every_type() -> None:
    text = """
        receive: {max_connections: "${N}"}
        destinations:
          - {name: a, type: splunk, url: "https://${HOST}:8088", token: "${TOKEN}", acknowledge: "${ACK}",
             timeout: "${WAIT}", fields: {literal: "$${HOST}", both: "${HOST}-${HOST}"}}
        """
    config = parsed(text, N="12", HOST="hec", TOKEN="t-2", ACK="True", WAIT="3s")
    splunk = config.destinations[0]
    assert isinstance(splunk, SplunkConfig)
    assert config.receive.max_connections == 12
    assert (splunk.url, splunk.acknowledge, splunk.timeout) == ("https://hec:8088", True, 3.0)
    assert splunk.fields == {"literal": "${HOST}", "both": "hec-hec"}
    assert splunk.token is not None
    assert splunk.token.reveal() == "t-2"


def test_an_unset_variable_is_told_by_path_and_name() -> None:
    (mistake,) = mistakes('destinations: [{name: a, type: http, url: "${NOPE}"}]')
    assert mistake == (
        "f.yaml: destinations[0].url: the environment variable NOPE is not set; set it, write ${NOPE:-default}, "
        "or $${NOPE} for the text"
    )


@pytest.mark.parametrize("text", ["${", "${}", "${a b}", "${1}", "x${y"])
def test_a_reference_that_is_no_name_is_refused(text: str) -> None:
    assert "names no environment variable" in mistakes(f'destinations: [{{name: a, type: http, url: "{text}"}}]')[0]


def test_quoted_numbers_are_no_numbers_but_numbers_from_the_environment_are() -> None:
    assert "expected a whole number" in mistakes(DISK + 'receive: {max_clusters: "5"}')[0]
    assert "expected a whole number" in mistakes(DISK + 'receive: {max_clusters: "${N}"}', N="five")[0]
    assert parsed(DISK + 'receive: {max_clusters: "${N}"}', N="5").receive.max_clusters == 5


def test_variables_stand_for_keys_over_a_file_and_without_one() -> None:
    found = parsed(
        "destinations: [{name: a, type: stdout}, {name: b, type: stdout}]",
        AUDITSINK__RECEIVE__LISTEN="127.0.0.1:1",
        AUDITSINK__destinations__1__name="c",
        AUDITSINK__spool__max_bytes="2GiB",
    )
    assert (found.receive.listen, found.spool.max_bytes) == ("127.0.0.1:1", 2 * 2**30)
    assert [one.name for one in found.destinations] == ["a", "c"]
    alone = parsed(
        "", AUDITSINK__destinations="[{name: a, type: splunk, url: 'https://h', token: '${T}'}]", T="swordfish"
    )
    assert alone.destinations[0].name == "a"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AUDITSINK__receive__listen__x", "1", "stands for a key inside of what holds none"),
        ("AUDITSINK__destinations__7__name", "x", "stands for place 7 of a list that has 1"),
        ("AUDITSINK__receive", "{swordfish", "holds no YAML; quote it"),
    ],
)
def test_a_variable_that_fits_nowhere_is_told_without_its_value(name: str, value: str, said: str) -> None:
    (mistake,) = mistakes("receive: {listen: a}\ndestinations: [{name: a, type: stdout}]", **{name: value})
    assert mistake.startswith(f"f.yaml: {name}: {said}")
    assert "swordfish" not in mistake


@pytest.mark.parametrize(("file", "place"), [("", "AUDITSINK__recieve__listen"), ("recieve: {}\n", "f.yaml:1")])
def test_a_variable_that_makes_an_unknown_section_is_named(file: str, place: str) -> None:
    with pytest.raises(load.ConfigError) as caught:
        parsed(f"{file}destinations: [{{name: a, type: stdout}}]", AUDITSINK__recieve__listen="x")
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(f'{place}: recieve: unknown key; did you mean "receive"?')


def test_a_mistake_in_a_variable_names_it_and_one_in_the_file_its_line() -> None:
    text = "receive: {listen: '127.0.0.1:1'}\ndestinations: [{name: a, type: file, path: a}]\nspool: {max_bytes: many}"
    with pytest.raises(load.ConfigError) as caught:
        parsed(text, AUDITSINK__receive__lisen="x", AUDITSINK__Destinations__0__rotate="3")
    assert sorted(mistake.split(":")[:2] for mistake in caught.value.mistakes) == [
        ["AUDITSINK__Destinations__0__rotate", " destinations[0].rotate"],
        ["AUDITSINK__receive__lisen", " receive.lisen"],
        ["f.yaml", "3"],
    ]

"""Filters as they are written: mistakes by key, files that are read again, and what `check` says of them."""

import logging
import os
from pathlib import Path

import pytest
from filterkit import batch, configured, event

from auditsink import load
from auditsink.delivery.destination import DestinationError
from auditsink.filters import rules
from auditsink.filters.build import build, policy_of

MISTAKES = {
    "{}": "filter.policy: is missing",
    "{policy: {rules: []}}": "policy.rules: is empty",
    "{policy: {rules: [{}]}}": "policy.rules[0].level: is missing",
    "{policy: {rules: [{level: All}]}}": "policy.rules[0].level: expected one of",
    "{policy: {rules: [{level: None, verb: [get]}]}}": 'unknown key; did you mean "verbs"?',
    "{policy: {rules: [{level: None, resources: [{group: apps/v1}]}]}}": "resources[0].group: is no API group",
    "{policy: {rules: [{level: None, resources: [{resourceNames: [a]}]}]}}": "resourceNames: needs resources",
    "{policy: {rules: [{level: None, nonResourceURLs: [healthz]}]}}": "nonResourceURLs[0]: must begin with /",
    "{policy: {rules: [{level: None, nonResourceURLs: ['/a*b']}]}}": "nonResourceURLs[0]: may hold * as its last",
    "{policy: {rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]}}": "nonResourceURLs: fits no request",
    "{policy: {rules: [{level: None, omitStages: [Done]}]}}": "omitStages[0]: expected one of",
    "{policy: {apiVersion: audit.k8s.io/v1beta1, rules: [{level: None}]}}": "apiVersion: expected one of",
    "{policy: {rules: [{level: None}]}, policy_file: x}": "stands beside policy_file",
    "{policy_file: x, only: [{}]}": "filter.policy_file: stands beside only or except",
    "{only: [{level: None}]}": "only[0].level: would deliver nothing",
    "{except: [{level: Metadata}]}": "except[0].level: must be left out",
    "{drop_fields: [auditID]}": "drop_fields[0]: is what makes an event one",
    "{drop_fields: ['a..b']}": "drop_fields[0]: is no path",
    "{mask: [passwords]}": "mask[0]: expected one of configmaps, secrets, tokens",
    "{unreadable: drop, mask: [secrets]}": "unreadable: expected one of dead_letter, pass",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_by_its_key(text: str) -> None:
    with pytest.raises(load.ConfigError) as caught:
        configured(text)
    assert "destinations[0].filter" in str(caught.value)
    assert MISTAKES[text] in str(caught.value)


def test_a_destination_without_a_filter_has_none() -> None:
    config = load.parse(b"destinations: [{name: out, type: stdout}]", "f", {})
    assert build(config.destinations[0]) is None
    assert policy_of(config.destinations[0]) is None


POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
metadata: {name: x, creationTimestamp: null}
rules: [{level: LEVEL}]
"""


def test_a_policy_file_is_read_again_when_it_changes_and_the_last_good_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("LEVEL", "None"))
    sift = build(configured(f"{{policy_file: {file}}}"))
    assert sift is not None
    assert sift(batch(event())).batch.events == []
    file.write_text(POLICY.replace("LEVEL", "RequestResponse"))
    with caplog.at_level(logging.INFO):
        assert sift(batch(event())).batch.events == [event()]
        file.write_text("rules: [{level: CANARY}]")
        assert [sift(batch(event())).batch.events for _ in range(2)] == [[event()], [event()]]
        os.unlink(file)  # noqa: PTH108 - as an operator does
        assert sift(batch(event())).batch.events == [event()]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3, said
    assert "rules[0].level: expected one of" in str(vars(caplog.records[1]))
    assert "CANARY" not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("content", "why"),
    [("rules: [", "1:"), ("kind: Config", "rules: is missing"), ("rules: [{level: 1}]", "rules[0].level")],
)
def test_an_unusable_policy_file_is_told_with_its_key(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(content)
    for function in (build, policy_of):
        with pytest.raises(DestinationError) as caught:
            function(configured(f"{{policy_file: {file}}}"))
        assert str(caught.value).startswith(f"destinations[siem].filter.policy_file: {file}: ")
        assert why in str(caught.value)


def said(text: str) -> list[str]:
    config = configured(text)
    assert config.filter is not None
    return list(rules.described("siem", config.filter, policy_of(config)))


def risks(text: str) -> list[str]:
    config = configured(text)
    assert config.filter is not None
    return list(rules.risks(config.filter, policy_of(config)))


def test_a_filter_is_told_in_words() -> None:
    assert said(
        "{except: [{verbs: [get], users: [a, b], resources: [{resources: [pods], resourceNames: [p]}, {group: apps}]}],"
        " mask: [secrets], drop_fields: [userAgent]}"
    ) == [
        "siem, rule 1: of get requests for pods named p (core); everything (apps) by a, b: nothing",
        "siem, rule 2: of all requests: as they came",
        "siem, taken out: userAgent",
        "siem, masked: the values in secrets",
        "siem, what cannot be read as an event: becomes a dead letter",
    ]
    assert said(
        "{policy: {omitStages: [Panic], rules: [{level: Metadata, namespaces: ['', a]},"
        "{level: Request, nonResourceURLs: [/a], omitStages: [Panic]}]}, unreadable: pass}"
    ) == [
        "siem, rule 1: of all requests in no namespace, a: no bodies (Metadata), without the stages Panic",
        "siem, rule 2: of all requests at /a: no bodies of answers (Request), without the stages Panic",
        "siem, of what no rule fits: nothing",
        "siem, what cannot be read as an event: goes through as it is",
    ]
    assert said("{mask: [tokens]}")[0] == "siem gets every event"


BESIDE = """{
  policy: {rules: [{level: Metadata, resources: [{group: '*', resources: [x]}]}]},
  except: [
    {responseCodes: [404, 5xx], userAgents: [a*], names: ['*b'], requestURIs: [/c], dryRun: true, unchanged: false},
    {unchanged: true},
  ]}"""


def test_what_no_policy_can_say_is_told_in_words_too() -> None:
    first, *others = said(BESIDE)
    assert first == (
        "siem, rule 1: of all requests of objects named like *b at addresses like /c from clients like a* "
        "answered with 404, 5xx that were a dry run but updates that changed nothing: nothing"
    )
    assert others[:-1] == [
        "siem, rule 2: of all requests that changed nothing: nothing",
        "siem, rule 3: of all requests: what the policy says",
        "siem, of what is left, policy rule 1: of all requests for x (any group): no bodies (Metadata)",
        "siem, of what no rule of the policy fits: nothing",
    ]


def test_a_long_list_is_shortened() -> None:
    users = ", ".join(f"u{number}" for number in range(100))
    assert "u7 and 92 more" in said(f"{{only: [{{users: [{users}]}}]}}")[0]


def test_what_is_risky_is_told() -> None:
    (risk,) = risks("{policy: {rules: [{level: Metadata, users: [a]}]}}")
    assert "what no rule fits is not delivered" in risk
    (risk,) = risks("{policy: {rules: [{level: None, users: [a]}]}}")
    assert "nothing is ever delivered" in risk
    (risk,) = risks("{policy: {rules: [{level: Metadata}, {level: None}]}}")
    assert "rule 1 fits every request" in risk
    (risk,) = risks("{mask: [secrets], unreadable: pass}")
    assert "could not be masked" in risk
    assert risks("{only: [{users: [a]}]}") == risks("{except: [{users: [a]}]}") == risks("{mask: [secrets]}") == []

"""Policies as people keep them: where in a file one stands, and what of it kube-apiserver would pass over."""

import logging
from pathlib import Path

import pytest
from filterkit import batch, configured, event, left

from auditsink import load
from auditsink.config import NotedPolicy, Policy
from auditsink.filters import rules
from auditsink.filters.build import build, policy_of
from auditsink.filters.policy import parse_policy

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
POLICY = HEAD + "rules: [{level: Metadata}]\n"
OTHER = HEAD + "rules: [{level: None}]\n"
JSON = '{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata", "users": ["a\\/b"]}]}'
MACHINES = "{level: Metadata, resources: [{group: machineconfiguration.openshift.io, resource: [machineconfig]}]}"
OPENSHIFT = f"{HEAD}rules:\n- {MACHINES}\n- level: RequestResponse\n"


def indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def config_map(text: str, key: str = "policy") -> str:
    """A ConfigMap that holds a text."""
    return (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: p, namespace: garden-a}}\ndata:\n  {key}: |\n"
        f"    {indented(text).rstrip()}\n"
    )


NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: garden-a}\n"
FOUND = {
    "alone": POLICY,
    "after a comment and a mark": f"# ours\n---\n{POLICY}---\n",
    "with a byte order mark and CRLF": "\ufeff" + POLICY.replace("\n", "\r\n"),
    "JSON": JSON,
    "JSON with tabs": JSON.replace(" ", "\n\t"),
    "Gardener's ConfigMap": config_map(POLICY),
    "a ConfigMap for a file": config_map(POLICY, "audit-policy.yaml"),
    "a ConfigMap with another name": config_map(POLICY, "policy.yaml"),
    "JSON in a ConfigMap": config_map(JSON),
    "two keys in a ConfigMap": config_map(POLICY) + f"  audit-policy.yaml: |\n    {indented(OTHER)}",
    "between other objects": f"{NAMESPACE}---\n{config_map(POLICY)}---\n{NAMESPACE}",
    "behind another object": f"{NAMESPACE}---\n{POLICY}",
    "a List": "apiVersion: v1\nkind: List\nitems:\n"
    + "".join(f"-\n    {indented(one).strip()}\n" for one in (NAMESPACE, config_map(POLICY))),
    "a PolicyList": "apiVersion: audit.k8s.io/v1\nkind: PolicyList\nitems: [{rules: [{level: Metadata}]}]",
    "null where nothing is meant": HEAD
    + "metadata: null\nomitStages: null\nrules: [{level: Metadata, users: null, resources: null}]",
    "all of metadata": POLICY
    + "metadata: {name: a, namespace: b, uid: c, resourceVersion: '1', managedFields: [{manager: m}]}",
}


@pytest.mark.parametrize("name", FOUND)
def test_a_policy_is_found_where_people_keep_it(name: str) -> None:
    found = parse_policy(FOUND[name].encode(), "f")
    assert [rule.level for rule in found.rules] == ["Metadata"]
    assert type(found) is Policy, "nothing was passed over"


LOST = {
    "nothing": ("", "f: is empty; write a Policy into it"),
    "comments": ("# later\n", "f: is empty"),
    "another object": (NAMESPACE, "kind: expected one of Policy"),
    "other objects": (f"{NAMESPACE}---\n{NAMESPACE}", "f: holds no Policy, nor a ConfigMap with one under policy or"),
    "a ConfigMap without": (config_map("x", "log"), "f: holds no Policy, nor a ConfigMap"),
    "a ConfigMap with nothing in it": (config_map("# later"), "f: data.policy: is empty"),
    "two ConfigMaps": (f"{config_map(POLICY)}---\n{config_map(OTHER)}",
                       "f: holds 2 policies (documents[0].data.policy, documents[1].data.policy); keep one"),
    "broken in a ConfigMap": (config_map("rules: ["), "f: data.policy:2:1: expected the node content"),
    "wrong in a ConfigMap": (config_map(HEAD + "rules: [{level: All}]"), "f: data.policy.rules[0].level: expected one"),
    "an old version": (POLICY.replace("v1", "v1beta1"), "f: apiVersion: expected one of audit.k8s.io/v1: kube-apis"),
    "an old one in a ConfigMap": (config_map(POLICY.replace("v1", "v1beta1")), "f: data.policy.apiVersion: expected"),
    "equal keys": (POLICY + "rules: [{level: None}]", "f:4:1: this key stands in line 3 already; keep one"),
    "equal keys in JSON": (JSON[:-1] + ', "kind": "Policy"}', "f: a key stands more than once in one object"),
    "lone surrogates": ('{"kind": "ConfigMap", "data": {"policy": "\\ud800"}}', "f: data.policy:1:1: is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_what_holds_no_policy_is_told_with_its_place(name: str) -> None:
    text, why = LOST[name]
    with pytest.raises(load.ConfigError) as caught:
        parse_policy(text.encode(), "f")
    assert why in str(caught.value)


def test_of_several_policies_the_first_counts_as_for_kube_apiserver() -> None:
    for rest in (OTHER, "[{", NAMESPACE):
        found = parse_policy(f"{POLICY}---\n{rest}".encode(), "f")
        assert isinstance(found, NotedPolicy)
        assert [rule.level for rule in found.rules] == ["Metadata"]
        assert found.notes == ["what follows the first document: kube-apiserver reads no other"]


def test_a_policy_file_takes_nothing_from_the_environment() -> None:
    text = HEAD + "rules: [{level: Metadata, users: ['${HOME}', '$${x']}]"
    assert parse_policy(text.encode(), "f").rules[0].users == ["${HOME}", "$${x"]


UNKNOWN = 'rules[0].resources[0].resource: unknown key; did you mean "resources"? (known keys: group, '


def test_an_unknown_key_is_refused_with_what_kube_apiserver_does_and_how_to_have_that() -> None:
    with pytest.raises(load.ConfigError) as caught:
        parse_policy(OPENSHIFT.encode(), "f")
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(f"f: {UNKNOWN}")
    assert mistake.endswith(
        "; kube-apiserver warns and passes over it, which policy_unknown_keys: warn allows here too"
    )


def test_an_unknown_key_is_passed_over_where_that_is_wanted() -> None:
    found = parse_policy(OPENSHIFT.encode(), "f", "warn")
    assert isinstance(found, NotedPolicy)
    (note,) = found.notes
    assert note.startswith(UNKNOWN)
    assert found.rules[0].resources[0].resources == [], "so it fits all of the group, as for kube-apiserver"
    inside = parse_policy(config_map(OPENSHIFT).encode(), "f", "warn")
    assert isinstance(inside, NotedPolicy)
    assert inside.notes == [f"data.policy.{note}"]


def test_the_last_of_two_equal_keys_counts_where_kube_apiservers_reading_is_wanted() -> None:
    for text in (HEAD + "rules: [{level: None}]\nrules: [{level: Metadata}]", config_map(f"{POLICY}kind: Policy")):
        found = parse_policy(text.encode(), "f", "warn")
        assert isinstance(found, NotedPolicy)
        assert [rule.level for rule in found.rules] == ["Metadata"]
        assert "the last one counts" in found.notes[0]


def test_a_misspelt_level_is_none_even_where_unknown_keys_are_passed_over() -> None:
    with pytest.raises(load.ConfigError) as caught:
        parse_policy((HEAD + "rules: [{Level: Metadata}]").encode(), "f", "warn")
    assert "rules[0].level: is missing" in str(caught.value)


INLINE = f"{{policy_unknown_keys: HOW, policy: {{rules: [{MACHINES}, {{level: RequestResponse}}]}}}}"


def test_a_policy_in_the_configuration_is_read_in_the_same_way() -> None:
    with pytest.raises(load.ConfigError) as caught:
        configured(INLINE.replace("HOW", "refuse"))
    assert f"destinations[0].filter.policy.{UNKNOWN}" in str(caught.value)
    assert "policy_unknown_keys: warn" in str(caught.value)
    policy = policy_of(configured(INLINE.replace("HOW", "warn")))
    assert isinstance(policy, NotedPolicy)
    assert policy.notes[0].startswith(f"destinations[0].filter.policy.{UNKNOWN}")
    assert left(INLINE.replace("HOW", "warn"), event()) == event()


def test_what_is_wanted_may_stand_in_the_environment() -> None:
    wanted = INLINE.replace("HOW", "'${HOW}'")
    text = f"destinations: [{{name: siem, type: stdout, filter: {wanted}}}]".encode()
    assert isinstance(policy_of(load.parse(text, "f", {"HOW": "warn"}).destinations[0]), NotedPolicy)
    with pytest.raises(load.ConfigError) as caught:
        load.parse(text, "f", {"HOW": "refuse"})
    assert UNKNOWN in str(caught.value)


def test_no_other_key_is_ever_passed_over() -> None:
    for text in (
        "{policy_unknown_keys: warn, policy: {rules: [{level: None}]}, except: [{dryrun: true, dryRun: true}]}",
        "{policy_unknown_keys: warn, policy: {rules: [{level: None}]}, maks: [secrets]}",
    ):
        with pytest.raises(load.ConfigError) as caught:
            configured(text)
        assert "unknown key; did you mean" in str(caught.value)
        assert "kube-apiserver" not in str(caught.value)


def test_a_key_that_no_policy_has_is_told_where_to_go() -> None:
    with pytest.raises(load.ConfigError) as caught:
        configured("{policy: {rules: [{level: None, responseCodes: [404]}]}}")
    assert "policy.rules[0].responseCodes: unknown key; no Policy can say this; write it in only" in str(caught.value)


def test_what_was_passed_over_is_logged_and_shown_by_check(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(OPENSHIFT)
    config = configured(f"{{policy_unknown_keys: warn, policy_file: {file}}}")
    assert config.filter is not None
    (risk,) = rules.risks(config.filter, policy_of(config))
    assert risk.startswith(f"passed over in the policy, as kube-apiserver does: {UNKNOWN}")
    with caplog.at_level(logging.WARNING):
        chosen = build(config)
        assert chosen is not None
        file.write_text(OPENSHIFT.replace("machineconfig]", "x, y]"))
        assert chosen(batch(event())).batch.events == [event()]
    assert len(caplog.records) == 2, "once at the start, once when the file is another one"
    assert all(UNKNOWN in str(vars(record)) for record in caplog.records)

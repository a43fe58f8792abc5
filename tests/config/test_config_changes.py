"""What differs between two configurations, and what of it a running sink takes up."""

import pytest
from configkit import parsed

from auditsink.config.changes import between, lost

BASE = """
receive: {listen: "127.0.0.1:0", max_body: 1MiB}
spool: {path: /s}
destinations:
- {name: a, type: file, path: /a}
- {name: b, type: splunk, url: "http://127.0.0.1:1", token: swordfish}
"""


def test_the_same_file_is_no_change_whatever_the_order_and_however_secrets_are_read() -> None:
    head, first, second = BASE.rpartition("- {name: b")[0].rpartition("- {name: a")[0], *BASE.splitlines()[-2:]
    changes = between(parsed(BASE), parsed(f"{head}{second}\n{first}\n"))
    assert not changes.any
    assert changes.sentences() == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("path: /a}", "path: /a, keep: 2}", "destination a is changed"),
        ("token: swordfish", "token: tunny", "destination b is changed"),
        ("path: /a}", "path: /a, filter: {mask: [secrets]}}", "destination a is changed"),
        ("- {name: a", "- {name: c, type: stdout}\n- {name: a", "destination c is added"),
        ("- {name: a, type: file, path: /a}\n", "", "destination a is removed"),
        ("max_body: 1MiB", "max_body: 2MiB", "limits are changed"),
        ("destinations:", "log: {level: debug}\ndestinations:", "the log's level is changed"),
        ("destinations:", "log: {format: text}\ndestinations:", "log.format needs a restart"),
        ("path: /s", "path: /t", "spool.path needs a restart"),
        ("127.0.0.1:0", "127.0.0.1:1", "receive.listen needs a restart"),
        ("destinations:", 'admin: {listen: "127.0.0.1:3"}\ndestinations:', "admin.listen needs a restart"),
        ("destinations:", "evidence: {path: /e}\ndestinations:", "evidence needs a restart"),
        ("destinations:", "clusters: [{name: a, anonymous: true}]\ndestinations:", "clusters needs a restart"),
        ("destinations:", "watch: true\ndestinations:", "watch needs a restart"),
    ],
)
def test_each_change_is_told_and_what_needs_a_restart_stays(old: str, new: str, said: str) -> None:
    before = parsed(BASE)
    changes = between(before, parsed(BASE.replace(old, new, 1)))
    assert changes.sentences() == [said]
    if said.endswith("a restart"):
        assert not changes.any
        assert changes.target == before


def test_clusters_that_were_declared_and_still_are_change_at_once() -> None:
    declared = BASE + "clusters: [{name: a, anonymous: true}]\n"
    changes = between(parsed(declared), parsed(declared.replace("name: a, anon", "name: c, anon")))
    assert changes.sentences() == ["clusters are changed"]


def test_a_removed_destination_that_has_not_got_everything_is_told() -> None:
    (sentence,) = lost(["a", "b"], {"a": 1234, "b": 0})
    assert sentence.startswith("destination a has not got 1,234 events")

"""Paths of `drop_fields`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.audit.paths import EACH, parse

GOOD = {
    "userAgent": ("userAgent",),
    "requestObject.metadata.managedFields": ("requestObject", "metadata", "managedFields"),
    "responseObject.items[*].metadata": ("responseObject", "items", EACH, "metadata"),
    'annotations["authorization.k8s.io/reason"]': ("annotations", "authorization.k8s.io/reason"),
    'a["b.c"][*]["d"].e': ("a", "b.c", EACH, "d", "e"),
}
BAD = [
    "",
    ".a",
    "a.",
    "a..b",
    "a[*",
    "[*]",
    "a[0]",
    "a[]",
    'a[""]',
    'a.["b"]',
    "auditID",
    "level",
    "x." * 30 + "x",
    "*",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_path_leads_inwards(text: str) -> None:
    assert parse(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"path|begin|event"):
        parse(text)


@given(st.text(max_size=40))
def test_a_path_or_a_sentence(text: str) -> None:
    try:
        steps = parse(text)
    except ValueError:
        steps = ("refused",)
    assert steps[0]

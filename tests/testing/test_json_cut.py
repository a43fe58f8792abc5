"""Cutting JSON without recursion finds the same parts as parsing it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.testing.json_cut import check, items, members, value_end

documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@given(st.lists(documents), st.booleans())
def test_items_are_those_that_parsing_finds(several: list[object], spaced: bool) -> None:
    raw = json.dumps(several, indent=2 if spaced else None).encode()
    found, end = items(raw + b"rest", 0)

    assert end == len(raw)
    assert [json.loads(one) for one in found] == several


@given(st.dictionaries(st.text(), documents), st.booleans())
def test_members_are_those_that_parsing_finds(document: dict[str, object], spaced: bool) -> None:
    raw = json.dumps(document, indent=2 if spaced else None).encode()
    found, end = members(raw + b"rest", 0)

    assert end == len(raw)
    assert {json.loads(b'"%b"' % key): json.loads(value) for key, value in found.items()} == document


@pytest.mark.parametrize("raw", [b"", b" ", b"[", b'{"a":1', b'"open', b"]"])
def test_what_ends_too_early_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no complete value"):
        value_end(raw, 0)


@pytest.mark.parametrize("raw", [b"[1 2]", b"[1,", b"{1}", b""])
def test_a_broken_array_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no "):
        items(raw, 0)


@pytest.mark.parametrize("raw", [b"\xff", b"{'a':1}", b"[1", b""])
def test_what_is_no_json_does_not_pass(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"decode|Expecting"):
        check(raw)


@pytest.mark.parametrize("raw", [rb'"\ud800"', b"9" * 5_000, b"[" * 9_900 + b"]" * 9_900, b'{"a":1}{"b":2}'])
def test_odd_but_legal_json_passes(raw: bytes) -> None:
    check(raw)

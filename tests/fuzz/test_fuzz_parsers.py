"""The quick form of fuzzing: mutations of what each parser usually gets, and inputs that once broke one.

The long form is `make fuzz`; see `long_form`.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS

DEEP = 20_000

FOUND = [
    (name, bad)
    for name in sorted(TARGETS)
    for bad in (b"", b"[" * DEEP, b'{"a":' * DEEP, b'{"event":' + b"[" * DEEP + b"]" * DEEP + b"}", b"\xff" * 100)
]
"""Every target gets these: nesting without end (which broke dead letters and manifests), nothing, no text."""
FOUND += [
    ("sources", b'{"kind":"EventLis\xff'),  # a first line that is no UTF-8
]


@pytest.mark.parametrize(("name", "bad"), FOUND, ids=lambda value: repr(value[:12]))
def test_what_breaks_parsers_breaks_none(name: str, bad: bytes) -> None:
    TARGETS[name].run(bad)


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_mutations_of_the_usual(name: str, data: st.DataObject) -> None:
    """A piece is cut out of a seed, doubled, or replaced by a piece of another or by anything."""
    target = TARGETS[name]
    one, other = (data.draw(st.sampled_from(target.seeds)) for _ in range(2))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(one))] * 2)))
    cut = data.draw(st.integers(0, len(other)))
    piece = data.draw(st.one_of(st.binary(max_size=64), st.just(other[cut : cut + 64]), st.just(one[start:stop] * 2)))
    target.run(one[:start] + piece + one[stop:])

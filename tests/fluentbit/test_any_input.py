"""Whatever stands in a configuration, a chunk or an answer: a sentence, or what was meant, and nothing else."""

import json
from collections.abc import Callable

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_chunks import RECORDED

from auditsink.audit.eventlist import split
from auditsink.destinations import fluentd_wire as wire
from auditsink.fluentbit import leftovers, syntax, values
from auditsink.fluentbit.document import FluentBitError, FluentDocument, FluentSection
from auditsink.fluentbit.keys import PLUGINS, SERVICE
from auditsink.fluentbit.translate import Surroundings, translate

KEYS = sorted({key for table in PLUGINS.values() for key in table} | set(SERVICE))
VALUES = st.one_of(
    st.sampled_from(
        ["on", "off", "audit", "*", "900M", "10m", "8088", "${A}", "${", "a b", "json", "gzip", "https://h/x"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=20),
)
SECTIONS = st.builds(
    lambda kind, plugin, keys: f"[{kind}]\n name {plugin}\n" + "".join(f" {key} {value}\n" for key, value in keys),
    st.sampled_from(["INPUT", "OUTPUT", "FILTER", "SERVICE"]),
    st.sampled_from([*PLUGINS, "http", "modify", "x"]),
    st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=6),
)


def sentence(call: Callable[[], object], error: type[Exception]) -> str | None:
    """What it says when it raises that error; None when it raises nothing."""
    try:
        call()
    except error as problem:
        return str(problem)
    return None


@given(st.text())
def test_any_text_is_sections_or_a_sentence(text: str) -> None:
    said = sentence(lambda: list(syntax.parse_classic(text, "f")), FluentBitError)

    assert said is None or "\n" not in said


@given(st.binary(max_size=400))
def test_any_bytes_are_yaml_or_a_sentence(data: bytes) -> None:
    said = sentence(lambda: list(syntax.parse_yaml(data, "f")), FluentBitError)

    assert said is None or said.startswith("f")


@given(st.lists(SECTIONS, max_size=4))
def test_any_keys_are_a_configuration_or_a_sentence(sections: list[str]) -> None:
    text = "[INPUT]\n name http\n[OUTPUT]\n name stdout\n match *\n" + "".join(sections)
    try:
        parts = list(syntax.parse_classic(text, "f"))
        document = FluentDocument(tuple(part for part in parts if isinstance(part, FluentSection)))
        found = translate(document, Surroundings({"A": "1"}, "/data"))
    except FluentBitError:
        return
    assert found.document["destinations"]


@pytest.mark.parametrize("read", [values.yes, values.size, values.seconds, values.port, values.pair, values.pairs])
@given(text=st.text(max_size=30))
def test_any_value_is_read_or_refused(read: Callable[[str], object], text: str) -> None:
    sentence(lambda: read(text), ValueError)
    said = sentence(lambda: read(f"\u00a7{text}"), ValueError)

    assert said is None or "\u00a7" not in said


def test_sizes_and_times_are_fluent_bits() -> None:
    assert [values.size(one) for one in ("900M", "5m", "1G", "4KB", "17")] == [9 * 10**8, 5 * 10**6, 10**9, 4000, 17]
    assert [values.seconds(one) for one in ("10m", "1h", "30", "2.5s")] == [600, 3600, 30, 2.5]


@given(st.integers(0, len(RECORDED.read_bytes()) - 1), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_chunk_with_other_bytes_is_events_or_a_sentence(place: int, other: bytes, cut: bool) -> None:
    data = RECORDED.read_bytes()
    data = data[:place] + other + (b"" if cut else data[place + len(other) :])
    assert sentence(lambda: [split(body) for body in leftovers.chunk_bodies(data, {})], leftovers.ChunkError) != ""


@given(st.binary(max_size=200))
@example(b"\x81\x80\x00")  # a map whose key is a map
def test_any_answer_is_understood_or_no_answer(received: bytes) -> None:
    try:
        said = wire.answer(received)
    except wire.NoForwardError:
        return
    if said is not None:
        wire.acknowledged(said, "chunk")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=100), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_event_is_a_record(event: bytes) -> None:
    record = msgpack.unpackb(wire.record(event), raw=False, unicode_errors="surrogatepass", strict_map_key=False)

    assert isinstance(record, dict)

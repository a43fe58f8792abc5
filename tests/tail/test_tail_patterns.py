"""Which events a listener wants."""

import pytest

from auditsink.tail.line import TailLine
from auditsink.tail.patterns import BadPatternError, TailPatterns

LINE = TailLine(
    cluster="prod", sequence=1, time="", bytes=1, user="system:node:a", verb="patch",
    resource="deployments.apps/scale", namespace="shop", name="web", code=403,
)  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        ({}, True),
        ({"user": [""]}, True),
        ({"user": ["system:node:a"]}, True),
        ({"user": ["system:node"]}, False),
        ({"user": ["system:*"]}, True),
        ({"user": ["!system:*"]}, False),
        ({"user": ["!admin"]}, True),
        ({"verb": ["get", "patch"]}, True),
        ({"verb": ["get", "list"]}, False),
        ({"verb": ["*", "!patch"]}, False),
        ({"resource": ["deployments"]}, True),
        ({"resource": ["deployments/scale"]}, True),
        ({"resource": ["deployments.apps"]}, True),
        ({"resource": ["deployments.apps/scale"]}, True),
        ({"resource": ["!deployments"]}, False),
        ({"resource": ["deploy"]}, False),
        ({"namespace": ["shop"], "code": ["4xx"]}, True),
        ({"namespace": ["shop"], "code": ["200"]}, False),
        ({"code": ["403"]}, True),
        ({"code": ["!4xx"]}, False),
        ({"cluster": ["test"]}, False),
    ],
)
def test_patterns(patterns: dict[str, list[str]], wanted: bool) -> None:
    assert TailPatterns(patterns).event(LINE) is wanted


def test_an_event_without_a_resource_has_none_of_that_name() -> None:
    line = TailLine(cluster="prod", sequence=1, time="", bytes=1, uri="/healthz")
    assert not TailPatterns({"resource": ["pods"]}).event(line)
    assert TailPatterns({"resource": ["!pods"]}).event(line)


def test_clusters_are_chosen_before_anything_is_read() -> None:
    several = TailPatterns({"cluster": ["prod-*", "!prod-eu"]})
    assert [several.cluster(name) for name in ("prod-us", "prod-eu", "test")] == [True, False, False]


@pytest.mark.parametrize("patterns", [{"pod": ["a"]}, {"user": ["x"] * 33}, {"user": ["x" * 257]}])
def test_odd_filters_are_refused(patterns: dict[str, list[str]]) -> None:
    with pytest.raises(BadPatternError):
        TailPatterns(patterns)

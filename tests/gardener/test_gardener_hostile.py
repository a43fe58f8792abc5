"""Whatever stands in a providerConfig: a plan, or a sentence for who wrote it, and never an exception."""

import contextlib
from typing import Any

import pytest
from gardenerkit import OWN, SPLUNK, cluster, seed
from hypothesis import given, settings
from hypothesis import strategies as st

from auditsink.gardener.api import decoding
from auditsink.gardener.api.controller_config import ControllerConfig
from auditsink.gardener.control.lifecycle import Outcome
from auditsink.gardener.control.operations import Operation
from auditsink.gardener.control.reconciler import Reconciler
from auditsink.gardener.control_plane import of_cluster
from auditsink.gardener.errors import ConfigurationError
from auditsink.gardener.sink import build

WORDS = st.sampled_from(
    [
        *(
            "destinations",
            "spool",
            "receive",
            "clusters",
            "members",
            "evidence",
            "log",
            "name",
            "type",
            "splunk",
            "url",
        ),
        *(
            "tls",
            "token_file",
            "replicas",
            "persistence",
            "size",
            "1Gi",
            "sink",
            "webhook",
            "mode",
            "labels",
            "backends",
        ),
        *("enabled", "host", "s3", "messages", "maxEventSize", "path"),
        *("${x}", "resource:lake/token", "${resource:lake/token}"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | WORDS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)
PLACE = of_cluster(cluster())


def planned(config: Any) -> None:
    controller = ControllerConfig()
    found = decoding.provider_config(config)
    build.mode(found, controller)
    if build.wanted(found, controller):
        needed = build.needed(found, PLACE, controller)
        build.plan(found, PLACE, controller, {name: {"data": {"token": "eA=="}} for name in needed})


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([OWN, SPLUNK]), st.dictionaries(WORDS, JSON, max_size=4), JSON)
def test_any_provider_config_is_a_plan_or_a_sentence(base: Any, more: Any, sink: Any) -> None:
    for config in ({**base, **more}, {**OWN, "sink": sink}, more, sink):
        with contextlib.suppress(ConfigurationError):
            planned(config)


@pytest.mark.parametrize(
    "sink", [{"clusters": 5}, {"clusters": "x"}, {"clusters": {"members": 1}}, {"spool": [1]}, {"receive": 1}]
)
def test_sections_of_another_shape_are_told(sink: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"sink\.(clusters|spool|receive): must be"):
        planned({**OWN, "sink": {**OWN["sink"], **sink}})


async def test_a_mistake_of_ours_is_told_and_tried_again_and_stops_nobody() -> None:
    class Broken:
        async def run(self, _operation: Operation, _extension: Any) -> Outcome:
            raise AttributeError("a bug")

    async with seed() as it:
        it.fill()
        counted: list[bool] = []
        reconciler = Reconciler(
            it.mine, it.landscape, Broken(), lambda: it.now, lambda _o, good, _s: counted.append(good)
        )
        assert not await reconciler("shoot--p--n/audit")
        assert it.extension["status"]["lastError"]["description"].startswith("unexpected: AttributeError")
        assert counted == [False]

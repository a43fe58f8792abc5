"""The schema of the chart's values; what helm makes of them is in tests/real/test_real_chart.py."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

KUBERNETES = Path(__file__).parents[2] / "config" / "kubernetes"
CHART = KUBERNETES / "chart"
SCHEMA = CHART / "values.schema.json"
VALUES = sorted([CHART / "values.yaml", *CHART.glob("values-*.yaml"), *(CHART / "ci").glob("*.yaml")])


def test_the_sinks_own_schema_in_it_is_the_one_that_editors_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(KUBERNETES))
    import values_schema  # noqa: PLC0415 - a program beside the chart

    whole = values_schema.whole(json.loads(SCHEMA.read_text()), values_schema.SINK.read_text())
    sys.modules.pop("values_schema")
    assert SCHEMA.read_text() == values_schema.text(whole, 2) + "\n", "make schema"


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_all_values_that_come_with_the_chart_are_right(path: Path) -> None:
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(yaml.safe_load(path.read_text()))


def test_every_value_is_in_it() -> None:
    known = json.loads(SCHEMA.read_text())["properties"]
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) == set(known) - {"global", "enabled"}

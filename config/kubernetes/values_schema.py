"""Puts the schema of the sink's own file into that of the chart's values, where it is `config`: `make schema`.

Everything else in chart/values.schema.json is written by hand. Helm takes one file and fetches no other.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHART = HERE / "chart" / "values.schema.json"
SINK = HERE.parent / "auditsink.schema.json"
INSIDE = "#/definitions/sink/"


def whole(chart: dict[str, Any], sink: str) -> dict[str, Any]:
    """The chart's schema with the sink's, given as text, inside."""
    parts = json.loads(sink.replace('"#/definitions/', f'"{INSIDE}'))["definitions"]
    config = parts["Config"]
    del config["required"]  # a release may take its file from elsewhere; the template asks for destinations otherwise
    destinations = config["properties"]["destinations"]
    del destinations["minItems"]
    destinations["items"]["properties"]["type"] = {"type": "string"}  # an image may bring types of others
    chart["definitions"]["sink"] = parts
    chart["properties"]["config"] = {"$ref": f"{INSIDE}Config"}
    return chart


def text(value: Any, expanded: int = 3, indent: int = 0) -> str:
    """JSON with a line for each entry of the outer mappings, so that a change is a line."""
    if not isinstance(value, dict) or not expanded:
        return json.dumps(value)
    pad = "\n" + "  " * (indent + 1)
    entries = (f"{json.dumps(key)}: {text(one, expanded - (key != 'sink'), indent + 1)}" for key, one in value.items())
    return "{" + pad + f",{pad}".join(entries) + "\n" + "  " * indent + "}"


if __name__ == "__main__":
    CHART.write_text(text(whole(json.loads(CHART.read_text()), SINK.read_text()), 2) + "\n")

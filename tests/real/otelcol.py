"""An OpenTelemetry Collector that takes OTLP and hands it on as OTLP/JSON, built by the Collector's own builder.

It stands in `.real/otelcol-VERSION` afterwards; the first build takes a few minutes. Its contributed components (the
`splunkhec` receiver among them) are not to be had through every Go module proxy, so the build does without them.
"""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from ground import CACHE, tool

VERSION = "0.120.0"
_CORE = "go.opentelemetry.io/collector"
_MODULES = {
    "receivers": (f"{_CORE}/receiver/otlpreceiver",),
    "exporters": (f"{_CORE}/exporter/otlphttpexporter", f"{_CORE}/exporter/debugexporter"),
}


def collector() -> Path:
    """The program; built when it is not there yet. Skips the test where it cannot be built."""
    go = tool("go", "it builds the OpenTelemetry Collector")
    place = CACHE / f"otelcol-{VERSION}"
    place.mkdir(parents=True, exist_ok=True)
    program = place / "otelcol"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may want it at once
        if not program.exists():
            _build(go, place)
    return program


def _build(go: str, place: Path) -> None:
    (place / "builder.yaml").write_text(_recipe(place))
    builder = [go, "run", f"{_CORE}/cmd/builder@v{VERSION}", "--config", "builder.yaml"]
    environment = {**os.environ, "GOFLAGS": "-p=2", "CGO_ENABLED": "0"}
    done = subprocess.run(builder, cwd=place, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the OpenTelemetry Collector {VERSION} cannot be built: {done.stderr[-600:]}")
    (place / "build" / "otelcol").rename(place / "otelcol")  # there only when it is whole


def _recipe(place: Path) -> str:
    sections = [f'dist: {{name: otelcol, version: "{VERSION}", output_path: "{place / "build"}"}}']
    for kind, modules in _MODULES.items():
        sections += [f"{kind}:", *(f"  - gomod: {module} v{VERSION}" for module in modules)]
    return "\n".join(sections) + "\n"

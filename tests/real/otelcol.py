"""An OpenTelemetry Collector that takes OTLP and hands it on as OTLP/JSON, built by the Collector's own builder.

The first build takes a few minutes. Its contributed components (the
`splunkhec` receiver among them) are not to be had through every Go module proxy, so the build does without them.
"""

from pathlib import Path

import gobuild

VERSION = "0.120.0"
_CORE = "go.opentelemetry.io/collector"
_MODULES = {
    "receivers": (f"{_CORE}/receiver/otlpreceiver",),
    "exporters": (f"{_CORE}/exporter/otlphttpexporter", f"{_CORE}/exporter/debugexporter"),
}


def collector() -> Path:
    """The program."""
    return gobuild.program("otelcol", VERSION, _build)


def _build(work: Path) -> Path:
    (work / "builder.yaml").write_text(_recipe(work))
    gobuild.go("run", f"{_CORE}/cmd/builder@v{VERSION}", "--config", "builder.yaml", folder=work)
    return work / "build" / "otelcol"


def _recipe(work: Path) -> str:
    sections = [f'dist: {{name: otelcol, version: "{VERSION}", output_path: "{work / "build"}"}}']
    for kind, modules in _MODULES.items():
        sections += [f"{kind}:", *(f"  - gomod: {module} v{VERSION}" for module in modules)]
    return "\n".join(sections) + "\n"

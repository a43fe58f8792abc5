"""An OpenTelemetry Collector: takes OTLP or Splunk's HEC, hands on OTLP in JSON. Built from its builder's sources.

What a Go module proxy had of `splunkhecreceiver`: v0.130.0 and v0.146.0 with all that they need, of v0.155.0 the
go.mod alone, of v0.120.0, v0.140.0, v0.150.0, v0.159.0, v0.165.0 and v0.165.1 nothing (403). The checksum database
behind it knew none of them (404; v0.100.0 and v0.115.0 neither). So the hashes of the contributed modules stand here,
and go checks each module against them or against the database, as ever. The builder's own `go mod tidy` is left out:
it wants modules that only tests need (`service/telemetry/telemetrytest` v0.146.0: 403).
"""

from pathlib import Path

import gobuild

VERSION = "0.146.0"
_CORE = "go.opentelemetry.io/collector"
_CONTRIBUTED = "github.com/open-telemetry/opentelemetry-collector-contrib"
_MODULES = {
    "receivers": (f"{_CORE}/receiver/otlpreceiver", f"{_CONTRIBUTED}/receiver/splunkhecreceiver"),
    "extensions": (f"{_CONTRIBUTED}/extension/ackextension", f"{_CONTRIBUTED}/extension/bearertokenauthextension"),
    "exporters": (f"{_CORE}/exporter/otlphttpexporter", f"{_CORE}/exporter/debugexporter"),
}
# The module's files and its go.mod, as go.sum of github.com/signalfx/splunk-otel-collector v0.146.0 has them.
_SUMS = {
    "extension/ackextension": (
        "BRzgjhS3eimYn5Y0E3cw26+5ViN++CyQY2WO+2mq/4E=",
        "QsNJrKVM2ZnSD6EcudOEKJyizT+WmMMS3kHhj4IV3Mw=",
    ),
    "extension/bearertokenauthextension": (
        "r+q1c/Q4xZA3WsiAG6BxVn+brIFeasDzkpe24OT18Vk=",
        "uS3Yf5iHi5XNTCi3+fG21OOC+FYBGN9KLHQlRaUFAJk=",
    ),
    "internal/coreinternal": (
        "kE2ftRFmsorf3fK4JQS6rEq2h6yTLhV+QmzO46xI8ck=",
        "+3Bt6ZyvHjlviCDgvvn8COjIdHRn88+lpGQSgE51uvs=",
    ),
    "internal/sharedcomponent": (
        "n0D4uQCpMK0s0UCCPDY3Lve9270ieC7r0W6ccKKi6Q8=",
        "rLfJ7gn0zHZI/dJK4Zb/rOUNyFunA1uIRWvgd4j2V50=",
    ),
    "internal/splunk": (
        "K3AgirGRszVhnVmPBeZIMFK6PCgDrgieOqs0OAGH/QQ=",
        "9LVDcvgO6z6qOwdipMKXam18opjuJcfHOXlLdb5xllk=",
    ),
    "pkg/translator/splunk": (
        "wZxVmN7uHucL8yu+qNb/2uLaprzNNHyrbkwsmPdGyW0=",
        "amCN5epfG9oZcQgmzpIA2y8lClQVcy8Ay6xzmf6+lwo=",
    ),
    "receiver/splunkhecreceiver": (
        "jym0nfdxgxjL7Joi9VLrtnJXnyUESEN2gqAh/obkJlA=",
        "n6kT9x4edOpuHWtH1qyrYoIitX56pby9opzBTftVr3E=",
    ),
}


def collector() -> Path:
    """The program."""
    return gobuild.program("otelcol", VERSION, _build)


def _build(work: Path) -> Path:
    (work / "builder.yaml").write_text(_recipe(work))
    described = ("--config", "builder.yaml", "--skip-get-modules", "--skip-compilation")
    gobuild.go("run", f"{_CORE}/cmd/builder@v{VERSION}", *described, folder=work)
    source = work / "build"
    (source / "go.sum").write_text(_sums())
    gobuild.go("build", "-o", "built", ".", folder=source)
    return source / "built"


def _recipe(work: Path) -> str:
    sections = [f'dist: {{name: otelcol, version: "{VERSION}", output_path: "{work / "build"}"}}']
    for kind, modules in _MODULES.items():
        sections += [f"{kind}:", *(f"  - gomod: {module} v{VERSION}" for module in modules)]
    return "\n".join(sections) + "\n"


def _sums() -> str:
    lines = []
    for module, (files, description) in _SUMS.items():
        name = f"{_CONTRIBUTED}/{module} v{VERSION}"
        lines += [f"{name} h1:{files}\n", f"{name}/go.mod h1:{description}\n"]
    return "".join(lines)

"""The chart as its users see it: what helm says of it, and what it renders."""

import subprocess
from pathlib import Path
from typing import Any

import kubernetes
import yaml

KUBERNETES = Path(__file__).parents[2] / "config" / "kubernetes"
CHART = KUBERNETES / "chart"
SETS = ("shoot", "seed")
VALUES = {path.stem: path for path in (*CHART.glob("values-*.yaml"), *(CHART / "ci").glob("*.yaml"))}
"""Every set of values that comes with the chart."""


def helm(*words: str | Path, fails: bool = False) -> str:
    """What helm prints; it must succeed, or with `fails` must not."""
    program = kubernetes.helm()
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert bool(done.returncode) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr if fails else done.stdout


def template(*options: str | Path, release: str = "auditsink", fails: bool = False) -> str:
    """What the chart renders as that release in namespace `audit`, the pod of `helm test` too."""
    settings = ("--namespace", "audit", "--kube-version", "1.36")
    return helm("template", release, CHART, *settings, *options, fails=fails)


def rendered(values: str) -> str:
    """The same for one of `VALUES`, without the pod of `helm test`."""
    return template("--values", VALUES[values], "--skip-tests")


def documents(text: str) -> list[dict[str, Any]]:
    """The objects in it."""
    return [one for one in yaml.safe_load_all(text) if one]


def the(kind: str, text: str) -> dict[str, Any]:
    """The only object of that kind."""
    (found,) = [one for one in documents(text) if one["kind"] == kind]
    return found


def configuration(text: str) -> str:
    """The sink's file in it."""
    (content,) = [one["data"]["config.yaml"] for one in documents(text) if "config.yaml" in one.get("data", {})]
    return str(content)


def pod(text: str) -> dict[str, Any]:
    """The spec of the sink's pod."""
    (workload,) = [one for one in documents(text) if one["kind"] in {"StatefulSet", "Deployment"}]
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec

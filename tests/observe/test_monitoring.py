"""The alert rules and the dashboard speak of metrics that the sink has, in PromQL that Prometheus understands."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from moments import BACKUP, moment
from prometheus_client.parser import text_string_to_metric_families

from auditsink.observe import metrics

MONITORING = Path(__file__).parents[2] / "config" / "monitoring"
ALERTS = MONITORING / "alerts.yaml"
DASHBOARD = MONITORING / "dashboard.json"
NAME = re.compile(r"(?<!:)\b(?:auditsink|process)_[a-z_]+\b(?!:)")
VARIABLES = {"$__rate_interval": "5m", "${datasource}": "prometheus"}

promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(promtool is None, reason="promtool is not installed (Debian: prometheus)")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """The names of all samples, each with its labels."""
    text = metrics.render(moment(backup=BACKUP), metrics.PLAIN)
    families = text_string_to_metric_families(text.decode())
    found: dict[str, set[str]] = {"auditsink_certificate_expiry_timestamp_seconds": {"key"}}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_that_an_alert_or_a_panel_asks_for_is_there(known: dict[str, set[str]]) -> None:
    asked = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    asked |= {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 15
    assert asked - set(known) == set()


def test_every_label_in_a_panel_is_one_of_its_metric(known: dict[str, set[str]]) -> None:
    selectors = re.compile(r"(auditsink_[a-z_]+)\{([^}]*)\}")
    seen = 0
    for expression in expressions():
        for name, labels in selectors.findall(expression):
            asked = set(re.findall(r"(\w+)\s*=", labels)) - {"job", "instance"}
            assert asked <= known[name], expression
            seen += len(asked)
    assert seen > 10


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) > 10
    for alert in alerts:
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert set(alert["annotations"]) == {"summary", "description"}


def test_every_alert_is_seen_to_fire() -> None:
    tested = (MONITORING / "alerts-test.yaml").read_text()
    assert {rule["alert"] for rule in rules() if "alert" in rule and f'"{rule["alert"]}"' not in tested} == set()


def test_the_dashboard_is_the_one_that_its_source_makes() -> None:
    made = subprocess.run(
        [sys.executable, MONITORING / "dashboard.py"], capture_output=True, check=True, text=True
    ).stdout
    assert made == DASHBOARD.read_text()


def test_grafana_knows_every_key_of_it() -> None:
    plugins.register_default_plugins()
    document = json.loads(DASHBOARD.read_text())
    understood = json.loads(JSONEncoder().encode(Dashboard.from_json(document)))
    assert list(lost(document, understood, "dashboard")) == []


def lost(written: Any, understood: Any, path: str) -> Iterator[str]:
    """Where the two differ; what is understood may say more (defaults)."""
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            yield from lost(value, understood.get(key), f"{path}.{key}")
    elif isinstance(written, list) and isinstance(understood, list) and len(written) == len(understood):
        for place, (one, other) in enumerate(zip(written, understood, strict=True)):
            yield from lost(one, other, f"{path}[{place}]")
    elif written != understood:
        yield path


def test_panels_have_their_own_ids_and_do_not_lie_on_each_other() -> None:
    everything = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in everything):
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


@needs_promtool
@pytest.mark.parametrize("words", [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts-test.yaml"]])
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(words: list[str]) -> None:
    done = subprocess.run([str(promtool), *words], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    queries = list(expressions())
    for name, value in VARIABLES.items():
        queries = [query.replace(name, value) for query in queries]
    group = {"name": "panels", "rules": [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries)]}
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    done = subprocess.run(
        [str(promtool), "check", "rules", tmp_path / "panels.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout

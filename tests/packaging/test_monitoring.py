"""The alert rules and the dashboard, without a server; `tests/service/test_monitoring.py` runs their queries."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT
from tests.prometheus import CONFIGURATION, PROMTOOL

SCENARIOS = Path(__file__).parent / "data/alerts_test.yml"


def test_the_rules_are_valid():
    subprocess.run([PROMTOOL, "check", "rules", CONFIGURATION / "alerts.yml"], check=True)


def test_each_alert_fires_for_its_fault_and_not_without(tmp_path):
    for file in (CONFIGURATION / "alerts.yml", SCENARIOS):
        shutil.copy(file, tmp_path)
    done = subprocess.run(
        [PROMTOOL, "test", "rules", tmp_path / SCENARIOS.name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_in_both_scenarios():
    alerts = {
        rule["alert"] for rule in yaml.safe_load((CONFIGURATION / "alerts.yml").read_text())["groups"][0]["rules"]
    }
    normal, faulty = yaml.safe_load(SCENARIOS.read_text())["tests"]
    assert {test["alertname"] for test in normal["alert_rule_test"]} == alerts
    assert {sample["labels"].split('"')[1] for sample in faulty["promql_expr_test"][0]["exp_samples"]} == alerts


@pytest.mark.parametrize("panel", json.loads((ROOT / "deploy/grafana/csm.json").read_text())["panels"])
def test_a_panel_says_what_it_shows(panel):
    assert panel["title"] and panel["description"].endswith(".")


def test_the_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((ROOT / "deploy/grafana/csm.json").read_text())["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert columns.stop <= 24 and not cells & taken, panel["title"]
        taken |= cells

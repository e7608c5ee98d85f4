"""The page of monitoring: the verdict first, every group with its state, nothing from elsewhere, no name unescaped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monitored import LATER, THRESHOLDS, facts, people

from kras_plugins.evaluation.arrivals import Arrival
from kras_plugins.report.change_plan import STEPS
from kras_plugins.report.monitor import TITLES, states, write_monitor
from kras_plugins.study.monitor import Plan, watched
from kras_plugins.study.monitor_inputs import Reference


def result(arrivals: list[Arrival], known: dict[str, Any] | None = None) -> dict[str, Any]:
    reference = Reference(
        digest="ab" * 32,
        facts=known or facts(people(np.random.default_rng(0), 200)),
        thresholds={"ensemble": THRESHOLDS},
        provenance={"demonstration": ["<b>drawn</b>"]},
    )
    found = watched(reference, arrivals, Plan(window=50), LATER)
    return found | {"patients": found["patients"] | {"in_training": 0, "again": 0, "other_days": 0, "not_recorded": 0}}


@pytest.fixture(scope="module")
def drifting() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return result([*people(rng, 50), *people(rng, 60, 50, stain=2.0)])


def test_the_verdict_comes_first_and_says_of_how_many(drifting: dict[str, Any], tmp_path: Path) -> None:
    text = write_monitor(tmp_path / "monitor.html", drifting).read_text()
    said = "Drift found in stain (since patients 51–100) (110 patients, 2 looks and 2 looks at labels;"
    assert 0 < text.index(said) < text.index("What is compared") < text.index("Over time") < text.index("The looks")
    assert text.index(STEPS["stain"]) < text.index("What is compared")
    assert "&lt;b&gt;drawn&lt;/b&gt;" in text and "<b>drawn" not in text
    assert not re.search(r"\b(None|nan)\b", text)
    assert "default-src 'none'" in text and "http://" not in text.replace("http://www.w3.org", "")


def test_every_group_has_its_state_and_every_kind_of_drift_a_step(drifting: dict[str, Any]) -> None:
    assert set(STEPS) == set(TITLES)
    found = {row["name"]: row for row in states(drifting)}
    assert list(found) == list(TITLES)
    assert found["stain"]["state"] == "drift, since patients 51–100"
    assert found["scanner"]["state"] == "no drift found"
    assert "training" in found["stain"]["seen"] and "n=" in found["stain"]["seen"]


def test_too_few_is_said(tmp_path: Path) -> None:
    found = result(people(np.random.default_rng(2), 12))
    assert found["verdict"]["sentence"] == "Too few patients to compare yet: 12 of 20."
    text = write_monitor(tmp_path / "monitor.html", found).read_text()
    assert "too few yet: 12 of 20" in text and "not looked at yet" in text


def test_a_bundle_of_before_and_a_folder_without_patients_give_a_page(tmp_path: Path) -> None:
    known = facts(people(np.random.default_rng(0), 100))
    del known["reference"]
    for arrivals in ([], people(np.random.default_rng(3), 60)):
        text = write_monitor(tmp_path / "monitor.html", result(arrivals, known)).read_text()
        assert "Nothing can be compared" in text and not re.search(r"\b(None|nan)\b", text)

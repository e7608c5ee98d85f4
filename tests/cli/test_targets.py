from __future__ import annotations

from typing import Any

import pytest

from kras_plugins.cli.common import Session
from kras_plugins.cli.targets import chosen_targets, other_prevalences, target_settings
from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.thresholds import Targets
from kras_plugins.host.config import Config, load_config


def session(**run: Any) -> Session:
    return Session(config=Config(run), registry=None, store=None)  # type: ignore[arg-type]


def test_targets_come_from_the_command_line_then_kras_toml_then_the_defaults() -> None:
    assert chosen_targets(target_settings(session(), None, None, False)) == Targets()
    stated = session(target_sensitivity=0.8, target_specificity=0.7, risk_control=True)
    assert chosen_targets(target_settings(stated, 0.95, None, False)) == Targets(
        sensitivity=0.95, specificity=0.7, risk_control=True
    )


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "risk_control", "cause"),
    [
        (90, None, False, "--sensitivity 90"),
        (None, 0.0, False, "--specificity 0.0"),
        (1.0, None, True, "cannot guarantee"),
    ],
)
def test_a_target_that_is_no_share_is_refused(
    sensitivity: float | None, specificity: float | None, risk_control: bool, cause: str
) -> None:
    with pytest.raises(ConfigError, match=cause):
        target_settings(session(), sensitivity, specificity, risk_control)


def test_prevalences_are_sorted_told_once_and_lie_between_zero_and_one() -> None:
    assert other_prevalences(session(), [0.13, 0.05, 0.13]) == [0.05, 0.13]
    assert other_prevalences(session(prevalences=[0.2]), None) == [0.2]
    assert other_prevalences(session(), None) == []
    for wrong in (0.0, 1.0, 13.0):
        with pytest.raises(ConfigError, match="strictly between"):
            other_prevalences(session(), [wrong])


def test_kras_toml_knows_the_settings_and_refuses_what_is_no_share(tmp_path: Any) -> None:
    file = tmp_path / "kras.toml"
    file.write_text("[run]\ntarget_sensitivity = 0.95\nrisk_control = true\nprevalences = [0.13]\n")
    assert load_config(file).run == {"target_sensitivity": 0.95, "risk_control": True, "prevalences": [0.13]}
    file.write_text("[run]\ntarget_specificity = 95.0\n")
    with pytest.raises(ConfigError, match="target_specificity"):
        load_config(file)

"""Options of thresholds and of other populations, which `run` and `evaluate` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.cli.common import Session
    from kras_plugins.evaluation.thresholds import Targets

Sensitivity = Annotated[
    float | None, typer.Option("--sensitivity", help="of the rule-out threshold on training patients [default: 0.9]")
]
Specificity = Annotated[
    float | None, typer.Option("--specificity", help="of the rule-in threshold on training patients [default: 0.9]")
]
RiskControl = Annotated[
    bool,
    typer.Option("--risk-control", help="also look for a threshold with guaranteed sensitivity (needs kras[risk])"),
]
Prevalences = Annotated[
    list[float] | None,
    typer.Option("--prevalence", metavar="P", help="also tell predictive values at this prevalence; may be repeated"),
]


def target_settings(
    session: Session, sensitivity: float | None, specificity: float | None, risk_control: bool
) -> dict[str, Any]:
    """The settings of thresholds, given or from kras.toml; ConfigError for what is no share, or without MAPIE."""
    from kras_plugins.evaluation.risk import require_mapie

    settings = {
        "target_sensitivity": session.setting("target_sensitivity", sensitivity, 0.90),
        "target_specificity": session.setting("target_specificity", specificity, 0.90),
        "risk_control": session.setting("risk_control", risk_control or None, False),
    }
    for name in ("target_sensitivity", "target_specificity"):
        if not 0 < settings[name] <= 1:
            option = name.replace("target_", "--")
            raise ConfigError(
                f"{option} {settings[name]}: not a share above 0 and up to 1", f"for example {option} 0.9"
            )
    if settings["risk_control"]:
        if settings["target_sensitivity"] == 1:
            raise ConfigError("--risk-control cannot guarantee a sensitivity of 1", "for example --sensitivity 0.9")
        require_mapie()
    return settings


def chosen_targets(settings: dict[str, Any]) -> Targets:
    """What the rules aim at, from the settings of a run."""
    from kras_plugins.evaluation.thresholds import Targets

    return Targets(
        sensitivity=settings["target_sensitivity"],
        specificity=settings["target_specificity"],
        risk_control=settings["risk_control"],
    )


def other_prevalences(session: Session, given: Sequence[float] | None) -> list[float]:
    """Prevalences given or from kras.toml, in rising order; ConfigError unless strictly between 0 and 1."""
    found = sorted(set(session.setting("prevalences", given or None, [])))
    for p in found:
        if not 0 < p < 1:
            raise ConfigError(f"--prevalence {p}: must lie strictly between 0 and 1", "for example --prevalence 0.13")
    return found

"""Options that every classifier on the semantic profile has."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kras_plugins.contracts.base import Options


class TableOptions(Options):
    """Which features a model learns from, and by which thresholds the immune phenotype is called."""

    features: Literal["all", "core"] = Field(
        "all", description="all, or the preset `core` of 53; for features made elsewhere always all"
    )
    ip_preset: Literal["lunit_jco2022", "quantile"] = Field(
        "lunit_jco2022",
        description="immune phenotype by the published thresholds, or by those with which the published shares "
        "of training patients are inflamed and excluded; quantile needs cells, not a table of features",
    )

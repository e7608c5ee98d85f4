"""The facts of a bundle that prediction repeats and pages show, checked before any of them is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from kras_plugins.data import of_extractor, split_extractor
from kras_plugins.evaluation.distribution import AT, MOST_FEATURES
from kras_plugins.evaluation.drift import edges_of
from kras_plugins.evaluation.rows import COLUMNS
from kras_plugins.learning.bundle import Bundle
from kras_plugins.learning.content import CONTENT, BundleContent, Name, Text, refused, told

Share = Annotated[float, Field(gt=0, lt=1)]


class _Facts(BaseModel):
    """There may be more facts than these: later versions state more."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)


class _Part(_Facts):
    name: Name
    version: Text = ""
    options: dict[str, Any]
    models: dict[Text, Text]


class _Estimate(_Facts):
    value: float | None = None
    low: float | None = None
    high: float | None = None


class _Point(_Facts):
    sensitivity: _Estimate | None = None
    specificity: _Estimate | None = None


class _Internal(_Facts):
    n: int = Field(ge=0)
    n_positive: int = Field(ge=0)
    value: float | None = None
    low: float | None = None
    high: float | None = None


class _InternalResults(_Facts):
    models: dict[Text, _Internal] = {}
    luad_only: dict[Text, _Internal] = {}


class _Distribution(_Facts):
    """Quantiles of features over training patients; see `evaluation.distribution`."""

    n: int = Field(ge=1)
    at: list[int]
    features: dict[Annotated[str, Field(max_length=1000)], list[float]] = Field(max_length=MOST_FEATURES)

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> Self:
        if tuple(self.at) != AT:
            raise ValueError(f"at is not {', '.join(map(str, AT))}")
        for name, values in self.features.items():
            if len(values) != len(AT) or sorted(values) != values:
                raise ValueError(f"{name[:60]!r} has no {len(AT)} quantiles in ascending order")
        return self


class _Counts(_Facts):
    """Patients between edges; see `evaluation.drift.Binned`."""

    edges: list[float] = Field(max_length=len(AT) + 1)
    counts: list[Annotated[int, Field(ge=0)]]
    missing: int = Field(ge=0)

    @pydantic.model_validator(mode="after")
    def _between(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or sorted(set(self.edges)) != self.edges:
            raise ValueError("counts do not lie between ascending edges")
        return self


class _FeatureCounts(_Facts):
    counts: list[Annotated[int, Field(ge=0)]]
    missing: int = Field(ge=0)


Moments = Annotated[list[float], Field(min_length=2, max_length=2)]
Pair = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]
Levels = Annotated[dict[Text, Annotated[int, Field(ge=0)]], Field(max_length=10_000)]


class _Labeled(_Facts):
    n: int = Field(ge=0)
    n_positive: int = Field(ge=0)
    center: float
    large: Moments
    slope: Moments
    rules: dict[Text, Pair]


class _Reference(_Facts):
    """The reference for new patients; see `evaluation.arrivals`."""

    schema_version: Literal[1]
    n: int = Field(ge=1)
    scanner: Levels
    mpp: _Counts
    stain: Annotated[list[_Counts], Field(min_length=3, max_length=3)]
    quality: Levels
    assessable: int = Field(ge=0)
    score: _Counts
    features: dict[Annotated[str, Field(max_length=1000)], _FeatureCounts] = Field(max_length=MOST_FEATURES)
    labels: _Labeled

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        if self.assessable > self.n or self.labels.n_positive > self.labels.n:
            raise ValueError("more patients of a kind than patients")
        if any(k > m for k, m in self.labels.rules.values()):
            raise ValueError("labels.rules: more hits than patients")
        return self


class _LaterReference(_Facts):
    """A reference of a later version, of which only the version is known."""

    schema_version: int = Field(gt=1)


class _BundleFacts(_Facts):
    target: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
    prevalence: Share
    baselines: dict[Text, dict[str, Any]]
    readers: dict[Name, dict[str, Any]]
    operating_points: dict[Text, _Point]
    precision: Text | None = None
    extractor: _Part | None = None
    profiler: _Part | None = None
    internal: _InternalResults = _InternalResults()
    training: dict[str, Any] | None = None
    distribution: _Distribution | None = None
    reference: _Reference | _LaterReference | None = None

    @pydantic.model_validator(mode="after")
    def _features_of_reference(self) -> Self:
        """Each feature has as many counts as its quantiles leave room for."""
        if isinstance(self.reference, _Reference):
            quantiles = {} if self.distribution is None else self.distribution.features
            for name, kept in self.reference.features.items():
                if name not in quantiles or len(kept.counts) != len(edges_of(quantiles[name])) + 1:
                    raise ValueError(f"reference.features: {name[:60]!r} has no counts between its quantiles")
        return self

    @pydantic.field_validator("extractor", "profiler")
    @classmethod
    def _there(cls, value: _Part | None) -> _Part | None:
        if value is None:
            raise ValueError("null is not a part: leave the key out if there is no part")
        return value

    @pydantic.model_validator(mode="after")
    def _several(self) -> Self:
        """`extractor@NAME` of several extractors states that one."""
        for key, value in (self.model_extra or {}).items():
            kind, extractor = split_extractor(key)
            if kind != "extractor":
                continue
            try:
                name = _Part.model_validate(value).name
            except pydantic.ValidationError as e:
                raise ValueError(f"{key[:60]}: {told(e)}") from e
            if name != extractor:
                raise ValueError(f"{key[:60]} states another extractor, {name}")
        return self


class _Provenance(_Facts):
    demonstration: list[Text] = []


def check_facts(folder: Path, content: BundleContent) -> None:
    """Raise StoreError naming the first fact of a bundle in `folder` that is missing or not valid."""
    try:
        _BundleFacts.model_validate(content.facts)
    except pydantic.ValidationError as e:
        raise refused(folder / CONTENT, f"facts.{told(e)}") from e
    try:
        _Provenance.model_validate(content.provenance)
    except pydantic.ValidationError as e:
        raise refused(folder / CONTENT, f"provenance.{told(e)}") from e
    if "ensemble" not in content.thresholds:
        raise refused(folder / CONTENT, "thresholds.ensemble is not there")
    for name, cuts in content.thresholds.items():
        low, high = cuts.get("rule_out"), cuts.get("rule_in")
        if low is not None and high is not None and low > high:
            raise refused(folder / CONTENT, f"thresholds.{name}: rule_out lies above rule_in")
    for member in content.members:
        if member.name in COLUMNS:
            raise refused(folder / CONTENT, f"a member is named like the column {member.name}")
    several = {of_extractor("extractor", m.extractor) for m in content.members if m.extractor}
    stated = {key for key in content.facts if split_extractor(key)[0] == "extractor"}
    if stated != (several or stated & {"extractor"}):
        raise refused(
            folder / CONTENT, f"facts state {sorted(stated)}, members need {sorted(several) or 'one extractor'}"
        )


def try_facts(bundle: Bundle) -> None:
    """Use what a bundle states of its training as an evaluation would, on itself; raises whatever that raises."""
    import numpy as np

    from kras_plugins.evaluation.baselines import Known, apply_baselines, frozen_inputs
    from kras_plugins.evaluation.shift import identity_rows, shift_rows

    columns, feature = frozen_inputs(bundle.facts["baselines"])
    one = Known(
        histology=["LUAD", "LUSC", ""],
        site=["", "00", "01"],
        clinical={name: ["", "1", "x"] for name in columns},
        til=np.array([np.nan, 0.0, 1.0]),
        til_name=feature or "",
    )
    for scores in apply_baselines(bundle.facts["baselines"], one, bundle.thresholds).values():
        np.asarray(scores.logit, np.float64)
    identity_rows(bundle.facts, bundle.facts)
    training = bundle.facts.get("training")
    if training is not None:
        shift_rows(training, training)

"""What `kras predict` says of one patient: the result, why, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kras_plugins.data import Prediction, SlideQC
from kras_plugins.evaluation.distribution import percentile
from kras_plugins.semantics.features.plain import plain, unit_of
from kras_plugins.store import safe_name

if TYPE_CHECKING:
    from collections.abc import Sequence

INDEX = "index.html"
"""The page that lists all patients of a folder."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share with its 95 % interval; None where it is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Point:
    """A threshold as a probability, and what it reached on the scores it was chosen on."""

    threshold: float
    sensitivity: Rate | None = None
    specificity: Rate | None = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A feature of the patient in plain words: `feature` is its id, `name` and `sentence` describe it.

    `value`: None where it could not be computed. `quantiles`: of the training patients in scope, at
    `evaluation.distribution.AT`, empty where the bundle has none; `percentile`: of the value among them, in [5, 95],
    where 5 and 95 stand for what lies beyond.
    """

    feature: str
    name: str
    unit: str = ""
    sentence: str = ""
    value: float | None = None
    quantiles: tuple[float, ...] = ()
    percentile: float | None = None


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A feature that moved a member's score: by how much, in log odds of its calibrated probability."""

    measure: Measure
    contribution: float


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A tile to look at: upper left corner `xy` and `size` (width, height) in level-0 pixels.

    `value`: its contribution to the member's log odds, or its share of the patient's attention.
    """

    slide_id: str
    xy: tuple[int, int]
    size: tuple[float, float]
    value: float


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """What moved the `member` that looks at tiles: those that raised its score most, and those that lowered it.

    `attended`: the most attended ones, where a member does not say what they contribute, or where no score is shown.
    """

    member: str
    raising: tuple[Tile, ...] = ()
    lowering: tuple[Tile, ...] = ()
    attended: tuple[Tile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaseSlide:
    """One slide of the patient.

    `size`: (width, height) in level-0 pixels, None where there are no pixels; `layers`: what can be drawn over it, of
    `contribution`, `attention` and `cells`; `cells`: number of cells by class, empty where none were counted;
    `looked_at`: tiles that the member of `Tiles` looked at.
    """

    slide_id: str
    qc: SlideQC | None = None
    size: tuple[int, int] | None = None
    layers: tuple[str, ...] = ()
    cells: Mapping[str, int] = field(default_factory=dict)
    looked_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class CasePage:
    """Everything the page of one patient says, without pixels.

    `thresholds`: the operating points of the bundle's ensemble by name (`rule_in`, `rule_out`, …); empty where the
    bundle has none. `trained_on`: number of patients in scope that they were chosen on, and how many were positive.
    `prevalence`: share of positives that the probabilities assume. `measures`: areas and densities; `among`: number
    of training patients behind their quantiles. `moved`: features by member, the strongest first. `demonstration`:
    why the result says nothing about a patient; `provenance`: rows of name and text.
    """

    target: str
    prediction: Prediction
    thresholds: Mapping[str, Point] = field(default_factory=dict)
    trained_on: tuple[int, int] | None = None
    prevalence: float | None = None
    slides: tuple[CaseSlide, ...] = ()
    measures: tuple[Measure, ...] = ()
    among: int | None = None
    moved: Mapping[str, tuple[Moved, ...]] = field(default_factory=dict)
    tiles: Tiles | None = None
    demonstration: tuple[str, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()

    @property
    def assessable(self) -> bool:
        """Whether there is a result, so that scores may be shown."""
        return self.prediction.call != "not_assessable"


def without_scores(case: CasePage) -> CasePage:
    """The case as it may be shown: if it is not assessable, without scores, what moved them, and thresholds."""
    if case.assessable:
        return case
    return replace(
        case,
        prediction=replace(case.prediction, members={}, ensemble=None),
        thresholds={},
        moved={},
        tiles=None if case.tiles is None else replace(case.tiles, raising=(), lowering=()),
        slides=tuple(replace(s, layers=tuple(x for x in s.layers if x != "contribution")) for s in case.slides),
    )


def measure_of(feature: str, value: float | None, quantiles: Sequence[float] = ()) -> Measure:
    """A feature's value in plain words, among the training patients that `quantiles` are of."""
    said = plain(feature)
    return Measure(
        feature=feature,
        name=said.name,
        unit=unit_of(feature),
        sentence=said.sentence,
        value=value,
        quantiles=tuple(quantiles),
        percentile=percentile(value, quantiles) if value is not None and len(quantiles) else None,
    )


def case_name(patient_id: str) -> str:
    """What a patient's files are called before their endings; never like the page that lists all patients."""
    name = safe_name(patient_id)
    return f"patient-{name}" if f"{name}.html".lower() == INDEX else name

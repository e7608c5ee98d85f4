"""What a call returns: where everything is, the numbers, and what was set aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kras_plugins.errors import ConfigError
from kras_plugins.study.outputs import (
    FAILURES,
    MANIFEST,
    METRICS,
    PREDICTIONS,
    SetAside,
    read_failures,
    read_json,
    read_predictions,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.data import Float64

Among = Literal["in_scope", "adenocarcinoma", "non_squamous", "all_patients"]

_TABLES = {
    "in_scope": "models",
    "adenocarcinoma": "luad_only",
    "non_squamous": "non_squamous",
    "all_patients": "all_patients_pooled",
}


@dataclass(frozen=True, kw_only=True)
class Area:
    """An AUROC with its 95 % interval, None if it cannot be estimated, and the patients it was measured on.

    `note`: why it has no interval, that it is exact, or that the score is constant; "" otherwise.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_positive: int
    note: str = ""

    def __str__(self) -> str:
        from kras_plugins.report.html import estimate

        shown = {"value": self.value, "low": self.low, "high": self.high, "note": self.note}
        return f"{estimate(shown)}, n={self.n}, {self.n_positive} positive"


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A finished study in its folder.

    `metrics`: the content of metrics.json; `predictions`: one row per patient and repeat, as in predictions.csv;
    `failures`: slides that were set aside. `done_before`: whether it was already there, so nothing was computed.
    """

    folder: Path
    metrics: Mapping[str, Any] = field(repr=False)
    predictions: pa.Table = field(repr=False)
    failures: tuple[SetAside, ...]
    done_before: bool = False

    @property
    def report(self) -> Path:
        """The page to read first."""
        return self.folder / "report.html"

    @property
    def manifest(self) -> Path:
        """The complete record of what was done."""
        return self.folder / MANIFEST

    def auroc(self, model: str = "ensemble", *, among: Among = "in_scope") -> Area:
        """The AUROC of a classifier, of `ensemble` or of a baseline. Raises ConfigError for one that does not exist.

        `among`: patients in scope, for whom a call can be made; of these those with `adenocarcinoma` or the
        `non_squamous`; or `all_patients` pooled, which is where `histology_only` is found.

        Example:
            >>> from kras_plugins import study
            >>> area = study.read_training("results").auroc("histology_only", among="all_patients")
            >>> area.n, area.n_positive, area.low < area.value < area.high
            (40, 16, True)
        """
        if among not in _TABLES:
            raise ConfigError(f"no group of patients is called {among!r}", f"among is one of {', '.join(_TABLES)}")
        models = self.metrics[_TABLES[among]]
        if model not in models:
            elsewhere = [name for name, table in _TABLES.items() if model in self.metrics[table]]
            hint = f"available: {', '.join(models) or 'none'}"
            if elsewhere:
                hint = f"it is available among {', '.join(elsewhere)}"
            raise ConfigError(f"this study has no {model} among {among}", hint)
        entry, area = models[model], models[model]["auroc"]
        return Area(
            **{key: area[key] for key in ("value", "low", "high")},
            n=entry["n"],
            n_positive=entry["n_positive"],
            note=area["note"] or "",
        )

    def roc(self, model: str = "ensemble", *, among: Among = "in_scope") -> tuple[Float64, Float64]:
        """The ROC curve whose area is `auroc(model, among=among)`: 1 - specificity and sensitivity at its corners.

        Each is float64[corner]. Patients are ranked within folds, so it is the mean over these, and not the curve that
        the `predictions` of all folds together would give. ConfigError as for `auroc`, and where there is no curve.

        Example:
            >>> from sklearn.metrics import auc
            >>> from kras_plugins import study
            >>> result = study.read_training("results")
            >>> round(auc(*result.roc("rf")), 9) == round(result.auroc("rf").value, 9)
            True
        """
        from kras_plugins.study.roc import roc_of

        self.auroc(model, among=among)
        return roc_of(self.folder, self.metrics, self.predictions.to_pylist(), model, among)


@dataclass(frozen=True, kw_only=True)
class Training(StudyResult):
    """The result of `train`."""

    @property
    def bundle(self) -> Path:
        """The deployable bundle."""
        return self.folder / "bundle"


@dataclass(frozen=True, kw_only=True)
class Validation(StudyResult):
    """The result of `validate`: the same for a cohort that the bundle never saw."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The result of `score`. `predictions`: every patient of the folder; `added`: those of this call, in their order.

    `pages`: case pages of this call by patient; `heat_maps`: pictures of attention by slide, of a bundle whose models
    have some.
    """

    folder: Path
    predictions: pa.Table = field(repr=False)
    added: tuple[str, ...]
    pages: Mapping[str, Path]
    heat_maps: Mapping[str, Path]
    failures: tuple[SetAside, ...]


@dataclass(frozen=True, kw_only=True)
class Features:
    """The result of `features`: how many slides are in the store, and those that could not be used."""

    folder: Path
    slides: int
    failures: tuple[SetAside, ...]


@dataclass(frozen=True, kw_only=True)
class SlideOutput:
    """What `embed` or `profile` wrote for one slide; `count`: tiles or cells.

    `unlike_share`: share of its tissue unlike what the profiler learned from, None if it does not say.
    """

    slide_id: str
    path: Path
    count: int
    dim: int
    seconds: float
    unlike_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class SlideOutputs:
    """The result of `embed` or `profile`.

    `slides`: what was written; `added`: ids of all slides of this call that could be used; `table`: features.csv of
    `profile`, one row for each slide of the folder.
    """

    folder: Path
    slides: tuple[SlideOutput, ...]
    added: tuple[str, ...]
    failures: tuple[SetAside, ...]
    table: pa.Table | None = field(default=None, repr=False)


def read_training(folder: Path | str, *, done_before: bool = False) -> Training:
    """The result of an earlier `train` (`kras run`) from its folder. Raises ConfigError if there is none.

    Example:
        >>> from kras_plugins import study
        >>> result = study.read_training("results")
        >>> sorted(result.metrics["models"])
        ['ensemble', 'prevalence', 'rf', 'site_only']
    """
    return Training(**_read(Path(folder)), done_before=done_before)


def read_validation(folder: Path | str, *, done_before: bool = False) -> Validation:
    """The result of an earlier `validate` (`kras evaluate`) from its folder. Raises ConfigError if there is none."""
    return Validation(**_read(Path(folder)), done_before=done_before)


def _read(folder: Path) -> dict[str, Any]:
    return {
        "folder": folder,
        "metrics": read_json(folder / METRICS),
        "predictions": read_predictions(folder / PREDICTIONS),
        "failures": read_failures(folder / FAILURES),
    }

"""A study read from its files: predictions.csv, folds.parquet, metrics.json and manifest.json of a run folder."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from scipy.special import logit as log_odds

BASELINES = ("prevalence", "histology_only", "clinical", "til_only", "site_only")
BY_RANK = ("prevalence", "histology_only")
"""Baselines that rank by constants, without labels."""
ENSEMBLE = "ensemble"
RULES = ("target_sensitivity", "target_specificity", "youden", "rule_in", "rule_out")
FEWEST_POSITIVES = 10
"""With fewer positive patients in scope, no threshold is set."""


@dataclass
class Model:
    """One model's scores, float64[repeat patient], NaN where unknown.

    `logit`: calibrated; `ranking`: what orders all patients, `within`: those of one fold; `raw`: uncalibrated;
    `inner`: float64[repeat fold patient]; `by_fold`: float64[fold patient], of an external cohort; `thresholds`: by
    rule, logits float64[repeat patient]; `fitted`: whether labels went into the ranking.
    """

    logit: np.ndarray
    ranking: np.ndarray
    within: np.ndarray
    raw: np.ndarray | None = None
    inner: np.ndarray | None = None
    by_fold: np.ndarray | None = None
    slopes: np.ndarray | None = None
    thresholds: dict[str, np.ndarray] = field(default_factory=dict)
    fitted: bool = True

    @property
    def scored(self) -> np.ndarray:
        return np.isfinite(self.logit).all(axis=0)

    def of(self, who: np.ndarray) -> Model:
        """The same for a subset, bool[patient]."""

        def cut(x: np.ndarray | None) -> np.ndarray | None:
            return None if x is None else x[..., who]

        return Model(
            logit=self.logit[:, who],
            ranking=self.ranking[:, who],
            within=self.within[:, who],
            raw=cut(self.raw),
            inner=cut(self.inner),
            by_fold=cut(self.by_fold),
            slopes=self.slopes,
            thresholds={rule: x[:, who] for rule, x in self.thresholds.items()},
            fitted=self.fitted,
        )


@dataclass
class Study:
    """A run folder; one element per patient, in the order of predictions.csv.

    `kind`: the class of each histology, as metrics.json has it for each stated one; `fold`: int[repeat patient] from 0;
    `folds`: how many were fitted, 1 for an external cohort; `rows`: predictions.csv, by repeat and patient.
    """

    metrics: dict[str, Any]
    manifest: dict[str, Any]
    rows: list[list[dict[str, str]]]
    y: np.ndarray
    kind: np.ndarray
    in_scope: np.ndarray
    fold: np.ndarray
    folds: int
    cross_validated: bool
    members: dict[str, Model]
    ensemble: Model
    available: Model
    baselines: dict[str, Model]

    @property
    def patients(self) -> list[dict[str, str]]:
        return self.rows[0]

    @property
    def ids(self) -> list[str]:
        return [row["patient_id"] for row in self.patients]

    @property
    def site(self) -> list[str]:
        return [row["site"] for row in self.patients]

    @property
    def config(self) -> dict[str, Any]:
        return self.manifest["config"]

    @property
    def complete(self) -> np.ndarray:
        """bool[patient]: in scope with a score of every member, the patients of the main tables."""
        return self.ensemble.scored & self.in_scope

    @property
    def models(self) -> dict[str, Model]:
        """Members and the ensemble."""
        return {**self.members, ENSEMBLE: self.ensemble}

    @property
    def baselines_in_scope(self) -> dict[str, Model]:
        return {name: m for name, m in self.baselines.items() if name != "histology_only"}

    @property
    def baselines_of_all(self) -> dict[str, Model]:
        return {name: m for name, m in self.baselines.items() if name in BY_RANK}

    @property
    def glandular(self) -> np.ndarray:
        """`adenocarcinoma`, `other`, or "" where unknown, for each patient."""
        return np.select([self.kind == "unknown", self.kind == "adenocarcinoma"], ["", "adenocarcinoma"], "other")

    @property
    def settled(self) -> np.ndarray:
        """bool[patient]: on whom thresholds are set; nobody if too few positive patients are in scope."""
        enough = self.y[self.in_scope].sum() >= FEWEST_POSITIVES
        return self.in_scope if enough else np.zeros(len(self.y), bool)


def read_study(folder: Path) -> Study:
    """Read what `kras run` or `kras evaluate` wrote into a folder."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    table = read_csv(folder / "predictions.csv")
    repeats = max(int(row["repeat"] or 1) for row in table)
    rows = [[row for row in table if int(row["repeat"] or 1) == r + 1] for r in range(repeats)]
    fold = np.array([[int(row["fold"] or 1) - 1 for row in own] for own in rows])
    names = list(table[0])
    named = names[names.index("histology") + 1 : names.index("members")]
    understood = metrics["scope"]["histologies"]
    kind = np.array([understood[row["histology"]] for row in rows[0]])
    cross_validated = bool(table[0]["fold"])
    folds = int(fold.max()) + 1 if cross_validated else 1
    models = _models(folder / "folds.parquet", [*named, ENSEMBLE], [row["patient_id"] for row in rows[0]], fold, kind)
    shown = np.array([[float(row[ENSEMBLE] or "nan") for row in own] for own in rows])
    mean = log_odds(shown)
    return Study(
        metrics=metrics,
        manifest=json.loads((folder / "manifest.json").read_text(encoding="utf-8")),
        rows=rows,
        y=np.array([row["label"] == "1" for row in rows[0]]),
        kind=kind,
        in_scope=np.array([not row["reason"].startswith("out of scope") for row in rows[0]]),
        fold=fold,
        folds=folds,
        cross_validated=cross_validated,
        members={name: m for name, m in models.items() if name != ENSEMBLE and not is_baseline(name)},
        ensemble=models[ENSEMBLE],
        available=Model(logit=mean, ranking=mean, within=mean),
        baselines={name: m for name, m in models.items() if is_baseline(name)},
    )


def is_baseline(name: str) -> bool:
    """Whether a model is a baseline, including a classifier reported beside the ensemble as NAME_only."""
    return name in BASELINES or name.endswith("_only")


def read_csv(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV with stripped cells, without the apostrophe that keeps a spreadsheet from running a formula."""
    with file.open(encoding="utf-8-sig", newline="") as f:
        return [{_plain(k): _plain(v.strip()) for k, v in row.items()} for row in csv.DictReader(f)]


def _plain(cell: str) -> str:
    return cell[1:] if re.match(r"''*[=+\-@\t\r\n＝＋－＠]", cell) else cell


def _models(file: Path, names: list[str], ids: list[str], fold: np.ndarray, kind: np.ndarray) -> dict[str, Model]:
    """The long table as arrays."""
    table = parquet.read_table(file).to_pydict()
    at = {patient: i for i, patient in enumerate(ids)}
    rows: dict[tuple[str, str], list[tuple[int, int, str, float]]] = {}
    columns = (table[c] for c in ("repeat", "fold", "model", "kind", "name", "value"))
    for r, k, model, what, name, value in zip(*columns, strict=True):
        rows.setdefault((model, what), []).append((r - 1, k - 1, name, value))

    def of_patients(model: str, what: str) -> np.ndarray | None:
        if (model, what) not in rows:
            return None
        found = np.full(fold.shape, np.nan)
        for r, _, name, value in rows[model, what]:
            found[r, at[name]] = value
        return found

    def of_folds(model: str, what: str) -> np.ndarray | None:
        if (model, what) not in rows:
            return None
        own = rows[model, what]
        found = np.full((len(fold), max(k for _, k, _, _ in own) + 1, len(ids)), np.nan)
        for r, k, name, value in own:
            found[r, k, at[name]] = value
        return found

    def thresholds(model: str) -> dict[str, np.ndarray]:
        found = {rule: np.full(fold.shape, np.nan) for rule in RULES}  # what could not be set is not written
        for r, k, rule, value in rows.get((model, "threshold"), []):
            own = found.setdefault(rule, np.full(fold.shape, np.nan))
            own[r, fold[r] == k] = value
        return found

    models = {}
    for name in names:
        logit = of_patients(name, "logit")
        logit = np.full(fold.shape, np.nan) if logit is None else logit
        ranking, within, by_fold = logit, of_patients(name, "in_fold"), of_folds(name, "fold_logit")
        if name == "prevalence":
            ranking = np.full(fold.shape, 0.5)
        if name == "histology_only":
            one = np.select([kind == "unknown", kind == "adenocarcinoma"], [0.5, 1.0], 0.0)
            ranking = np.tile(one, (len(fold), 1))
        slopes = rows.get((name, "platt_slope"))
        models[name] = Model(
            logit=logit,
            ranking=ranking,
            within=ranking if within is None else within,
            raw=of_patients(name, "raw"),
            inner=of_folds(name, "inner_logit"),
            by_fold=None if by_fold is None else by_fold[0],
            slopes=None if slopes is None else np.array([v for *_, v in sorted(slopes)]).reshape(len(fold), -1),
            thresholds=thresholds(name),
            fitted=name not in BY_RANK,
        )
    return models

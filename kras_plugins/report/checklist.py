"""What reporting checklists share: items in our own words, and what a run can state about itself to answer them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kras_plugins.data import split_extractor
from kras_plugins.manifest import stated_parts
from kras_plugins.report.reported import Facts, Reported, auroc_in_words, count
from kras_plugins.report.style import model_label

AUTHORS = "to be stated by the authors"

Item = tuple[str, str, str]
"""Number, topic, and what is asked."""

Row = tuple[str, str, str, str, bool]
"""An item with its answer, and whether the run could give one."""


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """An answered checklist. `key` names its place in the report, `source` is the publication that counts."""

    key: str
    name: str
    file: str
    source: str
    rows: Sequence[Row]

    @property
    def items(self) -> int:
        """How many numbered items there are, parts not counted."""
        return len({number.rstrip("abcdefg") for number, *_ in self.rows})

    @property
    def filled(self) -> int:
        """How many parts the run answers, in whole or in part."""
        return sum(known for *_, known in self.rows)


def answered(items: Sequence[Item], known: Mapping[str, str]) -> list[Row]:
    """Each item with what the run knows under its number, or that the authors must write it."""
    return [(*item, known.get(item[0]) or AUTHORS, bool(known.get(item[0]))) for item in items]


def areas_in_words(of: Reported) -> str:
    """The main model's AUROC in scope, in each stratum and for all patients."""
    areas = [("in scope", of.models), *of.strata, ("all patients", of.pooled)]
    each = "; ".join(f"{title} {auroc_in_words(table.get(of.main))}" for title, table in areas)
    return f"{model_label(of.main)}, AUROC: {each}"


def columns(of: Reported) -> list[str]:
    """Columns of the subgroup and confounder tables."""
    named = [row.get("column") or row.get("factor") for key in ("subgroups", "confounders") for row in of.rows(key)]
    return list(dict.fromkeys(str(name) for name in named if name))


def kind(of: Reported) -> str:
    """Whether a model was developed or evaluated."""
    return "external evaluation of a frozen model" if of.external else "development with internal validation"


def members(of: Reported) -> str:
    """The members and their fusion, "" where the run does not state them."""
    named = ", ".join(map(str, (of.manifest.get("config") or {}).get("classifiers") or ()))
    return f"members: {named}; the ensemble: {of.fusion or AUTHORS}; nested validation" if named else ""


def scheme(of: Reported) -> str:
    """How patients were split, "" where that is not stated."""
    if of.external:
        return "all patients are for evaluation; nothing was fitted to them"
    config = of.manifest.get("config") or {}
    said = [
        ("folds", "{}-fold cross-validation"),
        ("repeats", "repeats: {}"),
        ("splits", "{} folds"),
    ]
    known = [words.format(config[key]) for key, words in said if config.get(key)]
    return ", ".join([*known, "grouped by patient"]) if config.get("folds") else ""


def sample_size(of: Reported) -> str:
    """What the number of patients can show, "" where no power was computed."""
    power: Facts = of.metrics.get("power") or {}
    smallest = power.get("auroc_detectable")
    if smallest is None:
        return ""
    return (
        f"{count(power, 'n')} patients, {count(power, 'n_positive')} positive: an AUROC of {smallest:.3f} or more can "
        f"be distinguished from 0.5 with 80 % power; why this size: {AUTHORS}"
    )


def predictors(of: Reported) -> str:
    """What makes the inputs from a slide, "" where that is not stated."""
    parts = stated_parts(of.manifest)
    named = [f"{split_extractor(key)[0]} {part.get('name')}" for key, part in parts.items() if part]
    return f"made from the slide by {' and '.join(named)}; options are in manifest.json" if named else ""


PREPARED = "one pipeline for every slide; quality control and failures of each slide are in manifest.json"
IMPUTED = (
    "features are imputed with medians of the training part; patients without a member's input are left out of the "
    "primary tables and counted"
)
MEASURES = "AUROC, AUPRC, calibration, operating points and net benefit, each beside its baselines; paired tests"
LIMITS = f"the notes of the report name the limits of the numbers; those of the data: {AUTHORS}"

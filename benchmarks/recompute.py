"""Recomputes metrics.json from the files of a study: `python benchmarks/recompute.py RUN_FOLDER --cohort cohort.csv`.

Nothing of kras_plugins is imported: numbers come from scikit-learn, scipy and statsmodels, and from formulas with their
sources where these have none, written for clarity, not for speed. Scores are those of folds.parquet, which have
every digit; bootstrap and permutations are drawn from numpy's generator with the study's seed, so that their intervals
agree as well. Prints how many numbers were recomputed, every one that differs by more than ROUNDING, and what was not
recomputed. Ends with exit code 1 if one differs.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recomputed import added, covariates, cuts, entries, groups
from recomputed.files import ENSEMBLE, Study, read_csv, read_study
from scipy.special import expit
from scipy.special import logit as log_odds

ROUNDING = 1e-6
"""Relative, and absolute below 0.1: the difference that iterations of two libraries leave at one optimum."""

_NAMES = ("b", "population", "model", "column", "factor", "level", "what", "t", "prevalence")
"""Keys that distinguish an element of a list from the others, if it has any of these."""

_GIVEN = ("schema_version", "importance")
"""Blocks for which nothing is computed, or which only fitted models give."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Recompute, compare, print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `kras run` or `kras evaluate` wrote")
    parser.add_argument(
        "--cohort", type=Path, help="the cohort's CSV: for subgroups, confounders, probes, and the flow"
    )
    parser.add_argument("--covariates", type=Path, help="the table of covariates that the study was given, if any")
    told = parser.parse_args(arguments)
    for file in (told.folder / "metrics.json", told.cohort, told.covariates):
        if file is not None and not file.is_file():
            parser.error(f"there is no {file}")
    study = read_study(told.folder)
    found, written = recompute(study, told.cohort, told.covariates), leaves_of(study)
    differences = [
        f"{path}: {written.get(path, 'absent')} is written, {value} recomputed"
        for path, value in found.items()
        if path not in written or not same(value, written[path])
    ]
    numbers = sum(isinstance(value, (int, float)) and math.isfinite(value) for value in found.values())
    missed = [path for path in written if path not in found and path.split(".")[0] not in _GIVEN]
    print(f"{numbers} numbers recomputed, {len(differences)} differ by more than {ROUNDING:g}")
    print(*(f"  {line}" for line in differences), sep="\n", end="\n" if differences else "")
    print(f"{len(missed)} numbers not recomputed{':' if missed else ''}")
    for block, count in Counter(".".join(path.split(".")[:2]) for path in missed).items():
        print(f"  {block} ({count})")
    return 1 if differences else 0


def recompute(study: Study, cohort: Path | None, table: Path | None) -> dict[str, Any]:
    """Every number that can be, by its path in metrics.json; and thresholds, scores and calls of the other files."""
    columns = covariates.read_columns(study, cohort, table)
    content = {
        "scope": scope(study),
        "cohort_flow": flow(study, cohort),
        "n": int(study.complete.sum()),
        "n_positive": int(study.y[study.complete].sum()),
        "all_patients_pooled": entries.pooled_table(study),
        "folds.parquet": cuts.fold_thresholds(study)[0],
        "predictions.csv": predictions(study),
    }
    if cohort is not None:
        content["drivers"] = drivers(study, columns)
    if study.complete.any():
        group = groups.Group(study, columns)
        content |= in_scope(study, group)
        if cohort is not None:
            content["subgroups"] = groups.subgroups(group, study.config.get("subgroups"))
    return dict(leaves(content))


def in_scope(study: Study, group: groups.Group) -> dict[str, Any]:
    """What metrics.json has for patients in scope alone, if there are any; subgroups also need the cohort."""
    prevalences, written = study.config.get("prevalences", ()), study.metrics
    both = {**study.models, **study.baselines_in_scope}
    glands, others = study.kind == "adenocarcinoma", np.isin(study.kind, ["adenosquamous", "large cell", "sarcomatoid"])
    models = entries.table(study, both, study.complete, prevalences)
    content = {
        "models": models,
        "luad_only": entries.table(study, both, study.complete & glands, prevalences),
        "non_squamous": entries.table(study, both, study.complete & (glands | others), prevalences),
        "any_member": entries.any_member(study, prevalences),
        "comparisons": entries.comparisons(study),
        "bundle_thresholds": cuts.bundle_thresholds(study),
        "triage": {
            **cuts.triage(study, models[ENSEMBLE]["operating_points"]["rule_out"]),
            "rapid_tests_avoided": cuts.rapid_tests_avoided(study),
        },
        "decision_curves": cuts.decision_curves(study),
        "power": entries.power(study),
        "confounders": groups.confounders(group, written["confounders"]),
        "probes": groups.probes(group, written["probes"]),
        "incremental": added.incremental(study),
    }
    if "verdict" in written:
        content["verdict"] = verdict(study, models[ENSEMBLE]["auroc"]["value"])
    if "external" in written:
        content["external"] = entries.external(study, models)
    return content


def leaves_of(study: Study) -> dict[str, Any]:
    """What is written, by path."""
    rows, names = _rows(study), [*study.models, *study.baselines]
    written = {
        "scores": {
            _place(row, r, name): None if row[name] == "" else float(row[name]) for row, r, _ in rows for name in names
        },
        "calls": {_place(row, r): row["call"] for row, r, _ in rows},
    }
    files = {"folds.parquet": cuts.fold_thresholds(study)[1], "predictions.csv": written}
    return dict(leaves({**study.metrics, **files}))


def scope(study: Study) -> dict[str, Any]:
    """Who is in scope, and how many are not for which reason."""
    kinds = study.kind[~study.in_scope]
    excluded = np.where(np.isin(kinds, ["squamous", "not NSCLC"]), kinds, "too little cancer epithelium")
    return {
        "n": int(study.in_scope.sum()),
        "n_positive": int(study.y[study.in_scope].sum()),
        "out_of_scope": dict(Counter(excluded.tolist())),
        "unknown_histology": int((study.kind[study.in_scope] == "unknown").sum()),
    }


def flow(study: Study, cohort: Path | None) -> dict[str, int]:
    """Counts of slides and patients at each step from the cohort's table."""
    found = {"patients out of scope": int((~study.in_scope).sum())}
    if cohort is None:
        return found
    rows, target = read_csv(cohort), study.metrics["target"]
    labels = {row["patient_id"]: "" for row in rows}
    labels |= {row["patient_id"]: row[target] for row in rows if row[target] in ("0", "1")}
    labelled = Counter(labels.values())
    used = labelled["0"] + labelled["1"]
    return {
        **found,
        "rows": len(rows),
        "slides": len({row["slide_id"] for row in rows}),
        "patients": len(labels),
        "label_unknown": len(labels) - used,
        "labelled": used,
        "positive": labelled["1"],
        "negative": labelled["0"],
        "patients without a usable slide": used - len(study.y),
    }


def drivers(study: Study, columns: covariates.Columns) -> dict[str, int] | None:
    """The number of scored patients with known KRAS driver mutation status, and how many have a mutation."""
    if study.metrics["target"] == "kras_driver":
        known = study.y[study.ensemble.scored].tolist()
    else:
        cells = columns.get("kras_driver", [""] * len(study.y))
        known = [float(cells[i]) for i in np.flatnonzero(study.ensemble.scored) if cells[i] in ("0", "1", "0.0", "1.0")]
    return {"n": len(known), "n_positive": int(sum(known))} if known else None


def verdict(study: Study, observed: float) -> dict[str, Any]:
    """The parts of a permutation test that need no refits: the area to be reached, and that p counts refits."""
    p, refits = study.metrics["verdict"]["p"], study.config["permutations"]
    if p is None:
        return {"p": None, "permutations": 0, "observed": observed}
    return {"p": max(1, round(p * (refits + 1))) / (refits + 1), "permutations": refits, "observed": observed}


def predictions(study: Study) -> dict[str, Any]:
    """The probabilities of folds.parquet's logits, the ensemble's as the fusion of members, and the calls."""
    shown = {name: expit(model.logit) for name, model in {**study.members, **study.baselines}.items()}
    fused = fusion(study)
    shown |= {} if fused is None else {ENSEMBLE: fused}
    called = cuts.calls(study)
    return {
        "scores": {_place(row, r, name): float(p[r, i]) for name, p in shown.items() for row, r, i in _rows(study)},
        "calls": {_place(row, r): called[r][i] for row, r, i in _rows(study)},
    }


def fusion(study: Study) -> np.ndarray | None:
    """The mean of the available members' logits or probabilities, and for a bundle the mean logit of its folds'
    ensembles made in this way; None for a fusion that was fitted."""
    kind = study.config.get("fusion", study.manifest.get("trained_on", {}).get("fusion"))
    if kind not in ("logit", "probability"):
        return None
    logits = np.stack([m.logit if m.by_fold is None else m.by_fold for m in study.members.values()])
    fused = np.nanmean(logits, axis=0) if kind == "logit" else log_odds(np.nanmean(expit(logits), axis=0))
    return expit(fused if study.cross_validated else fused.mean(axis=0, keepdims=True))


def _rows(study: Study) -> list[tuple[dict[str, str], int, int]]:
    """Each row of predictions.csv with its repeat and patient."""
    return [(row, r, i) for r, own in enumerate(study.rows) for i, row in enumerate(own)]


def _place(row: Mapping[str, str], repeat: int, *model: str) -> str:
    return ", ".join((*model, row["patient_id"], f"repeat {repeat + 1}"))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers, truth values and None by path, and the text of calls; other texts are not results.

    Elements of a list are identified by their names if they have any, else by their position.
    """
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from leaves(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for i, one in enumerate(value):
            names = [str(one[n]) for n in _NAMES if n in one] if isinstance(one, Mapping) else []
            yield from leaves(one, f"{path}[{', '.join(names) or i}]")
    elif not isinstance(value, str) or ".calls." in path:
        yield path, value


def same(a: Any, b: Any) -> bool:
    """Whether two values agree up to rounding; None, NaN and infinity all count as "none"."""
    a, b = (None if isinstance(x, float) and not math.isfinite(x) else x for x in (a, b))
    if a is None or b is None or isinstance(a, str):
        return a is b if a is None or b is None else a == b
    return math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING / 10)


if __name__ == "__main__":
    sys.exit(main())

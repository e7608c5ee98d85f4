"""folds.parquet: the scores of each fold's models inside training, from which thresholds can be recomputed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.errors import StoreError

if TYPE_CHECKING:
    from kras_plugins.data import Float64
    from kras_plugins.evaluation.evaluated import Evaluated
    from kras_plugins.evaluation.scores import Scores

FOLDS = "folds.parquet"

Row = tuple[int, int, str, str, str, float]


def write_fold_scores(file: Path, scored: Evaluated) -> None:
    """Write a long table: repeat, fold, model, kind, name, value.

    `repeat` and `fold` count from 1. Kinds: `inner_logit`, the calibrated score of a training patient (`name`) from
    models that saw neither the fold nor the patient; `logit`, the calibrated score of a test patient, whose probability
    is in predictions.csv; `raw` and `in_fold`, its uncalibrated score and the value it is ranked by within its fold;
    `fold_logit`, on an external cohort, the score by the bundle's model of this fold; `threshold`, the logit of a rule
    (`name`) for the fold's test patients; `platt_slope` of the fold. NaN is left out. Raises StoreError if the file
    cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    models = {**scored.members, "ensemble": scored.ensemble, **scored.baselines}
    rows = [row for name, scores in models.items() for row in _rows(name, scores, scored)]
    types = (pa.int32(), pa.int32(), pa.string(), pa.string(), pa.string(), pa.float64())
    names = ("repeat", "fold", "model", "kind", "name", "value")
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    table = pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})
    part = file.with_name(f".{file.name}.part")
    try:
        parquet.write_table(table, part, compression="zstd")
        part.replace(file)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise StoreError(f"cannot write {file}: {e.strerror or e}", "free disk space or choose another folder") from e


def _rows(name: str, scores: Scores, scored: Evaluated) -> Iterator[Row]:
    ids = [p.patient_id for p in scored.patients]
    for r, fold in enumerate(scored.fold):
        for k in np.unique(fold).tolist():
            place, test = (r + 1, k + 1, name), np.flatnonzero(fold == k)
            if scores.slopes is not None:
                yield *place, "platt_slope", "", scores.slopes[r][k]
            for rule, thresholds in scores.thresholds.items():
                value = float(thresholds[r, test[0]])
                if np.isfinite(value):
                    yield *place, "threshold", rule, value
            if scores.inner is not None:
                yield from _known(place, "inner_logit", ids, scores.inner[r, k])
            for kind, values in (("logit", scores.logit), ("raw", scores.raw), ("in_fold", scores.in_fold)):
                if values is not None:
                    yield from _known(place, kind, [ids[i] for i in test], values[r, test])
    for k, logit in enumerate(() if scores.by_fold is None else scores.by_fold):
        yield from _known((1, k + 1, name), "fold_logit", ids, logit)


def _known(place: tuple[int, int, str], kind: str, names: list[str], values: Float64) -> Iterator[Row]:
    for name, value in zip(names, values.tolist(), strict=True):
        if np.isfinite(value):
            yield *place, kind, name, value

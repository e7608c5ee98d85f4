"""A case as JSON beside its page: all that the page says, for other programs and for `kras view`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pydantic

from kras_plugins.errors import StoreError
from kras_plugins.evaluation.distribution import AT
from kras_plugins.learning.content import told
from kras_plugins.learning.strict_json import read_strict_json
from kras_plugins.report.case import CasePage, without_scores

SCHEMA_VERSION = 1
ENDING = ".case.json"
MOST_BYTES = 16 << 20
"""A case of fifty slides has less than a hundredth of this."""
_HINT = "score the patient again with `kras predict`"


def case_json(case: CasePage) -> str:
    """The case as JSON text, without scores where it is not assessable; `read_case` gives it back."""
    value = {"schema_version": SCHEMA_VERSION, **_adapter().dump_python(without_scores(case), mode="json")}
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def read_case(file: Path) -> CasePage:
    """Read what `case_json` wrote; raises StoreError naming the file and the place of what no case contains."""
    value = read_strict_json(file, MOST_BYTES, _HINT)
    found = value.pop("schema_version", None) if isinstance(value, dict) else None
    if found != SCHEMA_VERSION:
        raise _refused(file, f"schema_version is not {SCHEMA_VERSION}")
    try:
        case = _adapter().validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as e:
        raise _refused(file, told(e)) from e
    for wrong in _unsound(case):
        raise _refused(file, wrong)
    return without_scores(case)


def _unsound(case: CasePage) -> Iterator[str]:
    """Values of the right type that are impossible: shares outside of 0 to 1, quantiles that are not quantiles."""
    p = case.prediction
    shares = {"prevalence": case.prevalence, "prediction.ensemble": p.ensemble}
    shares |= {f"prediction.members.{name}": value for name, value in p.members.items()}
    shares |= {f"thresholds.{name}.threshold": point.threshold for name, point in case.thresholds.items()}
    for name, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            yield f"{name[:80]} does not lie between 0 and 1"
    for measure in (*case.measures, *(moved.measure for some in case.moved.values() for moved in some)):
        q = [*measure.quantiles]
        if q and (len(q) != len(AT) or q != sorted(q)):
            yield f"{measure.feature[:60]!r} has no {len(AT)} quantiles in ascending order"


def _refused(file: Path, why: str) -> StoreError:
    return StoreError(f"{file}: {why if why.isprintable() else ascii(why)}", _HINT)


@cache
def _adapter() -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(CasePage)

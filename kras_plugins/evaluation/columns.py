"""Covariates of patients as evaluation reads them: texts, numbers, and the levels that groups are made of."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.number_columns import floats
from kras_plugins.cohort.numbers import UNKNOWN, odd_cells
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Float64

FIXED = ("histology", "specimen", "kras_test", "site")
"""Columns that every Patient has as a field."""
MOST_LEVELS = 12
"""A text column with more levels is not used for grouping."""

CLINICAL = re.compile(
    r"(sex|gender|age|stage|smok\w*|tobacco\w*|pack_?years?|ecog|performance_status|specimen|[tnm]_stage)"
    r"|age_at_\w+|\w*_stage|stage_\w+|\w*pathologic\w*_stage|smoking_\w+|\w*_smoking\w*|\w*tumor_stage"
)
"""Names that are recognized as clinical covariates, known before any test for mutations."""
_LABELS = re.compile(r"kras|g1[23]|q61|hgvs|^ras$|driver")
_IDS = re.compile(
    r"(^|_)(ids?|barcode|uuid|path|split|redaction|slide_map|study|submitter)($|_)|^(patient|case|sample)$"
)
_OUTCOMES = re.compile(
    r"^(os|dfi|dss|pfi|pfs|rfs|efs)($|_)|vital|death|surviv|follow|recur|relapse|progress|outcome|respon|censor"
    r"|new_tumor|last_contact|tumor_status|residual|_days_to|birth|treat|therap"
)
_MUTATIONS = re.compile(
    r"^(egfr|stk11|tp53|keap1|braf|alk|ros1|ret|met|erbb2|nf1|smarca4|tmb|cdkn2a|nras|hras|pik3ca)($|_)|mutation|mutated"
)
_SPECIMEN = re.compile(
    r"specimen|(specimen|sample)_(type|kind|procedure)|(biopsy|resection)(_or_(biopsy|resection))?|procedure(_type)?"
    r"|method_of_(sample|specimen)_procurement|(collection|sampling|procurement)_method"
)
_ASSAY = re.compile(
    r"(kras|ngs|dna|gene|molecular|sequencing|mutation)_(test|assay|panel|method|platform)|assay|panel|ngs|sequencer"
)
_SPECIMENS = (
    ("cytology", re.compile(r"cytolog|aspirat|\b(fna|tbna)\b|cell ?block|effusion|brush|washing|lavage")),
    ("biopsy", re.compile(r"biops|\bcore\b|needle|\b(cnb|tbb|tblb|bx)\b")),
    ("resection", re.compile(r"rese[ck]t|surg|(lob|segment|pneumon|metastas)ectom|wedge|excision")),
)
"""Kinds of specimen by their words; the first match counts, since aspirates are also taken with a needle."""
_TSO500 = re.compile(r"\btso[- ]?500|trusight[- ]?oncology[- ]?500", re.IGNORECASE)
_STAGE = re.compile(r"^(?:stage\s*)?(IV|III|II|I|0)(?:[ABC]\d?)?$", re.IGNORECASE)


def subgroup_columns(patients: Sequence[Patient]) -> list[str]:
    """Default columns of the subgroup table: FIXED, and covariates named for a specimen or an assay."""
    others = [n for n in available(patients) if n not in FIXED and (names_specimen(n) or names_assay(n))]
    return [*FIXED, *others]


def names_specimen(name: str) -> bool:
    """Whether a column is named for how tissue was taken: resection, biopsy."""
    return bool(_SPECIMEN.fullmatch(name.lower()))


def names_assay(name: str) -> bool:
    """Whether a column is named for the sequencing assay."""
    return bool(_ASSAY.fullmatch(name.lower()))


def available(patients: Sequence[Patient]) -> list[str]:
    """All columns that can be requested: the fields and every covariate, in order of appearance."""
    return [*FIXED, *dict.fromkeys(name for p in patients for name in p.covariates)]


def confounding(name: str) -> bool:
    """Whether a column is a possible confounder by default: no id, no outcome, and not the label in disguise."""
    low = name.lower()
    return low == "kras_test" or not (_LABELS.search(low) or _IDS.search(low) or _OUTCOMES.search(low))


def usual(name: str) -> bool:
    """Whether a column is named like a field of patients, a clinical covariate, a mutation, purity or a scanner."""
    low = name.lower()
    named = CLINICAL.fullmatch(low) or _MUTATIONS.search(low) or re.search("purity|scanner|^mpp$|^cohort$", low)
    return name in FIXED or bool(named)


def clinical_columns(patients: Sequence[Patient], given: Sequence[str] | None) -> list[str]:
    """The columns of the clinical baseline: those given, else those with a recognized name and more than one value.

    Raises ConfigError for a column that does not exist, or that states mutations, an outcome or an identity, since that
    would not be a clinical baseline.
    """
    if given is not None:
        check_columns(patients, given, "clinical")
        for name in given:
            if name != "kras_test" and (not confounding(name) or _MUTATIONS.search(name.lower())):
                raise ConfigError(
                    f"run.clinical: {name} is a label, an outcome, a mutation or an id, not a clinical covariate",
                    "name what is known before the test, such as sex, age, stage, smoking",
                )
        return list(given)
    names = [n for n in available(patients) if CLINICAL.fullmatch(n.lower()) and confounding(n)]
    return [n for n in names if len(set(texts(patients, n)) - {""}) > 1]


def check_columns(patients: Sequence[Patient], names: Sequence[str], setting: str) -> None:
    """Raise ConfigError for a column that no patient has."""
    there = available(patients)
    for name in names:
        if name not in there:
            raise ConfigError(f"run.{setting}: the cohort has no column {name}", f"it has {', '.join(there)}")


def texts(patients: Sequence[Patient], column: str) -> list[str]:
    """A column's value of each patient, "" if unknown. A column that contains `WT` becomes mutated or wild type; one
    named for a stage loses its letters (IIA is II); one named for a specimen becomes `biopsy`, `resection` or
    `cytology` if its words say so; one for an assay becomes `TSO500`, however that is written."""
    found = [str(getattr(p, column) if column in FIXED else p.covariates.get(column, "")).strip() for p in patients]
    if column == "site":  # na and ns are sites of TCGA
        return found
    found = ["" if v.lower() in UNKNOWN or (v.startswith("[") and v.endswith("]")) else v for v in found]
    if "WT" in found:
        return [v if v in ("", "WT") else "mutated" for v in found]
    if "stage" in column.lower():
        return [m[1].upper() if (m := _STAGE.match(v)) else v for v in found]
    said = _specimen if names_specimen(column) else _assay if names_assay(column) else None
    return found if said is None else ["+".join(dict.fromkeys(map(said, v.split("+")))) for v in found]


def _specimen(stated: str) -> str:
    """One kind of specimen, or the stated text if its words name none."""
    return next((kind for kind, words in _SPECIMENS if words.search(stated.lower())), stated.strip())


def _assay(stated: str) -> str:
    return "TSO500" if _TSO500.search(stated) else stated.strip()


def numbers(values: Sequence[str]) -> Float64 | None:
    """float64[patient], NaN if unknown; None if a value is not a number or there are too few distinct ones."""
    found = floats(values)
    return None if found.odd or not found.measured else found.values


def check_numbers(patients: Sequence[Patient], names: Iterable[str]) -> None:
    """Raise ConfigError that names the cells which keep a column of numbers from being one.

    Different numbers of a patient's slides, joined by `+`, are not named.
    """
    odd = []
    for name in dict.fromkeys(n for n in names if n not in FIXED):
        values = texts(patients, name)
        found = floats(values)
        if found.numeric and found.measured:
            odd += [(patients[i].patient_id, name, values[i]) for i in found.odd if floats(values[i].split("+")).odd]
    if odd:
        raise ConfigError(*odd_cells("covariates", odd, "patient"))


def levels(values: Sequence[str]) -> tuple[list[str], npt.NDArray[np.str_]]:
    """The levels in order, and that of each patient, "" if unknown. Numbers are cut into thirds, or at the
    median if thirds coincide."""
    number = numbers(values)
    if number is None:
        own = np.array(list(values), np.str_)
        return sorted(set(own.tolist()) - {""}), own
    known = number[~np.isnan(number)]
    for cuts in ((1 / 3, 2 / 3), (0.5,)):
        edges = np.quantile(known, cuts)
        of = np.searchsorted(edges, number, "left")
        if len(np.unique(of[~np.isnan(number)])) > len(edges):
            break
    else:
        edges = np.array([known.min()])
        of = np.searchsorted(edges, number, "left")
    e = [f"{x:.4g}" for x in edges]
    names = [f"≤ {e[0]}", *(f"> {a} to {b}" for a, b in itertools.pairwise(e)), f"> {e[-1]}"]
    own = np.array([names[i] for i in of], np.str_)
    own[np.isnan(number)] = ""
    return [n for n in names if n in set(own.tolist())], own

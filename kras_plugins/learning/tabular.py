"""From semantic profiles to a table of numbers, with everything learned from the training part alone."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from kras_plugins.contracts.base import Options
from kras_plugins.data import Sample, SemanticProfile
from kras_plugins.errors import ConfigError
from kras_plugins.semantics.features.phenotype import (
    DESERT,
    EXCLUDED,
    INFLAMED,
    Thresholds,
    fit_thresholds,
    squares_of,
    with_thresholds,
)
from kras_plugins.semantics.features.table import BY_NAME, CORE, FEATURES

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64

MAX_CORRELATION = 0.95
"""Of two features whose ranks correlate more, the second is dropped (docs/reference/definitions.md, table)."""
CLIP = 5.0
"""Scaled values are clipped here on both sides: densities have long tails; one patient must not dominate a network."""
ONE_HOT = {"ip_class:desert": DESERT, "ip_class:excluded": EXCLUDED, "ip_class:inflamed": INFLAMED}
"""Columns that stand for the one categorical feature, and the class each is 1 for."""
NOT_LEARNED = frozenset({"ip_class", *(f.name for f in FEATURES if not f.learned)})
"""`ip_class` is learned as ONE_HOT; the others reveal the amount of tissue."""

_log = logging.getLogger("kras.learning")

T = TypeVar("T", bound=Options)

_FACTS = "classifier.json"


@dataclass(frozen=True, kw_only=True)
class Preprocessor:
    """A frozen choice of columns, matched by name, with the median and spread of the patients it was fitted on.

    `features`: the profile's names that are used. `flags`: the feature groups whose validity is used; each gives a
    column `invalid:GROUP` of 0 and 1. A missing value itself is only ever filled with the median: an indicator of it
    would reveal which hospital's pipeline lacked the feature. `median`, `spread`: one number per column. `logged`:
    those features that enter as ln(1 + x). `thresholds`: those by which the immune phenotype is called again, None for
    the published ones, which profiles already use.

    If a profile has all features of the preset `core`, it is one of ours and its features are recognized by name: cells
    per mm² are logged, the immune phenotype becomes three columns (ONE_HOT), and what reveals the amount of tissue
    (NOT_LEARNED, and flags, which are set on biopsies) is excluded. Features made elsewhere are used unchanged.
    """

    features: tuple[str, ...]
    flags: tuple[str, ...]
    median: tuple[float, ...]
    spread: tuple[float, ...]
    logged: tuple[str, ...] = ()
    thresholds: Thresholds | None = None

    @classmethod
    def fit(
        cls,
        samples: Sequence[Sample],
        choice: Literal["all", "core"] = "all",
        ip_preset: Literal["lunit_jco2022", "quantile"] = "lunit_jco2022",
    ) -> Preprocessor:
        """Choose columns on the training patients, independently of the order of a profile's names.

        With the choice `core` only the preset's features are considered; of features made elsewhere all are, which is
        logged (logger `kras`). Columns are dropped that no patient has, that do not vary, or that duplicate an earlier
        one in alphabetical order (Spearman's |ρ| > 0.95). `spread` is the interquartile range / 1.349, which is the
        standard deviation of a normal variable, or the standard deviation where more than half of the values are equal.
        `ip_preset`: which thresholds call the immune phenotype, the published ones or those of `fit_thresholds` on
        these patients. Raises ConfigError when patients have different features or no column is left, and when
        thresholds cannot be fitted.
        """
        quantile = ip_preset == "quantile"
        thresholds = fit_thresholds([squares_of(profile_of(s)) for s in samples]) if quantile else None
        samples = _phenotyped(samples, thresholds)
        features, flags, logged = _considered(*_common_names(samples), choice)
        raw = _rows(samples, features, flags, logged)
        present = [i for i in range(raw.shape[1]) if not np.isnan(raw[:, i]).all()]
        filled = np.where(np.isnan(raw), 0.0, raw)
        filled[:, present] = _impute(raw[:, present], np.nanmedian(raw[:, present], axis=0))
        extent = np.ptp(filled, axis=0)
        varied = [i for i in present if extent[i] > max(1e-9 * np.abs(filled[:, i]).max(), 1e-100)]
        kept = [varied[j] for j in _uncorrelated(filled[:, varied])]
        if not kept:
            raise ConfigError(
                f"no feature varies among the {len(samples)} training patients",
                "check that the profiler returned values: see the profile table of the cohort",
            )
        names = tuple(features[i] for i in kept if i < len(features))
        flag_names = tuple(flags[i - len(features)] for i in kept if i >= len(features))
        table = filled[:, kept]
        low, median, high = np.quantile(table, (0.25, 0.5, 0.75), axis=0)
        spread = np.where(high - low > 1e-9 * extent[kept], (high - low) / 1.349, table.std(axis=0))
        n = len(names)
        return cls(  # flags are 0 and 1 already and stay unscaled: 0 is the usual, valid case
            features=names,
            flags=flag_names,
            median=(*median[:n].tolist(), *(0.0 for _ in flag_names)),
            spread=(*spread[:n].tolist(), *(1.0 for _ in flag_names)),
            logged=tuple(name for name in logged if name in names),
            thresholds=thresholds,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the table's columns: the features, then `invalid:GROUP` for each flag."""
        return (*self.features, *(f"invalid:{group}" for group in self.flags))

    def table(self, samples: Sequence[Sample]) -> Float64:
        """Float64[sample column], in the profile's units unless `logged`, missing ones filled with training medians.

        Additional features of a profile are ignored; ConfigError names one that is absent, or a patient without squares
        if the immune phenotype is called again.
        """
        samples = _phenotyped(samples, self.thresholds)
        return _impute(_rows(samples, self.features, self.flags, self.logged), np.asarray(self.median))

    def scaled(self, samples: Sequence[Sample]) -> Float64:
        """Float64[sample column]: the table minus the median, divided by the spread, clipped to ±5."""
        scaled: Float64 = (self.table(samples) - np.asarray(self.median)) / np.asarray(self.spread)
        return scaled.clip(-CLIP, CLIP)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` gives an equal object back."""
        return {
            "features": list(self.features), "flags": list(self.flags),
            "median": list(self.median), "spread": list(self.spread), "logged": list(self.logged),
            "thresholds": None if self.thresholds is None else asdict(self.thresholds),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessor:
        """The inverse of `to_dict`. ValueError or TypeError for values that `to_dict` does not give."""
        rest = dict(values)
        thresholds = rest.pop("thresholds", None)
        made = cls(
            **{name: tuple(value) for name, value in rest.items()},
            thresholds=None if thresholds is None else Thresholds(**thresholds),
        )
        if not all(isinstance(name, str) for name in (*made.features, *made.flags, *made.logged)):
            raise ValueError("the name of a column is not a text")
        of_phenotype = () if made.thresholds is None else (made.thresholds.ce, made.thresholds.cs)
        if not all(map(_is_finite, (*made.median, *made.spread, *of_phenotype))):
            raise ValueError("a median, spread or threshold is not a number")
        if {len(made.median), len(made.spread)} != {len(made.columns)}:
            raise ValueError("there is not one median and one spread for each column")
        return made


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _common_names(samples: Sequence[Sample]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sorted names of the features and of the groups, which must be the same for all patients."""
    first = profile_of(samples[0])
    for sample in samples:
        profile = profile_of(sample)
        odd = set(profile.names) ^ set(first.names) or set(profile.valid) ^ set(first.valid)
        if odd:
            raise ConfigError(
                f"patients {samples[0].patient_id!r} and {sample.patient_id!r} differ in the feature {min(odd)!r}",
                "give every patient the same columns, empty where a value is unknown",
            )
    return tuple(sorted(first.names)), tuple(sorted(first.valid))


def _considered(
    features: tuple[str, ...], flags: tuple[str, ...], choice: Literal["all", "core"]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The features to choose from, sorted, the flags, and which features are logged, before any value is looked at."""
    if not set(features) >= set(CORE):  # not ours, though some may have the same names
        if choice == "core":
            _log.info("features made elsewhere have no preset `core`: all %d are considered", len(features))
        return features, flags, ()
    if choice == "core":
        features = CORE
    elif "ip_class" in features:
        features = (*features, *ONE_HOT)
    features = tuple(sorted(set(features) - NOT_LEARNED))
    return features, (), tuple(n for n in features if n in BY_NAME and BY_NAME[n].unit == "1/mm²")


def profile_of(sample: Sample) -> SemanticProfile:
    """The patient's profile; raises ConfigError when there is none."""
    if sample.profile is None:
        raise ConfigError(
            f"patient {sample.patient_id!r} has no semantic profile", "name a profiler, or leave the patient out"
        )
    return sample.profile


def _phenotyped(samples: Sequence[Sample], thresholds: Thresholds | None) -> Sequence[Sample]:
    """Samples with the immune phenotype by these thresholds; unchanged without thresholds."""
    if thresholds is None:
        return samples
    return [replace(s, profile=with_thresholds(profile_of(s), thresholds)) for s in samples]


def _rows(samples: Sequence[Sample], features: Sequence[str], flags: Sequence[str], logged: Sequence[str]) -> Float64:
    """Float64[sample column] by name, NaN where missing; `logged` ones keep their sign, even if negative."""
    rows, n = np.empty((len(samples), len(features) + len(flags))), len(features)
    profiles, first = [profile_of(s) for s in samples], 0
    for names, same in groupby(profiles, lambda profile: tuple(profile.names)):
        block = list(same)
        here = slice(first, first + len(block))
        first += len(block)
        columns, absent = _columns(names, tuple(features))
        for sample, profile in zip(samples[here], block, strict=True):
            lacks = absent or next((f"{group} (validity)" for group in flags if group not in profile.valid), None)
            if lacks is not None:
                raise ConfigError(
                    f"patient {sample.patient_id!r} lacks the feature {lacks!r}",
                    "make the profile with the profiler and options that the model was trained with",
                )
        values = np.array([profile.values for profile in block], np.float64)
        if "ip_class" in names:
            ip = values[:, names.index("ip_class"), None]
            values = np.hstack([values, np.where(np.isnan(ip), np.nan, ip == list(ONE_HOT.values()))])
        rows[here, :n] = values[:, columns]
        rows[here, n:] = [[not profile.valid[group] for group in flags] for profile in block]
    infinite = np.isinf(rows).any(axis=1)
    if infinite.any():
        raise ConfigError(
            f"patient {samples[int(infinite.argmax())].patient_id!r} has an infinite value in its profile",
            "leave a value that cannot be computed empty",
        )
    for column in (features.index(name) for name in logged):
        rows[:, column] = np.sign(rows[:, column]) * np.log1p(np.abs(rows[:, column]))
    return rows


@lru_cache(maxsize=64)
def _columns(names: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[npt.NDArray[np.intp], str | None]:
    """Where the `wanted` features stand in a profile of `names` with ONE_HOT after them, and the first that is absent.

    Cached: permuting features looks them up for all patients repeatedly.
    """
    every = (*names, *ONE_HOT) if "ip_class" in names else names
    at = {name: i for i, name in enumerate(every)}
    return np.array([at.get(name, 0) for name in wanted], np.intp), next((n for n in wanted if n not in at), None)


def _impute(rows: Float64, median: Float64) -> Float64:
    return np.where(np.isnan(rows), median, rows)


def _uncorrelated(table: Float64) -> list[int]:
    """Columns kept when each is compared, by Spearman's ρ, with those kept before it."""
    from scipy.stats import rankdata

    ranks = rankdata(table, axis=0)
    ranks = ranks - ranks.mean(axis=0)
    ranks = ranks / np.sqrt((ranks**2).sum(axis=0))
    rho = np.abs(ranks.T @ ranks)
    kept: list[int] = []
    for i in range(table.shape[1]):
        if (rho[i, kept] <= MAX_CORRELATION).all():
            kept.append(i)
    return kept


def write_facts(folder: Path, options: Options, seed: int, preprocessor: Preprocessor) -> None:
    """Write `classifier.json` into the folder."""
    facts = {"options": options.result_affecting(), "seed": seed, "preprocessor": preprocessor.to_dict()}
    (folder / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8", newline="\n")


def read_facts(folder: Path, options: type[T]) -> tuple[T, int, Preprocessor]:
    """(options, seed, preprocessor) that `write_facts` wrote; raises what their checks raise."""
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    seed = facts["seed"]
    if type(seed) is not int or seed < 0:
        raise ValueError("its seed is not a whole number from 0")
    return options.model_validate(facts["options"]), seed, Preprocessor.from_dict(facts["preprocessor"])

"""Whether new patients come from the same population as training's: one comparison per quantity, its p and its size.

Continuous quantities by Kolmogorov and Smirnov's two-sample test at the frozen edges, categories by Fisher's
exact test or chi-square, all two-sided, one value per patient. The population stability index (PSI) is a size, not a
test; it is given with its expected value by chance alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.evaluation.distribution import AT

if TYPE_CHECKING:
    from kras_plugins.data import Float64

FEWEST = 20
"""Fewer patients with a value, here or in training, are not compared."""
PSI_BINS = 10
_LARGE, _MODERATE = 0.25, 0.10
_EXPECTED = 5.0
"""Cochran (1954): chi-square if every cell has an expected count of at least five."""
_SMOOTHING = 0.5


@dataclass(frozen=True, kw_only=True)
class Binned:
    """How a quantity is distributed over patients, without any patient's value: `counts` between ascending `edges`.

    The first count is of values up to the first edge, the last of those above the last edge; `missing`: patients
    without a value.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int = 0

    @property
    def n(self) -> int:
        """Patients with a value."""
        return sum(self.counts)


@dataclass(frozen=True, kw_only=True)
class Psi:
    """A population stability index, what it is `by_chance` on average, and its 95 % `limit` if nothing drifts."""

    value: float
    by_chance: float
    limit: float

    @property
    def corrected(self) -> float:
        """The value less what chance adds to it; not below 0."""
        return max(0.0, self.value - self.by_chance)

    @property
    def size(self) -> str:
        """The corrected value in the customary words (Siddiqi 2006, Credit Risk Scorecards), only beyond the limit."""
        if self.value <= self.limit:
            return "within chance"
        return "large" if self.corrected >= _LARGE else "moderate" if self.corrected >= _MODERATE else "small"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One quantity of some patients against training.

    `n` and `n_training`: patients with a value; `unknown`: new patients without one; `p`: None if nothing
    could be tested, as `note` then explains; `statistic`: of the test; `detail`: what is seen, in words.
    """

    name: str
    n: int
    n_training: int
    unknown: int = 0
    test: str = ""
    statistic: float | None = None
    p: float | None = None
    psi: Psi | None = None
    detail: str = ""
    note: str = ""


def edges_of(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Where bins end: ascending quantiles, each once, and just below one that several share at the lower end.

    Otherwise a value that most patients have could not be distinguished from anything below it.
    """
    edges = np.unique(np.asarray(quantiles, np.float64)).tolist()
    shared = len(quantiles) > 1 and quantiles[0] == quantiles[1]
    return (*([math.nextafter(edges[0], -math.inf)] if shared else []), *edges)


def binned(values: Float64, edges: Sequence[float] | None = None) -> Binned:
    """Patients counted between `edges`, or between every twentieth of their own values; NaN is missing."""
    known = values[np.isfinite(values)]
    if edges is None:
        cuts = np.percentile(known, AT).tolist() if len(known) else []
        edges = edges_of([float(f"{q:.6g}") for q in cuts])
    where = np.searchsorted(np.asarray(edges, np.float64), known, "left")
    counts = np.bincount(where, minlength=len(edges) + 1)
    return Binned(edges=tuple(edges), counts=tuple(counts.tolist()), missing=len(values) - len(known))


def quantile(found: Binned, share: float) -> float:
    """The first edge up to which this share of the patients lies."""
    at = int(np.searchsorted(np.cumsum(found.counts), share * found.n * (1 - 1e-12)))
    return found.edges[min(at, len(found.edges) - 1)]


def compare_values(name: str, training: Binned, values: Float64, fewest: int = FEWEST) -> Compared:
    """A continuous quantity, float64[patient] with NaN if unknown, against the frozen values of training."""
    here = binned(values, training.edges)
    found = Compared(name=name, n=here.n, n_training=training.n, unknown=here.missing)
    if note := too_few(here.n, training.n, fewest):
        return replace(found, note=note)
    d, p = ks(training.counts, here.counts)
    low, high = np.percentile(values[np.isfinite(values)], [25, 75]).tolist()
    middle, before = float(np.nanmedian(values)), quantile(training, 0.5)
    detail = f"median {_shown(middle)} (middle half {_shown(low)} to {_shown(high)}), training {_shown(before)}"
    return replace(
        found,
        test="Kolmogorov-Smirnov",
        statistic=d,
        p=p,
        psi=psi(*_coarse(training.counts, here.counts)),
        detail=detail,
    )


def compare_levels(name: str, training: Mapping[str, int], levels: Sequence[str], fewest: int = FEWEST) -> Compared:
    """A category, one per patient and "" if unknown, against training's counts by level."""
    known = Counter(level for level in levels if level)
    before = {level: n for level, n in training.items() if level}
    n, m = sum(known.values()), sum(before.values())
    found = Compared(name=name, n=n, n_training=m, unknown=len(levels) - n)
    if note := too_few(n, m, fewest):
        return replace(found, note=note)
    every = sorted({*known, *before}, key=lambda level: (-known[level] - before.get(level, 0), level))
    a, b = [before.get(level, 0) for level in every], [known[level] for level in every]
    test, statistic, p, which = categories(a, b)
    return replace(
        found,
        test=test,
        statistic=statistic,
        p=p,
        psi=psi(*_common(a, b)),
        detail=f"{every[which]}: {_share(b[which], n)}, training {_share(a[which], m)}",
    )


def ks(training: Sequence[int], here: Sequence[int]) -> tuple[float, float]:
    """Kolmogorov and Smirnov's D between two rows of counts over the same bins, and its two-sided p.

    D is computed only at the bins' edges, so it is never above that of the values themselves, and p is never too small.
    It is Kolmogorov's limiting distribution (Smirnov 1939), which is above the exact p of two small samples
    (within 2 % below it at worst), while the finite one-sample distribution with the harmonic size is far below.
    """
    from scipy.special import kolmogorov

    a, b = np.cumsum(training), np.cumsum(here)
    n, m = int(a[-1]), int(b[-1])
    d = float(np.abs(a / n - b / m).max())
    return d, float(kolmogorov(math.sqrt(n * m / (n + m)) * d))


def categories(training: Sequence[int], here: Sequence[int]) -> tuple[str, float | None, float, int]:
    """Test, statistic (None of an exact one), two-sided p and the level that differs most, of counts by level.

    Two levels: Fisher's exact test, and the level that is rarer in training is named. More: Pearson's chi-square if all
    expected counts are at least 5; otherwise Fisher's test of each level against the rest, with the smallest p times
    the number of levels (Bonferroni), which is valid for any counts.
    """
    from scipy.stats import chi2_contingency, fisher_exact

    table = np.array([training, here])
    if len(training) < 2:
        return "Fisher's exact", None, 1.0, 0
    if len(training) == 2:
        return "Fisher's exact", None, float(fisher_exact(table).pvalue), int(np.argmin(training))
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    if (expected >= _EXPECTED).all():
        result = chi2_contingency(table, correction=False)
        which = int(np.argmax(np.abs(table - expected)[1] / np.sqrt(expected[1])))
        return "chi-square", float(result.statistic), float(result.pvalue), which
    rest = table.sum(axis=1, keepdims=True) - table
    each = [float(fisher_exact(np.stack([table[:, k], rest[:, k]])).pvalue) for k in range(len(here))]
    which = int(np.argmin(each))
    return "Fisher's exact, each level", None, min(1.0, len(each) * each[which]), which


def psi(training: Sequence[int], here: Sequence[int]) -> Psi:
    """The population stability index Σ (q - p) ln(q/p) of shares over B bins, half a patient added to each count.

    Without drift it is about (1/n + 1/m) χ² with B - 1 degrees of freedom (Yurdakul & Naranjo 2020, J Risk Model
    Validation 14:89), so the smaller a sample, the larger the index: it is shown minus its mean by chance.
    """
    from scipy.special import chdtri

    a, b = np.asarray(training, np.float64), np.asarray(here, np.float64)
    p, q = ((x + _SMOOTHING) / (x.sum() + _SMOOTHING * len(x)) for x in (a, b))
    per = float(1 / a.sum() + 1 / b.sum())
    free = len(a) - 1
    limit = float(chdtri(free, 0.05)) * per if free else 0.0
    return Psi(value=float(((q - p) * np.log(q / p)).sum()), by_chance=free * per, limit=limit)


def too_few(n: int, n_training: int, fewest: int) -> str:
    """Why two groups are not compared, "" if they are large enough."""
    if n_training < fewest:
        return f"too few in training: {n_training} of {fewest}"
    return f"too few: {n} of {fewest}" if n < fewest else ""


def _coarse(training: Sequence[int], here: Sequence[int]) -> tuple[list[int], list[int]]:
    """Neighboring bins joined until each has a tenth of training."""
    least, a, b = sum(training) / PSI_BINS, [0], [0]
    for x, y in zip(training, here, strict=True):
        if a[-1] >= least:
            a.append(0)
            b.append(0)
        a[-1], b[-1] = a[-1] + x, b[-1] + y
    if len(a) > 1 and a[-1] < least / 2:  # what is left at the end
        last, also = a.pop(), b.pop()
        a[-1], b[-1] = a[-1] + last, b[-1] + also
    return a, b


def _common(training: Sequence[int], here: Sequence[int]) -> tuple[list[int], list[int]]:
    """Levels, with those too rare for the index's distribution combined into one."""
    n, m = sum(training), sum(here)
    often = [min(n, m) * (x + y) / (n + m) >= _EXPECTED for x, y in zip(training, here, strict=True)]
    kept = [(x, y) for x, y, k in zip(training, here, often, strict=True) if k]
    rare = [(x, y) for x, y, k in zip(training, here, often, strict=True) if not k]
    if rare:
        kept.append((sum(x for x, _ in rare), sum(y for _, y in rare)))
    return [x for x, _ in kept], [y for _, y in kept]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.0%})"


def _shown(value: float) -> str:
    return f"{value:.3g}"

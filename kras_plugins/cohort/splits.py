"""Which patients go into which fold. One element of every argument is one patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

    Labels = npt.NDArray[np.int8]
    Folds = npt.NDArray[np.int64]
    Matrix = npt.NDArray[np.floating[Any]]

SITE_SLACK = 0.1
"""How far the `imbalance` of folds of whole sites may be from the best, so that seeds can differ."""

DRAWS = 200
"""Orders of the sites among which the best holdout of whole sites is searched; they also let seeds differ."""

_NODES = 200  # of branch and bound: a limit in nodes, unlike one in seconds, gives the same folds everywhere

Scheme = Literal["random", "site"]
"""How patients are assigned to folds: at random, or whole sites to one fold."""


def folds(
    labels: Labels,
    strata: Sequence[str],
    sites: Sequence[str],
    n_folds: int,
    seed: int,
    scheme: Scheme = "random",
    in_scope: Bool | None = None,
) -> Folds:
    """Assign each patient to one of `n_folds` folds: int64[patient] of 0 to n_folds - 1.

    `random`: dealt out by label and stratum (histology), so that the folds' sizes, their positives, and their patients
    of each label and stratum differ by at most one. `site`: whole sites stay together (Howard et al., Nat Commun
    2021;12:4423) and the folds are as similar as possible in positives, patients and patients of each stratum (see
    `imbalance`), up to SITE_SLACK, within which `seed` chooses. With dozens of sites the search for the best ends
    early, close to it and at the same point on every machine. `in_scope`: bool[patient], whose numbers and positives in
    the folds are balanced as well; all if None.

    The names of strata and sites carry no meaning. Raises ConfigError if a fold would lack a positive or a
    negative.
    """
    labels = np.asarray(labels, np.int8)
    for value, name in ((1, "positive"), (0, "negative")):
        found = int((labels == value).sum())
        if found < n_folds:
            raise ConfigError(
                f"{found} {name} patients cannot be spread over {n_folds} folds",
                f"use at most {found} folds" if found > 1 else f"at least two {name} patients are needed",
            )
    rng = np.random.default_rng(seed)
    if scheme not in ("random", "site"):
        raise ValueError(f"no scheme {scheme!r}")
    scope = np.ones(len(labels), bool) if in_scope is None else in_scope
    if scheme == "site":
        return _whole_sites(labels, strata, sites, n_folds, rng, scope)
    fold = np.empty(len(labels), np.int64)
    fold[_by_stratum(labels, strata, rng, scope)] = np.arange(len(labels)) % n_folds
    return rng.permutation(n_folds)[fold]


def holdout(
    labels: Labels,
    strata: Sequence[str],
    sites: Sequence[str],
    fraction: float,
    seed: int,
    scheme: Scheme = "random",
    in_scope: Bool | None = None,
) -> Bool:
    """Cut off about `fraction` of the patients for validation: bool[patient], true where held out.

    At least one patient of each label is held out and one kept wherever there are two; a label's only patient is
    kept. `random`: stratified by label and stratum. `site`: whole sites are held out, those that come closest to
    `fraction` of the positives, of the patients and of those of each stratum among DRAWS drawn orders of the sites.
    `in_scope` as in `folds`.

    Raises ConfigError if no drawn set of whole sites leaves both labels on both sides.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction {fraction} is not between 0 and 1")
    labels = np.asarray(labels, np.int8)
    rng = np.random.default_rng(seed)
    scope = np.ones(len(labels), bool) if in_scope is None else in_scope
    if scheme == "site":
        return _hold_out_sites(labels, strata, sites, fraction, rng, scope)
    order = _by_stratum(labels, strata, rng, scope)
    held = np.zeros(len(labels), bool)
    for value in (0, 1):
        members = order[labels[order] == value]
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        if count > 0:  # systematic sampling: every stratum gives its share
            held[members[((np.arange(count) + rng.random()) * len(members) / count).astype(int)]] = True
    return held


def imbalance(fold: Folds, labels: Labels, strata: Sequence[str], n_folds: int) -> float:
    """How much the folds differ: mean over folds of |count - mean| / mean, summed over what must be balanced.

    That is: the positives, the patients, and the patients of each stratum that has at least `n_folds` of them.
    """
    everyone = np.ones(len(labels), bool)
    counts = np.eye(n_folds)[fold].T @ _quantities(np.asarray(labels, np.int8), strata, n_folds, everyone)
    mean = counts.mean(axis=0)
    return float((np.abs(counts - mean) / mean).mean(axis=0).sum())


def _codes(names: Sequence[str]) -> Folds:
    """Number names in order of their first appearance."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], np.int64)


def _by_stratum(labels: Labels, strata: Sequence[str], rng: np.random.Generator, in_scope: Bool) -> Folds:
    """Patients' indices in random order within label, scope and stratum, one such group after the other."""
    order = rng.permutation(len(labels))
    stratum_first = np.lexsort((_codes(strata)[order], ~in_scope[order], labels[order]))
    return order[stratum_first]


def _quantities(labels: Labels, strata: Sequence[str], n_folds: int, in_scope: Bool) -> Float64:
    """What each patient adds to each count that folds must share evenly: float64[patient quantity]."""
    code = _codes(strata)
    common = [code == k for k in range(code.max(initial=-1) + 1) if (code == k).sum() >= n_folds]
    columns = [labels == 1, np.ones(len(labels), bool), *(common if len(common) > 1 else [])]
    if not in_scope.all():
        columns += [part for part in (in_scope & (labels == 1), in_scope) if part.sum() >= n_folds]
    return np.stack(columns, axis=1).astype(np.float64)


def _need_sites(sites: Sequence[str]) -> None:
    unknown = sum(1 for site in sites if not site)
    if unknown:
        raise ConfigError(
            f"{unknown} patients have no site, so folds cannot keep sites together",
            "fill in the cohort's `site` column or use --splits random",
        )


def _hold_out_sites(
    labels: Labels,
    strata: Sequence[str],
    sites: Sequence[str],
    fraction: float,
    rng: np.random.Generator,
    in_scope: Bool,
) -> Bool:
    """The best set of whole sites among the prefixes of DRAWS orders of the sites: bool[patient]."""
    _need_sites(sites)
    site = _codes(sites)
    n_sites = int(site.max(initial=-1)) + 1
    quantities = _quantities(labels, strata, round(1 / fraction), in_scope)
    amounts = np.zeros((n_sites, quantities.shape[1]))
    np.add.at(amounts, site, quantities)
    order = rng.permuted(np.tile(np.arange(n_sites), (DRAWS, 1)), axis=1)
    held = amounts[order].cumsum(axis=1)  # [draw sites quantity]: sums over the first sites of an order
    of_label = np.stack([held[..., 0], held[..., 1] - held[..., 0]], axis=-1)
    n_label = np.array([labels.sum(), len(labels) - labels.sum()])
    kept = (n_label == 0) | (of_label < n_label)
    fits = (kept & ((n_label < 2) | (of_label > 0))).all(axis=-1)
    if not fits.any():
        raise ConfigError(
            f"no set of whole sites among {n_sites} leaves both labels on both sides", "use --splits random"
        )
    share = held / np.maximum(amounts.sum(axis=0), 1)
    draw, last = np.unravel_index(np.where(fits, np.abs(share - fraction).sum(axis=-1), np.inf).argmin(), fits.shape)
    return np.isin(site, order[draw, : last + 1])


def _whole_sites(
    labels: Labels,
    strata: Sequence[str],
    sites: Sequence[str],
    n_folds: int,
    rng: np.random.Generator,
    in_scope: Bool,
) -> Folds:
    _need_sites(sites)
    site = _codes(sites)
    n_sites = int(site.max()) + 1
    member = np.eye(n_sites)[site]
    for value, name in ((1, "positive"), (0, "negative")):
        holding = int(((labels == value) @ member > 0).sum())
        if holding < n_folds:
            raise ConfigError(
                f"only {holding} of {n_sites} sites have a {name} patient, so {n_folds} folds of whole sites cannot "
                "each have one",
                f"use at most {holding} folds or --splits random" if holding > 1 else "use --splits random",
            )
    assignment = _solve(member.T @ _quantities(labels, strata, n_folds, in_scope), n_folds, rng)
    return rng.permutation(n_folds)[assignment[site]]


def _solve(amounts: Float64, n_folds: int, rng: np.random.Generator) -> Folds:
    """Assign sites to folds by mixed integer programming (HiGHS): int64[site].

    `amounts`: float64[site quantity], of which the first is the positives and the second all patients. Unknowns
    are x[site, fold] in {0, 1} and deviations d[quantity, fold] >= |count - mean| / mean, whose mean over folds is
    minimized, plus a random preference for each x that adds up to less than half of SITE_SLACK.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    n_sites, n_quantities = amounts.shape
    n_x, n_d = n_sites * n_folds, n_quantities * n_folds
    # One more unknown that is always 1 turns HiGHS's relative gap into an absolute one.
    cost = np.concatenate([rng.random(n_x) * SITE_SLACK / 2 / n_sites, np.full(n_d, 1 / n_folds), [1.0]])

    def over(x: Matrix, d: Matrix | None = None) -> Matrix:
        """Coefficients of all unknowns from those of x and d."""
        return np.hstack([x, np.zeros((len(x), n_d)) if d is None else d, np.zeros((len(x), 1))])

    once = np.kron(np.eye(n_sites), np.ones(n_folds))
    share = np.kron((amounts / (amounts.sum(axis=0) / n_folds)).T, np.eye(n_folds))
    of_each_label = np.kron(np.stack([amounts[:, 0], amounts[:, 1] - amounts[:, 0]]), np.eye(n_folds))
    lower, upper = np.repeat([0.0, 1.0], [n_x + n_d, 1]), np.repeat([1.0, np.inf, 1.0], [n_x, n_d, 1])
    lower[amounts[:, 1].argmax() * n_folds] = 1  # folds are interchangeable: fix the largest site in the first
    result = milp(
        cost,
        integrality=np.repeat([1, 0], [n_x, n_d + 1]),
        bounds=Bounds(lower, upper),
        constraints=[
            LinearConstraint(over(once), 1, 1),
            LinearConstraint(over(share, -np.eye(n_d)), -np.inf, 1),
            LinearConstraint(over(share, np.eye(n_d)), 1, np.inf),
            LinearConstraint(over(of_each_label), 1, np.inf),
        ],
        options={"node_limit": _NODES, "mip_rel_gap": SITE_SLACK / 6},
    )
    if result.x is None:
        raise ConfigError(
            f"no way was found to share {n_sites} sites among {n_folds} folds ({result.message})",
            "use fewer folds or --splits random",
        )
    chosen: Folds = result.x[:n_x].reshape(n_sites, n_folds).argmax(axis=1)
    return chosen

"""Whether the interval of a cross-validated AUROC covers: `python benchmarks/interval_coverage.py --help`.

Cohorts are simulated and go through the product's `cross_validate`; the interval is that of metrics.json, the truth the
mean true AUROC of the fold models. Cells: a linear model of 20 features × five areas × three cohorts; a forest and a
network on uninformative features; features that predict only the site, on folds of whole sites. Blocks of cohorts are
kept in a folder, so that an interrupted run resumes. Ends with exit code 1 if a promise is broken:

- the lower bound of coverage (95 %, Wilson) is at least 92 %, at an area of 0.50 at least 94 %;
- the share of cohorts without signal whose interval lies wholly above 0.5 is at most 3.5 % at its upper bound.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import norm
from simulated import Ridge, patients, separation

from kras_plugins import ClassifierPlugin, Options, Sample, SemanticProfile
from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.evaluated import ensemble_in_fold
from kras_plugins.evaluation.intervals import wilson
from kras_plugins.host.manager import discover
from kras_plugins.learning.experiment import Experiment, Member, cross_validate
from kras_plugins.store import Store

COUNTS = ((22, 341), (58, 369), (62, 868))
AREAS = (0.50, 0.60, 0.65, 0.75, 0.85)
FEATURES = 20
BLOCK = 100
FOREST_BLOCK = 10
SITES = 39
ENSEMBLE = {"rf": {"trees": 25, "features": "all", "jobs": 1}, "mlp": {"seeds": 1, "epochs": 15, "features": "all"}}
"""Smaller than the defaults (1,000 trees; ten networks of 200 epochs), so that a cohort takes seconds."""
PROMISED, PROMISED_AT_NULL, FALSE_CLAIMS = 0.92, 0.94, 0.035

Row = tuple[float, float, float, float]
"""Value, low, high, and the mean true AUROC of the fold models."""


@dataclass(frozen=True)
class Cell:
    """One kind of cohort: its name, how many are in a block, how many are asked for, and how one is simulated."""

    name: str
    area: float
    block: int
    cohorts: int
    one: Callable[[int], Row]


def measured(experiment: Experiment, truth: float, sites: Sequence[str] = ()) -> Row:
    """The ensemble's AUROC as metrics.json has it, beside the truth."""
    design = Design(experiment.fold.astype(np.int_), sites, int(experiment.fold.max()) + 1)
    area = auroc(experiment.labels, ensemble_in_fold(experiment), design)
    return area.value, area.low, area.high, truth


class Noted(Ridge):
    """A ridge that keeps the weights of every fit, in order: three inner ones and the outer one of each fold."""

    weights_of_fits: list[np.ndarray] = []  # noqa: RUF012  # one process simulates one cohort at a time

    def fit(self, train, valid) -> None:  # type: ignore[no-untyped-def]
        super().fit(train, valid)
        self.weights_of_fits.append(np.array(self.weights))


def linear(n_positive: int, n_negative: int, area: float, seed: int) -> Row:
    """A linear model; the AUROC of fold model w is Φ(w·δ / (|w| √2)), δ the distance of the classes."""
    samples, labels = patients(n_positive, n_negative, area, seed, FEATURES)
    plugin = ClassifierPlugin(
        name="linear", summary="for the benchmark", consumes=SemanticProfile,
        create=lambda _options, _seed: Noted(range(FEATURES)), load=lambda _folder: Noted(range(FEATURES)),
    )  # fmt: skip
    Noted.weights_of_fits.clear()
    experiment = validated(
        samples, labels, [Member(name="linear", plugin=plugin, options=Options(), identity="")], seed
    )
    shift = np.full(FEATURES, separation(area) / np.sqrt(FEATURES))
    outer = [w[:-1] for w in Noted.weights_of_fits[3::4]]
    truth = [float(norm.cdf(w @ shift / np.linalg.norm(w) / np.sqrt(2))) for w in outer]
    return measured(experiment, float(np.mean(truth)))


def ensemble(n_positive: int, n_negative: int, seed: int) -> Row:
    """Forest and network on uninformative features, where every model's true AUROC is 0.5."""
    samples, labels = patients(n_positive, n_negative, 0.5, seed, FEATURES)
    return measured(validated(samples, labels, bundled(), seed), 0.5)


def by_site(n: int, seed: int) -> Row:
    """Features that predict only the site, sites that differ in prevalence, folds of whole sites.

    What a model learns about some sites says nothing about others, so its true AUROC on other sites is 0.5.
    """
    rng = np.random.default_rng(seed)
    site = rng.choice(SITES, n, p=rng.dirichlet(np.full(SITES, 0.7)))
    labels = (rng.random(n) < rng.beta(1.5, 10, SITES)[site]).astype(np.int8)
    values = rng.normal(size=(SITES, FEATURES))[site] + 0.3 * rng.normal(size=(n, FEATURES))
    samples, _ = patients(int(labels.sum()), n - int(labels.sum()), 0.5, seed, FEATURES)
    made = [
        replace(sample, profile=replace(sample.profile, values=row))
        for sample, row in zip(samples, values, strict=True)
        if sample.profile is not None
    ]
    sites = [f"site {s}" for s in site]
    return measured(validated(made, labels, bundled(["rf"]), seed, sites), 0.5, sites)


def bundled(names: Sequence[str] = tuple(ENSEMBLE)) -> list[Member]:
    """Members of the product with the options of ENSEMBLE."""
    registry = discover()
    members = []
    for name in names:
        plugin = registry.find("classifier", name).record
        options = plugin.options.model_validate(ENSEMBLE[name])
        members.append(Member(name=name, plugin=plugin, options=options, identity=name))
    return members


def validated(
    samples: Sequence[Sample], labels: np.ndarray, members: Sequence[Member], seed: int, sites: Sequence[str] = ()
) -> Experiment:
    """The product's cross-validation: five folds, three inner ones."""
    with tempfile.TemporaryDirectory() as folder:
        return cross_validate(
            samples, labels, [""] * len(labels), sites or [""] * len(labels), members,
            store=Store(Path(folder) / "store"), sample_keys=[s.patient_id for s in samples],
            scheme="site" if sites else "random", seed=seed, keep_models=False,
        )  # fmt: skip


def block(cell: Cell, number: int, file: Path) -> None:
    """Simulate one block of a cell's cohorts into a file; each cohort has a seed of its own."""
    rows = [cell.one(number * cell.block + i) for i in range(cell.block)]
    part = file.with_suffix(".part.npy")
    np.save(part, np.array(rows))
    part.rename(file)


def cells(null: int, signal: int, forests: int, sites: int) -> list[Cell]:
    """All kinds of cohorts with how many of each are asked for."""
    found = [
        Cell(f"linear, {p}/{n}, {area:.2f}", area, BLOCK, null if area == 0.5 else signal, partial(linear, p, n, area))
        for area in AREAS
        for p, n in COUNTS
    ]
    found.append(Cell("forest and network, 58/369, 0.50", 0.5, FOREST_BLOCK, forests, partial(ensemble, 58, 369)))
    found.append(Cell("sites alone, 430 patients, 0.50", 0.5, FOREST_BLOCK, sites, partial(by_site, 430)))
    return found


def judged(cell: Cell, rows: np.ndarray) -> bool:
    """Print a cell's coverage and claims with their bounds; whether its promises are kept."""
    rows = rows[~np.isnan(rows[:, 0])]
    value, low, high, truth = rows.T
    share, least, most = wilson(float(((low <= truth) & (truth <= high)).sum()), len(rows))
    above, _, worst = wilson(float((low > 0.5).sum()), len(rows))
    at_null = cell.area == 0.5
    kept = least >= (PROMISED_AT_NULL if at_null else PROMISED) and (not at_null or worst <= FALSE_CLAIMS)
    print(
        f"{cell.name:<34} {len(rows):5d} cohorts  truth {truth.mean():.3f}  value {value.mean():.3f}  "
        f"covers {share:6.1%} ({least:.1%} to {most:.1%})  above 0.5 {above:6.1%} (to {worst:.1%})"
        f"{'' if kept else '  BROKEN'}",
        flush=True,
    )
    return kept


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate what is missing, print every cell; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/coverage"), help="folder of finished blocks")
    parser.add_argument("--null", type=int, default=2000, help="cohorts of each linear cell without signal")
    parser.add_argument("--signal", type=int, default=500, help="cohorts of each other linear cell")
    parser.add_argument("--forests", type=int, default=400, help="cohorts of forest and network")
    parser.add_argument("--sites", type=int, default=400, help="cohorts of features that predict only the site")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", default="", help="cells whose name begins with this")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    asked = [c for c in cells(given.null, given.signal, given.forests, given.sites) if c.name.startswith(given.only)]
    files = {
        cell.name: [given.out / f"{cell.name.replace('/', '-')} {i}.npy" for i in range(-(-cell.cohorts // cell.block))]
        for cell in asked
    }
    began, done = time.monotonic(), 0
    with ProcessPoolExecutor(given.jobs) as pool:
        running = [
            pool.submit(block, cell, i, file)
            for cell in asked
            for i, file in enumerate(files[cell.name])
            if not file.is_file()
        ]
        for one in running:
            one.result()
            done += 1
            print(f"\r{done} of {len(running)} blocks, {(time.monotonic() - began) / 60:.0f} min", end="", flush=True)
    print()
    kept = [judged(cell, np.concatenate([np.load(file) for file in files[cell.name]])) for cell in asked]
    print(f"{'all promises kept' if all(kept) else 'A PROMISE IS BROKEN'}")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main())

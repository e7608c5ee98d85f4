"""Whether the statistics keep their promises on simulated cohorts: `python benchmarks/evidence.py --help`.

Coverage of the intervals, size of the paired test, what the frozen rules achieve on new patients, and how fast DeLong
and the bootstrap are. Times are CPU seconds on one core. Ends with exit code 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from simulated import FEATURES, calibrated, correlated_scores, patients, separation, study

from kras_plugins.evaluation.auroc import auroc, compare
from kras_plugins.evaluation.design import Design, one_cohort
from kras_plugins.evaluation.intervals import RESAMPLES, resamples
from kras_plugins.evaluation.metrics import model_metrics
from kras_plugins.evaluation.scores import Scores
from kras_plugins.evaluation.thresholds import RULES

COHORTS = ((62, 868), (22, 341))
AREAS = (0.5, 0.75)


class Promises:
    """What was promised, what was measured, and whether all promises were kept."""

    def __init__(self) -> None:
        self.kept = True

    def tell(self, what: str, value: float, low: float | None = None, high: float | None = None) -> None:
        """Print one measured share; with bounds it is a promise."""
        if low is None or high is None:
            print(f"  {what:<58} {value:6.1%}", flush=True)
            return
        held = low <= value <= high
        self.kept &= held
        print(f"  {what:<58} {value:6.1%}  promised {low:.0%} to {high:.0%}{'' if held else '  BROKEN'}", flush=True)


def delong(promises: Promises, count: int, seed: int) -> None:
    """Coverage of the AUROC's interval, and how often the paired test rejects two equal scores."""
    print(f"\nDeLong on fixed scores, {count} cohorts each")
    for n_positive, n_negative in COHORTS:
        labels = np.arange(n_positive + n_negative) < n_positive
        for area in AREAS:
            covered = rejected = 0
            for i in range(count):
                a, b = (
                    auroc(labels, s) for s in correlated_scores(labels, area, (seed, n_positive, int(100 * area), i))
                )
                covered += a.low <= area <= a.high
                rejected += compare(labels, a, b).p < 0.05
            name = f"{n_positive}/{n_negative}, AUROC {area}"
            promises.tell(f"{name}: interval covers", covered / count, 0.93, 0.97)
            promises.tell(f"{name}: paired test rejects equal scores", rejected / count, 0.03, 0.07)


def bootstrap(promises: Promises, count: int, seed: int) -> None:
    """Coverage of every other interval on calibrated scores of AUROC 0.75, measured against the population's values."""
    print(f"\nOther intervals, calibrated scores of AUROC 0.75, {count} cohorts each, {RESAMPLES} bootstrap samples")
    d, area = separation(0.75), 0.75
    for n_positive, n_negative in COHORTS:
        n = n_positive + n_negative
        prevalence = n_positive / n
        rng = np.random.default_rng((seed, n_positive))
        # The population's values, from half a million patients.
        y = rng.random(500_000) < prevalence
        logit = calibrated(rng.normal(size=len(y)) + d * y, area, prevalence)
        cut = float(np.quantile(logit[y], 0.1))
        truth = _measured(y, logit, cut, 2, prevalence=0.13)[0]
        covered: dict[str, list[bool]] = {name: [] for name in truth}
        for _ in range(count):
            y = rng.random(n) < prevalence
            logit = calibrated(rng.normal(size=n) + d * y, area, prevalence)
            _, intervals = _measured(y, logit, cut, RESAMPLES, prevalence=0.13)
            for name, (low, high) in intervals.items():
                covered[name].append(low <= truth[name] <= high)
        for name, hits in covered.items():
            promises.tell(f"{n_positive}/{n_negative}: {name} interval covers", float(np.mean(hits)))


def _measured(
    y: np.ndarray, logit: np.ndarray, cut: float, samples: int, prevalence: float
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    scores = Scores(logit=logit[None], thresholds={"rule": np.full((1, len(y)), cut)})
    entry, _ = model_metrics(y, scores, one_cohort(len(y)), resamples(len(y), 0, samples), (prevalence,))
    point, block = entry["operating_points"]["rule"], entry["calibration"]
    elsewhere = point["at_prevalence"][0]
    estimates = {
        "AUPRC (bootstrap)": entry["auprc"],
        "PPV (bootstrap)": point["ppv"],
        "NPV (bootstrap)": point["npv"],
        "sensitivity (Wilson)": point["sensitivity"],
        "specificity (Wilson)": point["specificity"],
        f"PPV at prevalence {prevalence} (MOVER-R)": elsewhere["ppv"],
        f"NPV at prevalence {prevalence} (MOVER-R)": elsewhere["npv"],
        "Brier score (bootstrap)": block["brier"],
        "calibration slope (sandwich)": block["slope"],
        "calibration intercept (sandwich)": block["intercept"],
        "calibration in the large (sandwich)": block["in_the_large"],
        "ECE (basic bootstrap, 0 by chance)": block["ece"],
    }
    values = {name: e["value"] for name, e in estimates.items()}
    return values, {name: (e["low"], e["high"]) for name, e in estimates.items()}


def frozen_rule(promises: Promises, count: int, seed: int) -> None:
    """Nested cross-validation and bundle as `kras run` makes them: the interval, and the rules on new patients."""
    print(
        f"\nNested cross-validation, two small models on {FEATURES} features, {count} cohorts each, 8000 fresh patients"
    )
    for (n_positive, n_negative), area in ((COHORTS[0], 0.75), (COHORTS[0], 0.65), (COHORTS[1], 0.75)):
        fresh, labels = patients(4000, 4000, area, seed=10**6)
        done = [study(n_positive, n_negative, area, fresh, labels, seed + i) for i in range(count)]
        name = f"{n_positive}/{n_negative}, best AUROC {area}"
        spread = np.std([o.sensitivity for o in done])
        promises.tell(f"{name}: cross-validated interval covers", float(np.mean([o.covered for o in done])))
        promises.tell(
            f"{name}: 0.90 sensitivity rule realizes", float(np.mean([o.sensitivity for o in done])), 0.87, 0.93
        )
        promises.tell(f"{name}: … standard deviation over cohorts", float(spread))
        promises.tell(f"{name}: 0.90 specificity rule realizes", float(np.mean([o.specificity for o in done])))


def timings(promises: Promises) -> None:
    """CPU seconds of DeLong on 100,000 scores and of a bootstrap of every metric, 930 patients, 5 repeats."""
    print("\nTimes, seconds of CPU")
    rng = np.random.default_rng(0)
    y = np.arange(100_000) < 10_000
    a, b = rng.normal(size=(2, len(y))) + y
    start = time.process_time()
    compare(y, auroc(y, a), auroc(y, b))
    _limit(promises, "two areas of 100,000 scores and their paired test", time.process_time() - start, 1)
    y = np.arange(930) < 62
    logit = rng.normal(size=(5, 930)) + y - 2.5
    fold = np.stack([rng.permutation(930) % 5 for _ in range(5)])
    scores = Scores(logit=logit, thresholds={rule: np.full(logit.shape, -2.0) for rule in RULES})
    start = time.process_time()
    model_metrics(y, scores, Design(fold, (), 5), resamples(930, 0), (0.05, 0.13))
    _limit(promises, f"{RESAMPLES} bootstrap samples of every metric, 930 patients", time.process_time() - start, 30)


def _limit(promises: Promises, what: str, seconds: float, limit: float) -> None:
    promises.kept &= seconds < limit
    print(f"  {what:<58} {seconds:6.2f}  promised below {limit} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=1000, help="simulated cohorts of fixed scores")
    parser.add_argument("--studies", type=int, default=200, help="simulated cohorts with cross-validation")
    parser.add_argument("--bootstraps", type=int, default=300, help="simulated cohorts with a bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    promises, start = Promises(), time.process_time()
    delong(promises, given.cohorts, given.seed)
    bootstrap(promises, given.bootstraps, given.seed)
    frozen_rule(promises, given.studies, given.seed)
    timings(promises)
    print(f"\n{'all promises kept' if promises.kept else 'A PROMISE IS BROKEN'}")
    print(f"{time.process_time() - start:.0f} s of CPU")
    return 0 if promises.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""How long a cohort takes on many workers, simulated: a static stride, largest first, and work stealing.

    python benchmarks/dealing.py --slides 2000 --workers 64

Slides differ as those of TCGA do. Only the size of a slide's file is known beforehand, and its cost is log-normal
around that. Workers are alike, except stragglers, which are always slow; a preempted worker loses its current slide and
is back after a while. The ideal is all work spread evenly over the workers' capacity. No slide is processed; nothing is
measured, only counted.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kras_plugins.engines.deal import Deal

TYPICAL_SECONDS = 40.0
"""Of a slide with 85 mm² of tissue on eight cores, at 41 tiles of `vit` and 44 of `cells` a second and core."""
SPREAD_OF_SIZES, SPREAD_OF_COSTS = 0.9, 0.35
"""σ of logarithms: of the tumor areas of 944 TCGA slides (0.97 LUAD, 0.83 LUSC); of seconds around a file's size."""


NOBODY = -1
LOOKS = 10.0
"""Seconds after which an idle worker looks again."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`cost`: seconds of each slide on a usual worker; `hint`: what is known before; `speed`: of each worker.

    `lost`: the chance that a worker is lost while it has a slide; it is back after `away` seconds.
    """

    cost: np.ndarray
    hint: np.ndarray
    speed: np.ndarray
    lost: float
    away: float
    rng: np.random.Generator

    @property
    def ideal(self) -> float:
        """Seconds if work could be divided freely and nothing were lost, but no less than the longest slide takes."""
        return max(float(self.cost.sum() / self.speed.sum()), float(self.cost.max() / self.speed.max()))

    def works(self, worker: int, slide: int, now: float) -> tuple[float, bool]:
        """When a worker that begins a slide now is free again, and whether the slide is done."""
        takes = self.cost[slide] / self.speed[worker]
        if self.rng.random() < self.lost:
            return now + takes * self.rng.random() + self.away, False
        return now + takes, True


def dealt(trial: Trial, costs: np.ndarray, copies: bool = False) -> float:
    """As engine `dask` assigns slides (`Deal`); a lost slide is queued again at once, its worker is back later."""
    now = 0.0
    deal = Deal(costs.tolist(), 1_000, clock=lambda: now)
    ends = [(0.0, worker, -1, True) for worker in range(len(trial.speed))]
    token = 0
    while True:
        now, worker, ended, good = heapq.heappop(ends)
        if ended in deal.running and good:
            deal.ended(ended)
        elif ended in deal.running:
            deal.lost(ended)
        if deal.over:
            return now
        if worker == NOBODY:
            continue
        slide = deal.take(copies=copies)
        if slide is None:
            heapq.heappush(ends, (now + LOOKS, worker, -1, True))
            continue
        token += 1
        deal.began(token, slide, str(worker))
        end, good = trial.works(worker, slide, now)
        if good:
            heapq.heappush(ends, (end, worker, token, True))
        else:
            heapq.heappush(ends, (end - trial.away, NOBODY, token, False))
            heapq.heappush(ends, (end, worker, -1, True))


def largest_first(trial: Trial) -> float:
    """One queue, the largest file first."""
    return dealt(trial, trial.hint)


def with_copies(trial: Trial) -> float:
    """The same, and copies of late slides, as engine `dask` does."""
    return dealt(trial, trial.hint, copies=True)


def in_order(trial: Trial) -> float:
    """One queue in the order of the cohort."""
    return dealt(trial, np.zeros(len(trial.cost)))


def stride(trial: Trial) -> float:
    """`--shard I/N`: every N-th slide; a worker that is done waits for the others."""
    n, ends = len(trial.speed), []
    for worker in range(n):
        now = 0.0
        for slide in range(worker, len(trial.cost), n):
            good = False
            while not good:
                now, good = trial.works(worker, slide, now)
        ends.append(now)
    return max(ends)


def stealing(trial: Trial) -> float:
    """A stride to begin with; an idle worker takes the last slide of the worker with most waiting."""
    n = len(trial.speed)
    waiting = [list(range(worker, len(trial.cost), n))[::-1] for worker in range(n)]
    free, done = [(0.0, w) for w in range(n)], 0.0
    heapq.heapify(free)
    while free:
        now, worker = heapq.heappop(free)
        if not waiting[worker]:
            most = max(range(n), key=lambda w: sum(trial.hint[s] for s in waiting[w]))
            if not waiting[most]:
                continue
            waiting[worker].append(waiting[most].pop(0))
        slide = waiting[worker].pop()
        end, good = trial.works(worker, slide, now)
        if good:
            done = max(done, end)
        else:
            waiting[worker].append(slide)
        heapq.heappush(free, (end, worker))
    return done


WAYS: dict[str, Callable[[Trial], float]] = {
    "stride (--shard)": stride,
    "one queue, cohort's order": in_order,
    "one queue, largest first": largest_first,
    "the same, copies of late ones": with_copies,
    "stride, then stealing": stealing,
}


def made(slides: int, workers: int, seed: int, *, stragglers: float, slowness: float, lost: float) -> Trial:
    """One cohort and one set of workers."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.normal(0, SPREAD_OF_SIZES, slides))
    speed = np.where(rng.random(workers) < stragglers, 1 / slowness, 1.0)
    cost = TYPICAL_SECONDS * size * np.exp(rng.normal(0, SPREAD_OF_COSTS, slides))
    return Trial(cost=cost, hint=size, speed=speed, lost=lost, away=300.0, rng=rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--trials", type=int, default=20)
    told = parser.parse_args()
    scenes = {
        "all alike": {"stragglers": 0.0, "slowness": 1.0, "lost": 0.0},
        "5 % at a third": {"stragglers": 0.05, "slowness": 3.0, "lost": 0.0},
        "2 % of slides lost": {"stragglers": 0.0, "slowness": 1.0, "lost": 0.02},
        "both": {"stragglers": 0.05, "slowness": 3.0, "lost": 0.02},
    }
    print(f"{told.slides} slides, {told.workers} workers, {told.trials} trials: makespan over the ideal, mean (worst)")
    print(f"| dealt | {' | '.join(scenes)} |\n|---|{'---|' * len(scenes)}")
    for name, way in WAYS.items():
        cells = []
        for scene in scenes.values():
            trials = [made(told.slides, told.workers, seed, **scene) for seed in range(told.trials)]
            over = [way(trial) / trial.ideal - 1 for trial in trials]
            cells.append(f"{np.mean(over):.1%} ({np.max(over):.1%})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

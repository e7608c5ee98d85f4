"""Which task is started next: the largest that waits, those of a lost worker, and at the end copies of late tasks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

LATE_SECONDS, LATE_TIMES = 30.0, 2.0
"""A task is late after this many seconds and this many times its expected duration, by its cost and finished tasks."""


@dataclass(frozen=True)
class Begun:
    """A running task: its number, its worker, and since when in seconds of the clock."""

    number: int
    worker: str
    since: float


class Deal:
    """The tasks of one `Engine.map`. `costs`: relative; `lost`: how often a task is restarted after a loss.

    Each attempt at a task has a token of the caller's. A copy is a second attempt at a late task; whichever ends first
    counts, and the other is dropped.
    """

    def __init__(self, costs: Sequence[float], lost: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._costs, self._lost, self._clock = costs, lost, clock
        self._waiting = sorted(range(len(costs)), key=lambda i: (costs[i], -i))  # taken from the end
        self._losses: Counter[int] = Counter()
        self._rates: list[float] = []
        self.running: dict[Any, Begun] = {}

    @property
    def over(self) -> bool:
        """Whether all tasks have ended."""
        return not self._waiting and not self.running

    @property
    def waits(self) -> bool:
        """Whether any task waits for a worker."""
        return bool(self._waiting)

    def take(self, *, copies: bool = False) -> int | None:
        """The task to start now; with `copies` also a late one, if none waits; None if none is due."""
        if self._waiting:
            return self._waiting.pop()
        if not copies or not self._rates:
            return None
        tries = Counter(one.number for one in self.running.values())
        now, usual = self._clock(), median(self._rates)
        late = [
            (one.since, one.number)
            for one in self.running.values()
            if tries[one.number] == 1
            and self._costs[one.number] > 0
            and now - one.since > max(LATE_SECONDS, LATE_TIMES * usual * self._costs[one.number])
        ]
        return min(late)[1] if late else None

    def began(self, token: Hashable, number: int, worker: str) -> None:
        """A worker has a task now."""
        self.running[token] = Begun(number, worker, self._clock())

    def ended(self, token: Hashable) -> tuple[int, list[Any]]:
        """A task ended, with or without an error: its number, and the tokens of its other attempts, to be dropped."""
        begun = self.running.pop(token)
        others = [other for other, one in self.running.items() if one.number == begun.number]
        for other in others:
            del self.running[other]
        if self._costs[begun.number] > 0:
            self._rates.append((self._clock() - begun.since) / self._costs[begun.number])
        return begun.number, others

    def lost(self, token: Hashable) -> tuple[int, int] | None:
        """A worker was lost with a task, which waits again; (number, losses) if it has been started often enough."""
        number = self.running.pop(token).number
        if any(one.number == number for one in self.running.values()):
            return None
        self._losses[number] += 1
        if self._losses[number] > self._lost:
            return number, self._losses[number]
        self._waiting.append(number)
        return None

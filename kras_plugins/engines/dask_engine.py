"""The engine on a Dask scheduler: tasks are dealt by this process, one to a free place of a worker at a time.

Dask carries them and sees who is lost. Which worker has which task is decided here, so that a worker's death is counted
against the tasks that it worked on and no others, and only workers that were looked at get any.
"""

from __future__ import annotations

import logging
import queue
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from distributed import CancelledError, Client, Future
from distributed.scheduler import KilledWorker

from kras_plugins.engines.clusters import connected
from kras_plugins.engines.deal import Deal
from kras_plugins.engines.engine import Item, Outcomes
from kras_plugins.engines.options import DaskOptions
from kras_plugins.engines.worker import (
    MOST_AT_ONCE,
    Joining,
    Open,
    Tell,
    error_from,
    forget_gone,
    perform,
    standing,
)
from kras_plugins.errors import BackendError, SlideError, described
from kras_plugins.host.notes import note

_log = logging.getLogger("kras.dask")
_LOOK_SECONDS = 1.0
_FETCH_SECONDS = 60.0
Say = Callable[[str], None]


class Dask:
    """A connection to a scheduler for as long as a study takes. `say` and `warn` are told what a user should know."""

    def __init__(self, client: Client, lost: int, needs: Mapping[str, float], say: Say, warn: Say) -> None:
        self._client, self._lost, self._needs = client, lost, needs
        self._say, self._warn = say, warn
        self._pools: list[Pool] = []
        self._number = count(1)
        client.subscribe_topic("all", self._heard)
        try:
            client.run_on_scheduler(forget_gone)
        except Exception as e:  # noqa: BLE001 - one that has no kras keeps what killed runs left
            _log.info("nothing cleared on the scheduler: %s", described(e))

    @contextmanager
    def pool(
        self,
        opened: Open,
        order: Mapping[str, Any],
        identity: Mapping[str, Any],
        *,
        at_once: int = MOST_AT_ONCE,
        needing: bool = False,
        tell: Tell = lambda *_: None,
    ) -> Iterator[Pool]:
        """Workers with a bench each, opened as `order` says, and an Engine that deals tasks to them.

        `needing`: only workers that declare the resources of option `needs`. `tell`: told of tiles meanwhile.
        """
        name = f"kras:{self._client.id}:{next(self._number)}"
        pool = Pool(self._client, name, self._lost, tell, self._say, self._warn)
        self._pools.append(pool)
        joining = Joining(name, opened, order, identity, at_once=at_once, needs=self._needs if needing else {})
        try:
            self._client.subscribe_topic(name, pool.heard)
            pool.join(joining)
            yield pool
        finally:
            self._pools.remove(pool)
            if self._client.status == "running":
                with suppress(OSError, ValueError):  # it is lost just now, or never had the plug-in
                    self._client.unsubscribe_topic(name)
                    self._client.unregister_worker_plugin(name)

    def _heard(self, event: tuple[float, Any]) -> None:
        message = event[1]
        if isinstance(message, Mapping) and message.get("action") == "remove-worker":
            for pool in self._pools:
                pool.inbox.put(("gone", message["worker"]))


@contextmanager
def dask_engine(options: DaskOptions, say: Say, warn: Say) -> Iterator[Dask]:
    """Connect; raises ConfigError and BackendError as `clusters.connected` does."""
    with connected(options) as client:
        served = "dashboard" in client.scheduler_info()["services"]
        say(f"Dask scheduler {client.scheduler.address}" + (f", dashboard {client.dashboard_link}" if served else ""))
        try:
            yield Dask(client, options.lost, options.needs, say, warn)
        finally:
            if client.status == "running":
                client.unsubscribe_topic("all")


class Pool:
    """The workers that joined one run: an Engine whose benches are theirs."""

    def __init__(self, client: Client, name: str, lost: int, tell: Tell, say: Say, warn: Say) -> None:
        self.inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._client, self._name, self._lost = client, name, lost
        self._tell, self._say, self._warn = tell, say, warn
        self._slots: dict[str, int] = {}
        self._refused: dict[str, str] = {}
        self._address = client.scheduler.address
        self._waited = False

    def join(self, joining: Joining) -> None:
        """Have all workers open their benches, and note which may have tasks."""
        try:
            self._client.register_plugin(joining, name=self._name)
        except Exception as e:  # noqa: BLE001 - of one worker, such as one without kras; who it was is asked below
            failed = described(e)
        else:
            failed = ""
        found = self._client.run(standing, self._name, on_error="return")
        for worker, told in found.items():
            facts = told if isinstance(told, Mapping) else {"refused": failed or described(told)}
            self._joined({"worker": worker, **facts})

    def heard(self, event: tuple[float, Any]) -> None:
        """An event of this run, from a worker: it joined, or tiles are done."""
        message = event[1]
        self.inbox.put(("tiles" if "tiles" in message else "joined", message))

    def map(self, perform_: Callable[[Any, Item], Any], items: Sequence[Item], costs: Sequence[float] = ()) -> Outcomes:
        """See `Engine.map`."""
        deal = Deal(costs or [0.0] * len(items), self._lost)
        try:
            while not deal.over:
                self._check_scheduler()
                self._begin(deal, perform_, items)
                lost: list[Future] = []
                kind, what = self._next(deal)
                if kind == "done" and what in deal.running:
                    outcome = self._outcome(what)
                    if outcome is None:
                        lost = [what]
                    else:
                        number, others = deal.ended(what)
                        self._forget(others)
                        yield number, outcome
                elif kind == "gone":
                    self._slots.pop(what, None)
                    self._refused.pop(what, None)
                    lost = [future for future, one in deal.running.items() if one.worker == what]
                    self._forget(lost)
                for future in lost:
                    worker = deal.running[future].worker
                    if given_up := deal.lost(future):
                        number, times = given_up
                        yield (
                            number,
                            SlideError(
                                f"{times} workers were lost while they worked on it, the last {worker}",
                                "it may need more memory than a worker has: see the worker's log, then run again",
                            ),
                        )
        finally:
            self._forget(list(deal.running))

    def _forget(self, futures: Sequence[Future]) -> None:
        """Have nothing more of these: the scheduler drops what nobody has begun."""
        if futures and self._client.status == "running":
            with suppress(OSError):  # it is lost just now, which is seen next
                self._client.cancel(futures)

    def _begin(self, deal: Deal, perform_: Callable[[Any, Item], Any], items: Sequence[Item]) -> None:
        """Give all free places a task, as long as there are both; copies of late tasks to idle workers alone."""
        while True:
            busy = Counter(one.worker for one in deal.running.values())
            left = {worker: slots - busy[worker] for worker, slots in self._slots.items()}
            worker = max(left, key=lambda one: (left[one] > 0, -busy[one], left[one]), default="")
            if not worker or left[worker] < 1:
                return
            number = deal.take(copies=not busy[worker])
            if number is None:
                return
            future = self._client.submit(
                perform, self._name, perform_, items[number],
                workers=[worker], allow_other_workers=False, pure=False, retries=0,
            )  # fmt: skip
            deal.began(future, number, worker)
            future.add_done_callback(lambda one: self.inbox.put(("done", one)))

    def _next(self, deal: Deal) -> tuple[str, Any]:
        """The next thing that happened, if only that time passed. Raises BackendError where no worker can be used."""
        try:
            kind, what = self.inbox.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            if not deal.running and not self._slots:
                self._refuse_if_none_can()
                if not self._waited:
                    self._say("waiting for a Dask worker")
                self._waited = True
            return "time", None
        if kind == "tiles":
            self._tell(*what["tiles"])
        elif kind == "joined":
            self._joined(what)
        return kind, what

    def _check_scheduler(self) -> None:
        if self._client.status != "running":
            raise BackendError(
                f"the Dask scheduler {self._address} is gone",
                "start it again, then run the same command: it goes on where it stopped",
            )

    def _joined(self, told: Mapping[str, Any]) -> None:
        worker = str(told["worker"])
        if "slots" in told:
            self._slots[worker] = int(told["slots"])
        elif worker not in self._refused:
            self._refused[worker] = str(told.get("refused", "it did not answer"))
            self._warn(f"Dask worker {worker} is left out: {self._refused[worker]}")

    def _refuse_if_none_can(self) -> None:
        present = set(self._client.scheduler_info()["workers"])
        if present and present <= self._refused.keys():
            worker = min(present)
            raise BackendError(f"no Dask worker can be used; {worker}: {self._refused[worker]}", "mend one of them")

    def _outcome(self, future: Future) -> Any:
        """What a task gave, or the KrasError that it raised; None where its worker was lost."""
        try:
            told = future.result(timeout=_FETCH_SECONDS)
        except (CancelledError, KilledWorker, TimeoutError):
            self._check_scheduler()
            return None
        for text in told["notes"]:
            note(text)
        return error_from(told["error"]) if "error" in told else told["value"]

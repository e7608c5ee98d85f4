"""The engine on a Dask scheduler: this process assigns tasks, one at a time to each free slot of a worker.

Dask transports them and detects lost workers. Which worker has which task is decided here, so that a worker's death is
counted only against the tasks that it worked on, and only workers that were checked get tasks.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from distributed import CancelledError, Client, Future
from distributed.scheduler import KilledWorker

from kras_plugins.engines.clusters import connected, refusal
from kras_plugins.engines.deal import Deal
from kras_plugins.engines.engine import Item, Outcomes
from kras_plugins.engines.options import DaskOptions
from kras_plugins.engines.worker import (
    MOST_AT_ONCE,
    Joining,
    Open,
    Tell,
    error_from,
    forget_events,
    forget_gone,
    perform,
    standing,
)
from kras_plugins.errors import BackendError, SlideError, described
from kras_plugins.host.notes import note

_log = logging.getLogger("kras.dask")
_LOOK_SECONDS = 1.0
_FETCH_SECONDS = 60.0
_SAY_SECONDS = 60.0
"""Interval of the message that no worker is available."""
Say = Callable[[str], None]


class Dask:
    """A connection to a scheduler for the duration of a study. `say` and `warn` get what a user should know."""

    def __init__(self, client: Client, lost: int, needs: Mapping[str, float], say: Say, warn: Say) -> None:
        self._client, self._lost, self._needs = client, lost, needs
        self._say, self._warn = say, warn
        self._pools: list[Pool] = []
        self._number = count(1)
        client.subscribe_topic("all", self._heard)
        self._clear(forget_gone)

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
        """Workers with a bench each, opened as `order` specifies, and an Engine that assigns tasks to them.

        `needing`: only workers that declare the resources of option `needs`. `tell`: called with the tiles that are
        done.
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
                with suppress(OSError, ValueError):  # it was just lost, or never had the plug-in
                    self._client.unsubscribe_topic(name)
                    self._client.unregister_worker_plugin(name)
                self._clear(forget_events, name)

    def _clear(self, what: Callable[..., Any], *of: str) -> None:
        try:
            self._client.run_on_scheduler(what, *of)
        except Exception as e:  # noqa: BLE001 - a scheduler without kras keeps what runs left
            _log.info("nothing cleared on the scheduler: %s", described(e))

    def _heard(self, event: tuple[float, Any]) -> None:
        message = event[1]
        if isinstance(message, Mapping) and message.get("action") == "remove-worker":
            for pool in self._pools:
                pool.inbox.put(("gone", message["worker"]))


@contextmanager
def dask_engine(options: DaskOptions, say: Say, warn: Say) -> Iterator[Dask]:
    """Connect; raises ConfigError and BackendError as `clusters.connected` does."""
    with connected(options) as client:
        served = "dashboard" in client.scheduler_info().get("services", ())
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
        self._address, self._comm = client.scheduler.address, client.scheduler_comm
        self._idle_since = self._said = 0.0
        self._looked = time.monotonic()

    def join(self, joining: Joining) -> None:
        """Have all workers open their benches, and record which may have tasks; later workers report it themselves."""
        present = self._present()
        with _saying(self._say, f"waiting for {len(present)} Dask workers to answer"):
            try:
                self._client.register_plugin(joining, name=self._name)
            except Exception as e:  # noqa: BLE001 - of one worker, such as one without kras; who it was is asked below
                self._check_scheduler()
                failed = described(e)
            else:
                failed = ""
            self._ask(present, failed)

    def _ask(self, workers: Sequence[str], failed: str = "") -> None:
        """Ask workers whether they joined. `failed`: why some could not, if known."""
        try:
            found = self._client.run(standing, self._name, workers=workers, on_error="return") if workers else {}
        except OSError as e:
            raise self._gone() from e
        for worker, told in found.items():
            if told == {} or (not failed and not isinstance(told, Mapping)):
                continue  # it is about to join, and reports itself how that went, or about to leave
            facts = told if isinstance(told, Mapping) else {"refused": failed or described(told)}
            self._joined({"worker": worker, **facts})

    def heard(self, event: tuple[float, Any]) -> None:
        """An event of this run, from a worker: it joined, or tiles or a task are done."""
        message = event[1]
        self.inbox.put((next((kind for kind in ("done", "tiles") if kind in message), "joined"), message))

    def map(self, perform_: Callable[[Any, Item], Any], items: Sequence[Item], costs: Sequence[float] = ()) -> Outcomes:
        """See `Engine.map`."""
        deal = Deal(costs or [0.0] * len(items), self._lost)
        futures: dict[str, Future] = {}
        try:
            while not deal.over:
                self._check_scheduler()
                self._begin(deal, futures, perform_, items)
                for key, told in self._ended(deal, futures):
                    worker = deal.running[key].worker
                    if told is not None:
                        number, others = deal.ended(key)
                        del futures[key]
                        self._forget([futures.pop(other) for other in others])
                        yield number, _outcome(told)
                        continue
                    self._forget([futures.pop(key)])
                    if given_up := deal.lost(key):
                        yield given_up[0], _lost_with(given_up[1], worker)
        finally:
            self._forget(list(futures.values()))

    def _forget(self, futures: Sequence[Future]) -> None:
        """Release these: the scheduler drops tasks that no worker has begun."""
        if futures and self._client.status == "running":
            with suppress(OSError):  # it was just lost, which is noticed next
                self._client.cancel(futures)

    def _begin(
        self, deal: Deal, futures: dict[str, Future], perform_: Callable[[Any, Item], Any], items: Sequence[Item]
    ) -> None:
        """Assign tasks to free slots while there are both; copies of late tasks go only to idle workers."""
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
            futures[future.key] = future
            deal.began(future.key, number, worker)

    def _ended(self, deal: Deal, futures: Mapping[str, Future]) -> Iterator[tuple[str, str | None]]:
        """The next tasks that ended, by key, with their results; None if the worker was lost.

        A worker reports by an event that a task is done: asking for a result would take two more round trips. What no
        event reports, such as that Dask abandoned a task, is checked once in a while.
        """
        kind, what = self._next(deal)
        if kind == "done" and what["done"] in deal.running:
            yield what["done"], what["told"]
        elif kind == "gone":
            self._slots.pop(what, None)
            self._refused.pop(what, None)
            for key in [key for key, one in deal.running.items() if one.worker == what]:
                yield key, None
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            for key in [key for key in deal.running if futures[key].status != "pending"]:
                if key in deal.running:  # else it was the copy of a task that has just ended
                    yield key, self._fetched(futures[key])
            self._looked = time.monotonic()

    def _next(self, deal: Deal) -> tuple[str, Any]:
        """The next event, even if only time passed. Raises BackendError if no worker can be used."""
        try:
            kind, what = self.inbox.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            if not deal.running and not self._slots:
                self._wait_on()
            return "time", None
        if kind == "tiles":
            self._tell(*what["tiles"])
        elif kind == "joined":
            self._joined(what)
        return kind, what

    def _wait_on(self) -> None:
        """Report that no worker is available, at once and then once a minute; BackendError if none can be used.

        The event of a worker that joined may have been lost, so connected workers are asked again.
        """
        self._refuse_if_none_can()
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        if self._said >= self._idle_since and now - self._said < _SAY_SECONDS:
            return
        present, minutes = self._present(), round((now - self._idle_since) / 60)
        unheard = [worker for worker in present if worker not in self._refused]
        self._say(
            f"waiting for a Dask worker{f' for {minutes} min' if minutes else ''}: {len(present)} connected, "
            f"{len(unheard)} of them not ready yet"
        )
        self._said = now
        with _saying(self._say, f"waiting for {len(unheard)} Dask workers to answer"):
            self._ask(unheard)

    def _check_scheduler(self) -> None:
        """Raise BackendError if the scheduler is lost or has restarted: then it no longer knows these tasks."""
        if self._client.status != "running" or self._client.scheduler_comm is not self._comm:
            raise self._gone()

    def _gone(self) -> BackendError:
        return BackendError(
            f"the Dask scheduler {self._address} is gone",
            "start it again, then run the same command: it continues where it stopped",
        )

    def _joined(self, told: Mapping[str, Any]) -> None:
        worker = str(told["worker"])
        if "slots" in told:
            self._slots[worker], self._idle_since = int(told["slots"]), 0.0
            self._refused.pop(worker, None)
        elif worker not in self._refused:
            self._refused[worker] = str(told["refused"])
            self._warn(f"Dask worker {worker} is left out: {self._refused[worker]}")

    def _present(self) -> list[str]:
        """The addresses of all workers; none if the scheduler is lost, which is noticed next."""
        return list(self._client.scheduler_info().get("workers", ()))

    def _refuse_if_none_can(self) -> None:
        present = self._present()
        if present and self._refused.keys() >= set(present):
            worker = min(present)
            raise BackendError(f"no Dask worker can be used; {worker}: {self._refused[worker]}", "fix one of them")
        if not present and (why := refusal(self._client.cluster)):
            raise BackendError(f"the batch system accepted no job: {why}", "correct [engine.dask.job]")

    def _fetched(self, future: Future) -> str | None:
        """The result of a task that no event reported; None if its worker was lost. Raises what is not a KrasError."""
        try:
            told: str = future.result(timeout=_FETCH_SECONDS)
        except (CancelledError, KilledWorker, TimeoutError):
            self._check_scheduler()
            return None
        return told


@contextmanager
def _saying(say: Say, text: str) -> Iterator[None]:
    """Repeat a message once a minute until the block ends: a single stopped worker blocks it."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(_SAY_SECONDS):
            say(text)

    thread = threading.Thread(target=again, name="kras-dask-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _outcome(told: str) -> Any:
    """What a task returned, or the KrasError that it raised; its notes are repeated here."""
    facts = json.loads(told)
    for text in facts["notes"]:
        note(text)
    return error_from(facts["error"]) if "error" in facts else facts["value"]


def _lost_with(times: int, worker: str) -> SlideError:
    were = "1 worker was lost while it" if times == 1 else f"{times} workers were lost while they"
    return SlideError(
        f"{were} worked on it, the last {worker}",
        "it may need more memory than a worker has: see the worker's log, then run again",
    )

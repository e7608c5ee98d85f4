"""What a Dask worker does for a run: open its bench once when it joins, report whether it is usable, perform tasks."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeAlias

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from kras_plugins.engines.engine import Item
from kras_plugins.errors import KINDS, KrasError, described
from kras_plugins.host.notes import noted

Tell: TypeAlias = Callable[[str, str, int, int], None]
"""Called as `(slide, stage, tiles done, tiles in all)`."""
Open: TypeAlias = Callable[[Mapping[str, Any], Tell], AbstractContextManager[tuple[Any, Mapping[str, Any]]]]
"""Opens a bench as an order says, with what identifies it: both JSON values. A module-level function."""

MOST_AT_ONCE = 2
"""The most tasks a worker has at once: while one slide is opened or finished, another keeps the model busy."""

_EVERY_SECONDS = 2.0
_SHOWN = 3
_log = logging.getLogger("kras.worker")


class Joining(WorkerPlugin):  # type: ignore[misc]  # Dask has no types
    """Sent once to every worker of a scheduler, including those that join later.

    `name`: of this plug-in, unique; events of that topic go to the client. `order`: how the bench is opened.
    `identity`: what it must consist of to give the same results as the client's. `at_once`: the most tasks at once.
    """

    def __init__(
        self,
        name: str,
        opened: Open,
        order: Mapping[str, Any],
        identity: Mapping[str, Any],
        *,
        at_once: int = MOST_AT_ONCE,
        needs: Mapping[str, float] | None = None,
    ) -> None:
        self.name = name
        self.bench: Any = None
        self.standing: dict[str, Any] = {}
        self._opened, self._order, self._identity = opened, order, identity
        self._at_once, self._needs = at_once, dict(needs or {})

    async def setup(self, worker: Any) -> None:
        """Open the bench beside the worker's loop, and report whether this worker may have tasks."""
        self._worker = worker
        self._stack, self._context = ExitStack(), contextvars.copy_context()
        self._decided = asyncio.Event()
        try:
            slots = await asyncio.to_thread(self._joined)
            self.standing = {"slots": slots}
        except KrasError as e:
            self.standing = {"refused": str(e)}
        except Exception as e:  # noqa: BLE001 - whatever it is, this worker gets no tasks
            _log.exception("no bench")
            self.standing = {"refused": described(e)}
        finally:
            self._decided.set()
        worker.log_event(self.name, {"worker": worker.address, **self.standing})

    async def teardown(self, worker: Any) -> None:
        """Close the bench, once it is open; slides in progress end at their next tiles."""
        await self._decided.wait()
        self.bench = None
        await asyncio.to_thread(self._context.run, self._stack.close)

    def perform(self, key: str, function: Callable[[Any, Item], Any], item: Item) -> str:
        """What a task returned or raised, and its notes, as JSON; an event sends it to the client at once."""
        told = json.dumps(self._context.copy().run(self._performed, function, item))
        self._worker.log_event(self.name, {"done": key, "told": told})
        return told

    def _performed(self, function: Callable[[Any, Item], Any], item: Item) -> dict[str, Any]:
        with noted(lambda _: None) as notes:
            try:
                return {"value": function(self.bench, item), "notes": notes}
            except KrasError as e:
                return {"error": error_facts(e), "notes": notes}

    def _joined(self) -> int:
        """Open the bench; returns how many tasks at once. Raises KrasError if this worker cannot be used."""
        if multiprocessing.current_process().daemon:
            raise KrasError(
                "it may not start processes of its own",
                "start it with DASK_DISTRIBUTED__WORKER__DAEMON=False, or with --no-nanny",
            )
        has = self._worker.state.total_resources
        slots = min(self._at_once, int(self._worker.state.nthreads))
        for name, amount in self._needs.items():
            fitting = int(has.get(name, 0.0) / amount) if amount > 0 else slots
            if fitting < 1:
                raise KrasError(f"it declares {has.get(name, 0.0):g} {name}", f'start it with --resources "{name}=1"')
            slots = min(slots, fitting)
        opened = self._opened(self._order, self._tell())
        self.bench, mine = self._context.run(self._stack.enter_context, opened)
        if differing := differences(self._identity, mine):
            self._context.run(self._stack.close)
            raise KrasError(
                differing, "install the same versions on all machines, or move this worker to another scheduler"
            )
        return slots

    def _tell(self) -> Tell:
        last: dict[tuple[str, str], float] = {}

        def tell(slide_id: str, stage: str, done: int, total: int) -> None:
            now = time.monotonic()
            if now - last.get((slide_id, stage), 0.0) >= _EVERY_SECONDS:
                last[slide_id, stage] = now
                self._worker.log_event(self.name, {"tiles": [slide_id, stage, done, total]})

        return tell


def perform(name: str, function: Callable[[Any, Item], Any], item: Item) -> str:
    """The Dask task: one item on the bench that plug-in `name` opened on this worker."""
    worker = get_worker()
    joining: Joining = worker.plugins[name]
    return joining.perform(worker.get_current_task(), function, item)


def standing(name: str, dask_worker: Any) -> dict[str, Any] | None:
    """Whether this worker may get tasks of plug-in `name`, or why not; {} while it opens its bench, None before."""
    joining = dask_worker.plugins.get(name)
    return None if joining is None else dict(joining.standing)


async def forget_gone(dask_scheduler: Any) -> None:
    """On the scheduler: close the benches of runs whose client is gone; a killed client did not."""
    for name in [n for n in dask_scheduler.worker_plugins if n.startswith("kras:")]:
        if name.split(":")[1] not in dask_scheduler.clients:
            await dask_scheduler.unregister_worker_plugin(None, name=name)
            forget_events(name, dask_scheduler)


def forget_events(name: str, dask_scheduler: Any) -> None:
    """On the scheduler: drop the events of a run that ended. It would keep the last thousand of each."""
    dask_scheduler._broker.truncate(name)


def differences(expected: Mapping[str, Any], found: Mapping[str, Any], where: str = "") -> str:
    """What differs between two identities, such as `numpy is 2.1 there, 1.26 here`; "" if nothing does."""
    told = list(_differing(expected, found, where))
    return "; ".join(told[:_SHOWN]) + (f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else "")


def _differing(expected: Mapping[str, Any], found: Mapping[str, Any], where: str) -> Any:
    for key in sorted({*expected, *found}):
        here, there = expected.get(key), found.get(key)
        name = f"{where}{key}"
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from _differing(here, there, f"{name} ")
        elif here != there:
            yield f"{name} is {_short(there)} there, {_short(here)} here"


def _short(value: object) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def error_facts(error: KrasError) -> dict[str, str]:
    """An error as JSON values."""
    kind = next((kind.__name__ for kind in KINDS if isinstance(error, kind)), "PluginError")
    trace = "".join(traceback.format_exception(error))
    return {"kind": kind, "message": str(error.message), "hint": str(error.hint), "trace": trace}


def error_from(facts: Mapping[str, str]) -> KrasError:
    """The error, rebuilt; its traceback becomes a note."""
    error = next(kind for kind in KINDS if kind.__name__ == facts["kind"])(facts["message"], facts["hint"])
    error.add_note("on a Dask worker:\n" + facts["trace"])
    return error

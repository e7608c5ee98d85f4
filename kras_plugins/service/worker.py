"""A worker: takes cases one by one, has each scored in a separate process, and commits the outcome."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Engine

from kras_plugins.errors import StoreError
from kras_plugins.service import cases, leases, worklist
from kras_plugins.service.bundles import Bundles
from kras_plugins.service.child import Child, Died
from kras_plugins.service.leases import Beside, Claim, Outcome
from kras_plugins.service.results import discard, result_of, sweep
from kras_plugins.service.scoring import Order
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.study.pseudonyms import read_key, write_key

POLL_S = 1.0
"""How long a worker without a case waits."""
_LONGEST_PAUSE_S = 60.0
_RENEWALS = 4
"""How often a lease is renewed while it lasts: that many renewals may fail before it is lost."""
_SWEEP_S = 600.0
_log = logging.getLogger("kras.service.worker")


class Worker:
    """Scores cases until it is asked to stop. `owner` names it in the database and the audit.

    `beside`: what else happens in the transaction that ends a case. The worker has one scoring process, which is kept
    from case to case, and is ended if its case is no longer the worker's.
    """

    def __init__(self, db: Engine, settings: ServiceSettings, bundles: Bundles, beside: Beside | None = None) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._db, self._settings, self._bundles, self._beside = db, settings, bundles, beside
        self._stop, self._now = threading.Event(), threading.Event()
        self._log = settings.work / f"{self.owner}.log"
        self._child = Child(self._log)
        self._key = None if settings.names is None else read_key(settings.names)
        self._troubles, self._swept = 0, 0.0

    def run(self, until_empty: bool = False) -> None:
        """Score cases until `stop`; with `until_empty`, until none waits and none is being scored by anybody."""
        try:
            while not self._stop.is_set():
                try:
                    busy = self._step()
                    if busy and not self._troubles:
                        continue
                    if until_empty and not busy and not self._left():
                        return
                except StoreError as e:  # an outage of the database does not end the worker
                    _log.warning("%s", e)
                    self._troubles += 1
                self._stop.wait(self._pause())
        finally:
            self._child.end()
            self._log.unlink(missing_ok=True)

    def stop(self, now: bool = False) -> None:
        """Take no more cases and end after the current one; `now`: give that one back instead. From any thread."""
        self._stop.set()
        if now:
            self._now.set()

    def _step(self) -> bool:
        """Score one case; False if none was waiting."""
        self._tidy()
        held = leases.claim(self._db, self.owner, self._settings.lease_s, tuple(self._bundles.folders))
        if held is None:
            self._troubles = 0
            return False
        began = time.monotonic()
        _log.info("case %s: attempt %d begins", held.case.id, held.case.attempts)
        work = self._settings.work / f"{held.case.id}-{held.token}"
        try:
            self._score(held, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _log.info("case %s: ended after %.1f s", held.case.id, time.monotonic() - began)
        return True

    def _score(self, held: Claim, work: Path) -> None:
        ends = Ends(self._db, held, self._settings, self._beside)
        try:
            answered = self._child.ask(asdict(self._order(held, work)), self._beat(held), self._now.is_set)
        except Died as e:
            self._troubles += 1
            ends.without(f"scoring broke off: {e}", again=True)
            return
        if answered is None:  # nobody waits for it: the lease is lost, or the worker must stop at once
            if leases.release(self._db, held):
                _log.info("case %s: given back", held.case.id)
            discard(self._settings.results, held)
        elif "outcome" in answered:
            self._troubles = 0
            ends.having(Outcome(**answered["outcome"]))
        else:
            self._troubles += bool(answered["again"])
            ends.without(answered["error"], again=answered["again"])

    def _order(self, held: Claim, work: Path) -> Order:
        work.mkdir(parents=True, mode=0o700, exist_ok=True)
        names = None if self._key is None else work / "names.json"
        if names is not None and self._key is not None:
            write_key(names, self._key)  # the names in use are added to this copy, which is removed with the work
        case = held.case
        slides = cases.slides_of(self._db, case.id)
        return Order(
            bundle=str(self._bundles.folders[case.bundle_digest]),
            patient_id=cases.patient_id(self._db, case.patient),
            slides=tuple((s.name, s.place, s.fingerprint) for s in slides),
            roots=tuple(str(root) for root in self._settings.readable),
            hosts=tuple(self._settings.hosts),
            results=str(self._settings.results.absolute()),
            result=result_of(held),
            work=str(work.absolute()),
            settings=self._settings.study.model_dump(mode="json", exclude_unset=True),
            names=None if names is None else str(names.absolute()),
        )

    def _beat(self, held: Claim) -> Callable[[], bool]:
        """A function that renews the lease when due; it returns False when the lease is lost."""
        lease_s = self._settings.lease_s
        due = lasts = time.monotonic() + lease_s / _RENEWALS

        def beat() -> bool:
            nonlocal due, lasts
            if time.monotonic() < due:
                return True
            began = time.monotonic()
            try:
                kept = leases.renew(self._db, held, lease_s)
            except StoreError as e:
                _log.warning("%s", e)
                due = time.monotonic() + lease_s / _RENEWALS
                return time.monotonic() < lasts
            due, lasts = began + lease_s / _RENEWALS, began + lease_s
            return kept

        lasts = time.monotonic() + lease_s
        return beat

    def _tidy(self) -> None:
        """Free cases whose workers are lost, and now and then remove leftovers that are nobody's result."""
        leases.expire(self._db, self._settings.retries, beside=self._beside)
        if time.monotonic() >= self._swept:
            sweep(self._db, self._settings)
            self._swept = time.monotonic() + _SWEEP_S

    def _left(self) -> bool:
        found = worklist.counts(self._db)
        return found["queued"] + found["running"] > 0

    def _pause(self) -> float:
        """A pause that grows while something that all cases need, such as a model server, is unavailable."""
        return min(POLL_S * 2.0 ** min(self._troubles, 10), _LONGEST_PAUSE_S)


class Ends:
    """How a claim ends: with a committed result, or with a reason; a refused result is removed."""

    def __init__(self, db: Engine, held: Claim, settings: ServiceSettings, beside: Beside | None) -> None:
        self._db, self._held, self._settings, self._beside = db, held, settings, beside

    def having(self, outcome: Outcome) -> None:
        """End it with a result; an unavailable database is waited for as long as a lease lasts."""
        until = time.monotonic() + self._settings.lease_s
        while True:
            try:
                kept = leases.commit(self._db, self._held, outcome, self._beside)
                break
            except StoreError as e:
                if time.monotonic() > until:
                    raise
                _log.warning("%s", e)
                time.sleep(POLL_S)
        if not kept:
            self._refused()

    def without(self, reason: str, *, again: bool) -> None:
        """End it without a result."""
        discard(self._settings.results, self._held)
        retries = self._settings.retries
        if not leases.fail(self._db, self._held, reason, again=again, retries=retries, beside=self._beside):
            self._refused()

    def _refused(self) -> None:
        _log.warning("case %s: too late, its result is discarded", self._held.case.id)
        discard(self._settings.results, self._held)

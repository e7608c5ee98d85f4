"""Metrics for Prometheus: of the present queue, of past events in the audit, and of requests to this process.

Past events are counted from the audit, which all processes write. So each process reports the counts of the whole
service, and they survive a restart. No label names a patient, a case, a slide or a user.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine

from kras_plugins.errors import StoreError
from kras_plugins.service.database.engine import clock, reading
from kras_plugins.service.database.tables import STATES, audit, cases, outbox
from kras_plugins.service.leases import LOST

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
"""Upper bounds of scoring times; a whole-slide image takes minutes on a CPU."""
ENDS = ("scored", "not_assessable", "failed")
_KEPT = timedelta(days=7)
"""A claim whose end is later than this is not timed."""


class Metrics:
    """The metrics of a service as one process sees it. `text` is what Prometheus reads."""

    def __init__(self, db: Engine) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OfDatabase(db))
        self._requests = Histogram(
            "kras_http_request_seconds",
            "Time to answer a request",
            ("method", "route", "status"),
            registry=self._registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0),
        )

    def text(self) -> bytes:
        """All metrics, in Prometheus's text format."""
        return generate_latest(self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route`: its template, as in `/cases/{case_id}`."""
        self._requests.labels(method, route, str(status)).observe(seconds)


class Timed:
    """Middleware: counts each request by the template of its route, never by its address."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count the answer; a failure without an answer counts as 500."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            known = scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(scope["method"] if known else "other", str(route), status, time.monotonic() - began)


class _OfDatabase(Collector):
    """Metrics that are read from the database on request; that it is unavailable is a metric, too."""

    def __init__(self, db: Engine) -> None:
        self._db, self._lock, self._past = db, threading.Lock(), _Past()

    def describe(self) -> list[Metric]:
        """Nothing: registering must not query the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, as of now."""
        try:
            with self._lock, reading(self._db) as connection:
                self._past.read(connection)
                found = [*_present(connection), *self._past.metrics()]
        except StoreError:
            found = []
        yield GaugeMetricFamily("kras_database_up", "Whether the database answers", value=float(bool(found)))
        yield from found


def _present(connection: Connection) -> Iterator[Metric]:
    now = clock(connection)
    counted = sa.select(cases.c.state, sa.func.count().label("n"), sa.func.min(cases.c.created).label("oldest"))
    by_state = {row.state: row for row in connection.execute(counted.group_by(cases.c.state))}
    states = GaugeMetricFamily("kras_cases", "Cases in each state", labels=["state"])
    for state in STATES:
        states.add_metric([state], by_state[state].n if state in by_state else 0)
    yield states
    yield GaugeMetricFamily(
        "kras_queue_oldest_seconds",
        "Age of the oldest waiting case",
        value=_age(now, by_state["queued"].oldest if "queued" in by_state else None),
    )
    waiting = sa.select(sa.func.count().label("n"), sa.func.min(outbox.c.next_try).label("due"))
    due = connection.execute(waiting.where(outbox.c.next_try.is_not(None))).one()
    yield GaugeMetricFamily("kras_outbox_waiting", "Results not delivered yet", value=due.n)
    yield GaugeMetricFamily("kras_outbox_late_seconds", "How late the next delivery is", value=_age(now, due.due))
    lost = sa.select(sa.func.count()).where(outbox.c.next_try.is_(None), outbox.c.delivered.is_(None))
    given_up = connection.execute(lost).scalar_one()
    yield GaugeMetricFamily("kras_outbox_given_up", "Results whose delivery was given up", value=given_up)


def _age(now: datetime, moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())


class _Past:
    """Past events: counted from the audit, of which only new entries are read each time."""

    def __init__(self) -> None:
        self._last = 0
        self._actions: Counter[str] = Counter()
        self._lost = 0
        self._began: dict[str, datetime] = {}
        self._seconds: Counter[float] = Counter()
        self._sum = 0.0

    def read(self, connection: Connection) -> None:
        """Read the new entries."""
        new = sa.select(audit.c.number, audit.c.at, audit.c.action, audit.c.subject, audit.c.detail)
        rows = connection.execution_options(yield_per=1000).execute(
            new.where(audit.c.number > self._last).order_by(audit.c.number)
        )
        for row in rows:
            self._count(row)
            self._last = row.number

    def _count(self, row: Any) -> None:
        self._actions[row.action] += 1
        if row.action == "claim":
            self._began[row.subject] = row.at
            return
        if row.action in ("again", "failed") and f'"{LOST}' in row.detail:
            self._lost += 1
        if row.action in (*ENDS, "again", "release", "cancel"):
            began = self._began.pop(row.subject, None)
            if began is not None and row.action in ENDS[:2] and row.at - began < _KEPT:
                took = (row.at - began).total_seconds()
                self._seconds[next((bound for bound in SECONDS if took <= bound), float("inf"))] += 1
                self._sum += took

    def metrics(self) -> Iterator[Metric]:
        """The counts, in Prometheus's types."""
        ended = CounterMetricFamily("kras_cases_ended", "Cases that ended", labels=["state"])
        for state in ENDS:
            ended.add_metric([state], self._actions[state])
        yield ended
        for name, what, action in (
            ("kras_claims", "Cases that a worker began", "claim"),
            ("kras_tries_again", "Failed attempts that were followed by another", "again"),
            ("kras_outbox_delivered", "Results that were delivered", "delivered"),
            ("kras_outbox_undeliverable", "Results whose delivery was given up", "undeliverable"),
            ("kras_erased", "Cases that were erased", "erase"),
        ):
            yield CounterMetricFamily(name, what, value=self._actions[action])
        yield CounterMetricFamily("kras_leases_lost", "Cases whose worker was lost", value=self._lost)
        yield CounterMetricFamily("kras_audit_entries", "Entries of the audit", value=self._last)
        total, buckets = 0, []
        for bound in SECONDS:
            total += self._seconds[bound]
            buckets.append((str(bound), float(total)))
        buckets.append(("+Inf", float(total + self._seconds[float("inf")])))
        yield HistogramMetricFamily(
            "kras_scoring_seconds", "From claim to result of cases that have one", buckets=buckets, sum_value=self._sum
        )

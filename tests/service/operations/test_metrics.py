"""Figures, read as Prometheus reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from service_cases import case, scored
from sqlalchemy import Engine

from kras_plugins.service import cases, leases
from kras_plugins.service.database.engine import open_database, writing
from kras_plugins.service.database.tables import outbox
from kras_plugins.service.leaving.outbox import put
from kras_plugins.service.operations.health import Check
from kras_plugins.service.operations.metrics import Metrics, Timed
from kras_plugins.service.operations.routes import operation_routes


def figures(metrics: Metrics) -> dict[str, float]:
    """Each sample by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for s in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))
            found[f"{s.name}{{{labels}}}" if labels else s.name] = s.value
    return found


def test_the_queue_and_what_has_happened_are_counted_and_nobody_is_named(db: Engine) -> None:
    metrics = Metrics(db)
    for i in range(4):
        cases.submit(db, case(f"Zwetschgenbaum{i}"), "scanner")
    first = leases.claim(db, "w", 60.0)
    assert first is not None
    leases.commit(db, first, scored(), partial(put, url="https://good.example/"))
    second = leases.claim(db, "w", 60.0)
    assert second is not None
    leases.expire(db, 3, now=datetime.now(UTC) + timedelta(hours=1))
    found = figures(metrics)
    assert found["kras_database_up"] == 1
    assert (found["kras_cases{state=queued}"], found["kras_cases{state=scored}"]) == (3, 1)
    assert found["kras_cases{state=failed}"] == 0
    assert 0 < found["kras_queue_oldest_seconds"] < 600
    assert found["kras_cases_ended_total{state=scored}"] == 1
    assert (found["kras_claims_total"], found["kras_leases_lost_total"]) == (2, 1)
    assert found["kras_scoring_seconds_count"] == 1
    assert found["kras_scoring_seconds_bucket{le=+Inf}"] == 1
    assert found["kras_outbox_waiting"] == 1
    assert b"Zwetschgenbaum" not in metrics.text()
    assert b"scanner" not in metrics.text()

    third = leases.claim(db, "w", 60.0)
    assert third is not None
    leases.fail(db, third, "broken", again=False, retries=0)
    with writing(db) as connection:
        connection.execute(outbox.update().values(next_try=None))
    later, other = figures(metrics), figures(Metrics(db))
    assert later["kras_cases_ended_total{state=failed}"] == 1
    assert (later["kras_outbox_waiting"], later["kras_outbox_given_up"]) == (0, 1)
    ages = {"kras_queue_oldest_seconds", "kras_outbox_late_seconds"}
    assert {k: v for k, v in later.items() if k not in ages} == {k: v for k, v in other.items() if k not in ages}


def test_a_database_that_is_away_is_a_figure() -> None:
    db = open_database("postgresql://nobody@127.0.0.1:9/none?connect_timeout=2")
    assert figures(Metrics(db))["kras_database_up"] == 0
    db.dispose()


def test_requests_are_counted_by_the_template_of_their_route(db: Engine) -> None:
    metrics = Metrics(db)
    app = FastAPI()

    @app.get("/cases/{case_id}")
    def one(case_id: str) -> str:
        if case_id == "broken":
            raise RuntimeError(case_id)
        return case_id

    client = TestClient(Timed(app, metrics), raise_server_exceptions=False)
    for name in ("Zwetschgenbaum", "b", "broken"):
        client.get(f"/cases/{name}?q=Zwetschgenbaum")
    client.get("/Zwetschgenbaum")
    client.request("ZWETSCHGE", "/cases/b")
    found = figures(metrics)
    counts = {k: v for k, v in found.items() if k.startswith("kras_http_request_seconds_count")}
    assert counts == {
        "kras_http_request_seconds_count{method=GET,route=/cases/{case_id},status=200}": 2,
        "kras_http_request_seconds_count{method=GET,route=/cases/{case_id},status=500}": 1,
        "kras_http_request_seconds_count{method=GET,route=none,status=404}": 1,
        "kras_http_request_seconds_count{method=other,route=/cases/{case_id},status=405}": 1,
    }


@pytest.mark.parametrize("why", ["", "it does not answer"])
def test_ready_says_which_part_is_the_reason_and_health_asks_nobody(db: Engine, why: str) -> None:
    app = FastAPI()
    asked = (Check(name="database", why=why), Check(name="disk"))
    app.include_router(operation_routes(lambda: asked, Metrics(db)))
    client = TestClient(app)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503 if why else 200, {"database": why or "ok", "disk": "ok"})
    assert client.get("/healthz").text == "ok\n"
    told = client.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "kras_database_up 1.0" in told.text

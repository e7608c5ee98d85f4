"""Results posted to a real server that takes them, fails, hangs or sends them elsewhere."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from local_http import served
from service_cases import case, scored
from service_receiver import SECRET, Got, Receiver
from sqlalchemy import Engine

from kras_plugins.errors import ConfigError
from kras_plugins.service import audit, cases, leases
from kras_plugins.service.database.engine import reading
from kras_plugins.service.database.tables import outbox
from kras_plugins.service.leaving.outbox import (
    KEY,
    MOST_ATTEMPTS,
    SIGNATURE,
    Courier,
    Webhook,
    again,
    deliver,
    is_signed,
    pause_s,
    put,
    read_webhook,
)

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def got() -> Iterator[Got]:
    """What was sent to the receiver; requests that still wait when the test ends are released."""
    seen = Got()
    yield seen
    seen.go_on.set()


@pytest.fixture
def hook(got: Got) -> Iterator[Webhook]:
    """A webhook to a server of this test."""
    with served(Receiver, got=got) as address:
        yield Webhook(url=f"{address}/results", secret=SECRET, hosts=frozenset({"127.0.0.1"}), timeout_s=30.0)


def ended(db: Engine, hook: Webhook, patient: str = "ann", **given: Any) -> str:
    """A case that was scored and whose result was put into the outbox."""
    made = cases.submit(db, case(patient, **given), "test")
    held = leases.claim(db, "worker", 60.0)
    assert held is not None
    assert leases.commit(db, held, scored(), partial(put, url=hook.url))
    return made.id


def rows(db: Engine) -> list[Any]:
    """All messages."""
    with reading(db) as connection:
        return list(connection.execute(sa.select(outbox).order_by(outbox.c.id)).all())


def later(**given: float) -> datetime:
    """The time after this delay, by the clock of the database, which is this machine's."""
    return datetime.now(UTC) + timedelta(**given)


def test_a_result_is_posted_once_signed_and_with_a_key_and_names_nobody(db: Engine, hook: Webhook, got: Got) -> None:
    case_id = ended(db, hook)
    assert deliver(db, hook)
    assert not deliver(db, hook)
    (body,), (headers,) = got.bodies, got.headers
    value = json.loads(body)
    assert (value["case"], value["patient"], value["event"]) == (case_id, "id-ann", "case.scored")
    assert (value["score"], value["call"], value["research_use_only"]) == (0.5, "rule_in", True)
    assert b"ann-1" not in body and b"/slides" not in body
    assert headers[KEY] == value["message"]
    assert is_signed(SECRET, headers[SIGNATURE], body, datetime.now(UTC))
    (row,) = rows(db)
    assert row.delivered is not None and row.body == ""
    assert [e.action for e in audit.entries(db, case_id)][-1] == "delivered"
    assert audit.verify(db).wrong == ()


def test_a_receiver_notices_what_was_changed_is_old_or_is_signed_by_somebody_else(
    db: Engine, hook: Webhook, got: Got
) -> None:
    ended(db, hook)
    deliver(db, hook, NOW + timedelta(days=365))
    at, header, body = NOW + timedelta(days=365), got.headers[0][SIGNATURE], got.bodies[0]
    assert is_signed(SECRET, header, body, at)
    assert not is_signed(SECRET, header, body + b" ", at)
    assert not is_signed(b"t" * 32, header, body, at)
    assert not is_signed(SECRET, header, body, at + timedelta(hours=1))
    assert not is_signed(SECRET, "t=x,v1=", body, at)


def test_what_ends_in_a_transaction_that_is_rolled_back_is_not_put_out(db: Engine, hook: Webhook) -> None:
    cases.submit(db, case("ann"), "test")
    held = leases.claim(db, "worker", 60.0)
    assert held is not None

    def fails(connection: sa.Connection, row: cases.CaseRow) -> None:
        put(connection, row, hook.url)
        raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError):
        leases.commit(db, held, scored(), fails)
    assert rows(db) == []


def test_what_is_scored_in_silence_is_told_to_nobody(db: Engine, hook: Webhook) -> None:
    ended(db, hook, silent=True)
    assert rows(db) == []


@pytest.mark.parametrize("answer", [500, 404, 302])
def test_what_was_not_taken_comes_again_after_a_pause_under_the_same_key(
    db: Engine, hook: Webhook, got: Got, answer: int
) -> None:
    got.answers.append(answer)
    ended(db, hook)
    first = later(minutes=1)
    assert deliver(db, hook, first)
    (row,) = rows(db)
    assert (row.delivered, row.attempts) == (None, 1)
    assert row.next_try == first + timedelta(seconds=pause_s(1, row.id))
    assert not deliver(db, hook, row.next_try - timedelta(seconds=1))
    assert deliver(db, hook, row.next_try)
    assert got.headers[0][KEY] == got.headers[1][KEY]
    assert got.bodies[0] == got.bodies[1]
    assert rows(db)[0].delivered is not None


def test_a_redirect_is_not_followed(db: Engine, hook: Webhook, got: Got) -> None:
    other = Got()
    with served(Receiver, got=other) as elsewhere:
        got.answers.append(f"{elsewhere}/results")
        ended(db, hook)
        assert deliver(db, hook)
    assert other.bodies == []
    assert rows(db)[0].delivered is None


def test_a_receiver_that_hangs_or_is_away_holds_up_no_other_message_for_ever(db: Engine, hook: Webhook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and says nothing
        for url in (f"http://127.0.0.1:{silent.getsockname()[1]}/", "http://127.0.0.1:9/"):
            impatient = Webhook(url=url, secret=SECRET, hosts=hook.hosts, timeout_s=0.3)
            for patient in ("ann", "bob"):
                ended(db, impatient, f"{patient} {url}")
                assert deliver(db, impatient)
    assert [(row.attempts, row.delivered) for row in rows(db)] == [(1, None)] * 4


def test_after_many_attempts_it_is_given_up_and_can_be_tried_again(db: Engine, hook: Webhook, got: Got) -> None:
    got.answers += [503] * MOST_ATTEMPTS
    case_id = ended(db, hook)
    for i in range(MOST_ATTEMPTS):
        assert deliver(db, hook, later(days=i + 1))
    assert not deliver(db, hook, later(days=400))
    assert audit.entries(db, case_id)[-1].action == "undeliverable"
    assert again(db, case_id, "admin") == 1
    assert again(db, case_id, "admin") == 0
    assert deliver(db, hook)
    assert rows(db)[0].delivered is not None


def test_pauses_double_up_to_six_hours() -> None:
    pauses = [pause_s(n, "m") for n in range(1, 30)]
    assert 7.5 <= pauses[0] <= 12.5
    assert all(low * 2.0**n * 0.75 <= p <= low * 2.0**n * 1.25 for low in [10.0] for n, p in enumerate(pauses[:8]))
    assert 4.5 * 3600 <= pauses[-1] <= 7.5 * 3600
    assert len({pause_s(1, f"m{i}") for i in range(9)}) == 9


def test_two_couriers_share_the_messages(db: Engine, hook: Webhook, got: Got) -> None:
    for i in range(6):
        ended(db, hook, f"p{i}")
    couriers = [Courier(db, hook) for _ in range(2)]
    threads = [threading.Thread(target=c.run) for c in couriers]
    for t in threads:
        t.start()
    waited = threading.Event()
    while any(row.delivered is None for row in rows(db)):
        waited.wait(0.02)
    for c in couriers:
        c.stop()
    for t in threads:
        t.join()
    assert sorted(json.loads(b)["patient"] for b in got.bodies) == [f"id-p{i}" for i in range(6)]


def test_what_a_killed_process_posted_is_posted_again_under_the_same_key(db: Engine, hook: Webhook, got: Got) -> None:
    got.answers.append("hang")
    ended(db, hook)
    database = db.url.render_as_string(hide_password=False)
    words = [sys.executable, str(ROOT / "tests" / "outbox_courier.py"), database, hook.url, SECRET.decode()]
    process = subprocess.Popen(words)
    while not got.came.wait(0.5):
        assert process.poll() is None
    process.kill()
    process.wait()
    (row,) = rows(db)
    assert row.delivered is None
    assert not deliver(db, hook, row.next_try - timedelta(seconds=1))  # it is still the other one's
    assert deliver(db, hook, row.next_try)
    assert got.headers[0][KEY] == got.headers[1][KEY]
    assert rows(db)[0].delivered is not None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://evil.example/x", "not allowed"),
        ("https://sub.good.example/x", "not allowed"),
        ("http://good.example/x", "is not https"),
        ("https://ann:pw@good.example/x", "credentials"),
        ("file:///etc/passwd", "not allowed"),
    ],
)
def test_only_allowed_hosts_are_told(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Webhook(url=url, secret=SECRET, hosts=frozenset({"good.example"}))


def test_the_secret_is_a_private_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("q" * 40 + "\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read it"):
        read_webhook("https://good.example/", file, frozenset({"good.example"}))
    file.chmod(0o600)
    hook = read_webhook("https://good.example/", file, frozenset({"good.example"}))
    assert hook.secret == b"q" * 40
    assert "qqq" not in repr(hook)
    file.write_text("short")
    with pytest.raises(ConfigError, match="fewer than 32 bytes"):
        read_webhook("https://good.example/", file, frozenset({"good.example"}))

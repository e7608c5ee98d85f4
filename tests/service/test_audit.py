"""The audit: whatever is done to its entries shows."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import sqlalchemy as sa
from service_cases import case
from sqlalchemy import Engine

from kras_plugins.service import audit, cases
from kras_plugins.service.database.engine import writing


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged while `five` was made."""
    return [record.getMessage() for record in caplog.get_records("setup")]


@pytest.fixture
def five(db: Engine, caplog: pytest.LogCaptureFixture) -> Engine:
    """A database with five entries, whose heads were logged."""
    with caplog.at_level(logging.INFO, "kras.service.audit"):
        for i in range(5):
            cases.submit(db, case(f"patient {i}"), "me")
    return db


def do(db: Engine, *statements: str) -> None:
    with writing(db) as connection:
        for one in statements:
            connection.execute(sa.text(one))


def test_a_record_that_nobody_touched_is_whole(five: Engine) -> None:
    found = audit.verify(five)
    assert (found.entries, found.wrong) == (5, ())
    assert [e.number for e in audit.entries(five)] == [1, 2, 3, 4, 5]
    assert audit.entries(five)[-1].hash == found.head


def test_a_changed_entry_is_found(five: Engine) -> None:
    for number, column in enumerate(("at", "actor", "action", "subject", "detail"), 1):
        value = "2020-01-01T00:00:00+00:00" if column == "at" else "x"
        do(five, f"UPDATE audit SET {column} = '{value}' WHERE number = {number}")
        assert f"entry {number} was changed" in audit.verify(five).wrong
    assert len(audit.verify(five).wrong) == 5


def test_a_removed_entry_is_found(five: Engine) -> None:
    do(five, "DELETE FROM audit WHERE number = 3")
    assert audit.verify(five).wrong == ("entries 3 to 3 are missing",)


def test_a_removed_entry_is_found_when_those_after_it_are_numbered_again(five: Engine) -> None:
    do(five, "DELETE FROM audit WHERE number = 3", "UPDATE audit SET number = 3 WHERE number = 4")
    assert audit.verify(five).wrong[0] == "entry 3 does not follow entry 2"


def test_two_entries_that_changed_places_are_found(five: Engine) -> None:
    do(
        five,
        "UPDATE audit SET number = 9 WHERE number = 2",
        "UPDATE audit SET number = 2 WHERE number = 3",
        "UPDATE audit SET number = 3 WHERE number = 9",
    )
    assert {"entry 2 was changed", "entry 3 was changed"} <= set(audit.verify(five).wrong)


def test_entries_removed_at_the_end_are_found_by_the_log_that_was_kept(
    five: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    assert audit.verify(five, logged(caplog)).wrong == ()
    do(five, "DELETE FROM audit WHERE number > 3")
    assert audit.verify(five).wrong == ()
    assert audit.verify(five, logged(caplog)).wrong == (
        "entry 4 was logged but is missing", "entry 5 was logged but is missing",
    )  # fmt: skip


def test_a_record_that_was_made_again_is_found_by_the_log_that_was_kept(
    five: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    kept = logged(caplog)
    do(five, "DELETE FROM audit")
    for i in range(5):
        with writing(five) as connection:
            audit.append(connection, "you", "submit", f"case {i}")
    assert audit.verify(five).wrong == ()
    assert "entry 1 differs from the one that was logged" in audit.verify(five, kept).wrong


def test_what_was_not_kept_is_neither_recorded_nor_logged(db: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kras.service.audit")
    with suppress(RuntimeError), writing(db) as connection:
        audit.append(connection, "me", "submit", "x")
        raise RuntimeError
    with writing(db):
        pass
    assert caplog.messages == [] and audit.verify(db).entries == 0


def test_entries_of_many_threads_are_one_chain(db: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: cases.submit(db, case(f"patient {i}"), "me"), range(40)))
    assert audit.verify(db) == audit.Verified(entries=40, head=audit.entries(db)[-1].hash)


def test_an_entry_of_any_text_is_verified(db: Engine) -> None:
    with writing(db) as connection:
        audit.append(
            connection, 'Ü "quoted"\n', "view", "'", note="\u2028 é", share=0.1, nested={"b": [1, None], "a": 2}
        )
    assert audit.verify(db).wrong == ()


def test_entries_are_read_by_subject_and_from_a_place_on(five: Engine) -> None:
    second = audit.entries(five, after=1, limit=1)
    assert [e.number for e in second] == [2]
    assert audit.entries(five, second[0].subject) == second

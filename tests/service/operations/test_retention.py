"""Only what is no longer kept is removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from left_results import left
from made_cases import fake_case
from service_cases import case, scored, slide
from sqlalchemy import Engine

from kras_plugins.errors import ConfigError
from kras_plugins.service import audit, cases, leases
from kras_plugins.service.cases import NewSlide
from kras_plugins.service.database.engine import writing
from kras_plugins.service.database.tables import uploads
from kras_plugins.service.operations.retention import Rule, keep
from kras_plugins.service.settings import ServiceSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(data=tmp_path / "data")


def ended(db: Engine, settings: ServiceSettings, *made: str | NewSlide, patient: str = "ann") -> str:
    """A case with a result."""
    cases.submit(db, case(patient, *made), "scanner")
    held = leases.claim(db, "w", 60.0)
    assert held is not None
    where = f"{held.case.id}/{held.token}"
    left(settings.results / where, fake_case(held.case.patient))
    assert leases.commit(db, held, scored(where))
    return held.case.id


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_a_result_goes_when_it_is_old_and_its_case_is_not_scored_again(db: Engine, settings: ServiceSettings) -> None:
    old = ended(db, settings)
    waiting = cases.submit(db, case("bob"), "scanner").id
    assert keep(db, settings, Rule(results=30), later(29)) == 0
    assert keep(db, settings, Rule(results=30), later(31)) == 1
    assert keep(db, settings, Rule(results=30), later(31)) == 0
    row = cases.get(db, old)
    assert (row.state, row.result, row.score, row.call) == ("scored", None, None, None)
    assert row.reason == "removed: 30 days old"
    assert row.result_digest is not None  # so that a copy can be recognized
    assert not (settings.results / old).exists()
    assert cases.submit(db, case("ann"), "scanner").id == old
    assert cases.get(db, waiting).state == "queued"
    last = audit.entries(db, old)[-1]
    assert (last.actor, last.action, last.detail) == ("retention", "expire", {"rule": "30 days old"})
    assert audit.verify(db).wrong == ()


def test_a_superseded_result_goes_by_a_rule_of_its_own(db: Engine, settings: ServiceSettings) -> None:
    first = ended(db, settings, slide("a"))
    second = ended(db, settings, slide("b"))
    assert cases.get(db, first).superseded_by == second
    assert keep(db, settings, Rule(superseded=2), later(1)) == 0
    assert keep(db, settings, Rule(superseded=2), later(3)) == 1
    assert (cases.get(db, first).result, cases.get(db, second).result is None) == (None, False)
    assert (settings.results / second).is_dir()


def test_nothing_goes_without_a_rule(db: Engine, settings: ServiceSettings) -> None:
    ended(db, settings)
    assert keep(db, settings, Rule(uploads=None), later(9999)) == 0


def test_slides_that_were_sent_and_never_used_go(db: Engine, settings: ServiceSettings) -> None:
    for name in ("used", "forgotten"):
        (settings.uploads / name).mkdir(parents=True)
        (settings.uploads / name / "a.svs").write_text(name)
        with writing(db) as connection:
            connection.execute(
                uploads.insert().values(id=name, file="a.svs", size=1, owner="ann", created=datetime.now(UTC))
            )
    one = NewSlide(slide_id="id-a", name="a", place=str(settings.uploads / "used" / "a.svs"), fingerprint="f", bytes=1)
    cases.submit(db, case("ann", one), "ann")
    assert keep(db, settings, Rule(), later(6)) == 0
    assert keep(db, settings, Rule(), later(8)) == 1
    assert [f.name for f in settings.uploads.iterdir()] == ["used"]
    assert audit.entries(db, "forgotten")[-1].action == "expire upload"


def test_more_than_go_at_once_go_in_turn(
    db: Engine, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kras_plugins.service.operations.retention._MOST_AT_ONCE", 2)
    for i in range(5):
        ended(db, settings, patient=f"p{i}")
    assert keep(db, settings, Rule(results=0, superseded=0), later(1)) == 5


def test_a_rule_of_less_than_no_days_is_refused() -> None:
    with pytest.raises(ConfigError):
        Rule(results=-1)

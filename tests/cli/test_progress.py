"""Progress without a terminal: a few plain lines with how much is done, how fast, and how long it will take."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kras_plugins import SlideError
from kras_plugins.cli import progress as cli_progress
from kras_plugins.cli.console import stderr
from kras_plugins.cli.progress import Lines, progress


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(type(stderr()), "print", lambda _self, text, **_: lines.append(text))
    return lines


def test_slides_are_told_with_done_of_all_rate_and_time_left(told: list[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    lines.begin(10)
    for _ in range(4):
        clock.now += 60
        lines.finished("s", None)
    assert told == [
        "slides: 0 of 10",
        "slides: 1 of 10, 1.0/min, 9 min left",
        "slides: 2 of 10, 1.0/min, 8 min left",
        "slides: 3 of 10, 1.0/min, 7 min left",
        "slides: 4 of 10, 1.0/min, 6 min left",
    ]


def test_there_is_a_line_every_30_seconds_at_most_and_one_for_the_last_step(told: list[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    at = []
    for done in range(1, 201):
        clock.now += 1
        before = len(told)
        lines.step(f"learning rf, fold {done}", done, 200)
        lines.tiles("s", "embed", done, 200)
        at += [clock.now] * (len(told) - before)
    assert [b - a for a, b in pairwise(at)] == [30, 30, 30, 30, 30, 20]
    assert told[0] == "learning rf, fold 30: 30 of 200, 1.0/s, 3 min left"
    assert told[-1] == "learning rf, fold 200: 200 of 200, 1.0/s"


def test_the_first_line_about_slides_counts_as_one(told: list[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    clock.now += 29
    lines.begin(2)
    clock.now += 2
    lines.tiles("s", "embed", 8, 80)
    assert told == ["slides: 0 of 2"]
    clock.now += 30
    lines.tiles("s", "embed", 68, 80)
    assert told[1:] == ["embed s: 68 of 80 tiles, 2.0/s, less than a minute left"]


def test_each_stage_is_measured_from_its_own_beginning(told: list[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    lines.step("pages", 1, 1)
    clock.now += 3600
    lines.step("learning a", 10, 400)
    clock.now += 60
    lines.step("learning b", 40, 400)
    assert told == ["pages: 1 of 1", "learning a: 10 of 400", "learning b: 40 of 400, 30.0/min, 12 min left"]


def test_why_a_slide_is_set_aside_is_told_at_once(told: list[str]) -> None:
    lines = Lines(Clock())
    lines.begin(2)
    lines.finished("s", SlideError("s.svs: damaged", "replace it"))
    assert "set aside s:" in told[1] and "damaged" in told[1]
    assert len(told) == 2


def test_what_is_no_terminal_gets_lines() -> None:
    assert not stderr().is_terminal
    assert isinstance(progress(), Lines)
    assert cli_progress._EVERY_SECONDS == 30

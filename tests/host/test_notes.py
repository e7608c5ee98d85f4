"""Notes belong to the study that asked for the work, whatever happens to logs."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kras_plugins import note
from kras_plugins.cli.logs import told_logs
from kras_plugins.host.isolation import ask
from kras_plugins.host.notes import noted
from kras_plugins.slides.stream import ordered_map


def test_each_text_is_told_once_and_reaches_who_asked_through_threads() -> None:
    said: list[str] = []
    with noted(said.append) as notes, ThreadPoolExecutor(2) as pool:
        ask("a plug-in", note, "from a thread of its own")
        list(ordered_map(pool, note, ["from a pool", "from a pool"], ahead=2))
    assert notes == said == ["from a thread of its own", "from a pool"]
    note("to nobody")
    assert len(said) == 2


def test_two_at_once_do_not_hear_each_other() -> None:
    together = threading.Barrier(2)

    def work(name: str) -> list[str]:
        with noted(lambda _: None) as notes:
            together.wait()
            note(name)
            together.wait()
        return notes

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, "ab")) == [["a"], ["b"]]


def test_notes_do_not_depend_on_logging_and_logs_are_no_notes(caplog: pytest.LogCaptureFixture) -> None:
    logging.disable(logging.CRITICAL)
    try:
        with noted(lambda _: None) as notes:
            note("columns are ignored")
            logging.getLogger("kras.backend.triton").warning("a server was away")
    finally:
        logging.disable(logging.NOTSET)
    assert notes == ["columns are ignored"]


def test_a_command_tells_what_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    with told_logs():
        for _ in range(2):
            logging.getLogger("kras.backend.triton").warning("a server was away")
        logging.getLogger("kras.learning").info("not worth a word")
    said = capsys.readouterr().err
    assert said.count("a server was away") == 1 and "not worth" not in said

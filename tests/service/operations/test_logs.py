"""Lines of a log: JSON that names no patient, no slide and no place."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from kras_plugins.errors import StoreError
from kras_plugins.service.operations.logs import json_logs

CANARY = "Zwetschgenbaum"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged during a test."""
    written = io.StringIO()
    with json_logs(written):
        yield written


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_message_of_the_service_is_a_json_line_with_its_fields(stream: io.StringIO) -> None:
    log = logging.getLogger("kras.service.worker")
    log.info("case %s: ended after %.1f s", "ab12", 3.14159, extra={"case": "ab12", "seconds": 3.1, "patient": CANARY})
    log.debug("not written")
    (line,) = lines(stream)
    assert line["message"] == "case ab12: ended after 3.1 s"
    assert (line["level"], line["logger"], line["case"], line["seconds"]) == ("info", log.name, "ab12", 3.1)
    assert "patient" not in line
    assert line["at"].endswith("+00:00")


@pytest.mark.parametrize(
    "text",
    [
        f"cannot read /archive/{CANARY}/a.svs",
        f"cannot read '/archive/folder of {CANARY}/a.svs': gone",
        f"cannot read /archive/folder of {CANARY}/a.svs: gone",
        f"cannot read C:\\scans\\{CANARY}.svs",
        f"cannot read ~/{CANARY}.svs",
        f"cannot read https://pacs.example/{CANARY}?token=x",
        f"cannot read file:///{CANARY}",
    ],
)
def test_a_path_or_an_address_in_a_message_is_left_out(stream: io.StringIO, text: str) -> None:
    logging.getLogger("kras.service").warning("%s", text)
    assert CANARY not in stream.getvalue()
    assert lines(stream)[0]["message"].startswith("cannot read")


def test_of_what_others_log_only_the_words_of_the_program_stay(stream: io.StringIO) -> None:
    logging.getLogger("kras.remote").warning("%s was away for %.1f s", f"https://pacs/{CANARY}", 3.0)
    logging.getLogger("urllib3").warning("retrying %(url)s", {"url": CANARY})
    logging.getLogger("anybody").warning(f"reading {CANARY}")
    logging.getLogger("anybody").info("not written: %s", CANARY)
    logging.getLogger("uvicorn.access").warning("GET /?q=%s", CANARY)
    assert [line["message"] for line in lines(stream)] == ["… was away for … s", "retrying …", "…"]
    assert CANARY not in stream.getvalue()


def test_a_failure_says_where_in_the_code_and_quotes_nothing(stream: io.StringIO) -> None:
    def reads() -> None:
        raise OSError(2, "no such file", f"/archive/{CANARY}.svs")

    try:
        try:
            reads()
        except OSError as e:
            raise StoreError(f"{CANARY} is gone") from e
    except StoreError:
        logging.getLogger("kras.service.worker").exception("case %s failed", "ab12")
    (line,) = lines(stream)
    assert line["failed"][0] == "StoreError"
    assert "FileNotFoundError" in line["failed"]
    assert any(step.endswith(" reads") for step in line["failed"])
    assert CANARY not in stream.getvalue()


def test_what_was_set_up_is_taken_down(stream: io.StringIO) -> None:
    before = len(logging.getLogger("kras").handlers)
    with json_logs(io.StringIO()):
        pass
    assert len(logging.getLogger("kras").handlers) == before
    assert not logging.getLogger("uvicorn.error").disabled

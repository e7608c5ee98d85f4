"""What an error says, whatever brought it about."""

from __future__ import annotations

import pytest

from kras_plugins.errors import KrasError


@pytest.mark.parametrize("odd", ["\x1b[31m", "\x00", "\x86", "\u202e", "\udc80", "\u2028"])
def test_what_a_damaged_file_brings_into_a_message_commands_no_terminal(odd: str) -> None:
    error = KrasError(f"a.csv: row 3: {odd}", f"mend {odd}")
    assert str(error).isprintable()
    assert "\ufffd" in error.message and "\ufffd" in error.hint


def test_names_of_any_language_stay_as_they_are() -> None:
    error = KrasError("größe\u00a0µm².csv: 病理  2", "écris")
    assert (error.message, error.hint) == ("größe\u00a0µm².csv: 病理  2", "écris")


def test_what_a_library_says_on_several_lines_stands_on_one() -> None:
    error = KrasError("own.onnx: not usable: FAIL:\r\n\traw_data size\n", "export it\nagain")
    assert (error.message, error.hint) == ("own.onnx: not usable: FAIL: raw_data size", "export it again")

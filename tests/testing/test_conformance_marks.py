"""A plug-in's test file as its author writes and runs it: one line, and marks for what is known to fail."""

from __future__ import annotations

import subprocess
import sys

import pytest
from broken_plugins import BROKEN, CONFORMING

import kras_extractor_h5
from kras_plugins import testing
from kras_plugins.testing import conformance

TEST = """
import {name}
from kras_plugins.testing import conformance

test_contract = conformance({name}, {arguments})
"""


def odd() -> str:
    return next(b.source for b in BROKEN if b.check == "features_described")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of four plug-ins' test files, in one process of its own."""
    folder = tmp_path_factory.mktemp("authors")
    good = (CONFORMING / "plain.py").read_text()
    short, long = "'features_described': 'an old promise'", "'extractor:plain/features_described': 'an old promise'"
    for name, source, arguments in (
        ("good", good, ""),
        ("odd", odd(), ""),
        ("known", odd(), f"known_failures={{{short}}}"),
        ("other", odd(), f"known_failures={{{long}}}"),
        ("mended", good, "known_failures={'order_kept': 'an old fault'}"),
    ):
        (folder / f"{name}.py").write_text(source)
        (folder / f"test_{name}.py").write_text(TEST.format(name=name, arguments=arguments))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-k", "not cheap_import", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def lines(told: str, *words: str) -> list[str]:
    return [line for line in told.splitlines() if all(word in line for word in words)]


def test_one_line_is_the_whole_test_file(told: str) -> None:
    assert lines(told, "PASSED test_good.py::test_contract[extractor:plain-order_kept]")
    assert len(lines(told, "PASSED test_good.py")) >= 14
    assert not lines(told, "FAILED test_good.py")


def test_a_failure_says_what_was_expected_what_came_and_who_asks_for_it(told: str) -> None:
    assert len(lines(told, "FAILED test_odd.py")) == 1
    start = told.index("features_described of extractor:plain: Features are float32, ")
    expected, came, asked = told[start:].splitlines()[1:4]
    assert expected == "  expected: float32[tile 3]"
    assert came == "  came:     float64[7, 3]"
    assert asked.startswith('  asked in: kras_plugins/contracts/extractor.py: "uint8')


@pytest.mark.parametrize("file", ["known", "other"])
def test_a_known_failure_is_expected_and_tells_its_reason(told: str, file: str) -> None:
    assert lines(told, f"XFAIL test_{file}.py", "features_described", "an old promise")
    assert not lines(told, f"FAILED test_{file}.py")


def test_a_mark_on_what_passes_fails_until_it_is_removed(told: str) -> None:
    assert len(lines(told, "FAILED test_mended.py")) == 1
    assert lines(told, "order_kept of extractor:plain passes now: remove the mark (an old fault)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"known_failures": {"ordre_kept": "why"}}, "'ordre_kept': there is no such check"),
        ({"known_failures": {"reference_pixels": "why"}}, "'reference_pixels': .* has no such check"),
        ({"known_failures": {"absent_told": " "}}, "give the reason"),
        ({"options": {"extractor:h6": {}}}, "extractor:h6: not in kras_extractor_h5"),
        ({"samples": {"h5": []}}, "h5: not in kras_extractor_h5"),
    ],
)
def test_what_would_never_be_looked_at_is_refused(arguments: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conformance(kras_extractor_h5, **arguments)


def test_the_kit_is_imported_by_who_asks_for_it() -> None:
    assert testing.conformance is conformance
    with pytest.raises(AttributeError, match="conform"):
        testing.conform  # noqa: B018

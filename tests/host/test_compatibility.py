"""A plug-in for another kras is reported as such, and not as broken; none of its code runs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from bad_plugin import installed, loose

from kras_plugins.contracts import base
from kras_plugins.host.manager import discover

GOOD = """
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="mine", summary="mean color", tile=lambda o: TileSpec(px=32, mpp=1.0), dim=lambda o: 3,
                          create=lambda options, infer: lambda tiles: tiles.mean((1, 2)).astype("float32"))
"""
NEWER = "written for plug-in API 2, this kras has 1 (pip install -U kras)"


def cause(tmp_path: Path, code: str) -> str:
    """Why a loose file is broken; empty where it is not."""
    broken = discover(files=[loose(tmp_path, "mine", code)]).broken
    return broken[0].cause if broken else ""


@pytest.mark.parametrize("line", ["", "KRAS_API = 1", "KRAS_API: int = 1  # of kras 0.1"])
def test_a_plugin_of_this_api_is_taken(line: str, tmp_path: Path) -> None:
    assert cause(tmp_path, line + GOOD) == ""


@pytest.mark.parametrize(
    "code",
    [
        f"KRAS_API = 2{GOOD}",
        f"from kras_plugins import SomethingOfLater\nKRAS_API = 2{GOOD}",
        f"KRAS_API: int = 2{GOOD.replace('summary', 'field_of_later')}",
        "import kras_plugins.module_of_later\n\nKRAS_API=2",
        "KRAS_API = 2\nraise SystemExit",
    ],
)
def test_a_plugin_of_a_later_api_is_told_so_even_where_its_import_would_fail(code: str, tmp_path: Path) -> None:
    assert cause(tmp_path, code) == NEWER


def test_an_api_that_is_served_no_more_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kras_plugins.host.compatibility.OLDEST_API", 3)
    monkeypatch.setattr("kras_plugins.host.compatibility.API_VERSION", 4)
    assert cause(tmp_path, f"KRAS_API = 3{GOOD}") == ""
    assert cause(tmp_path, f"KRAS_API = 2{GOOD}").startswith("written for plug-in API 2, this kras supports 3 to 4")


@pytest.mark.parametrize("stated", ["'1.0'", "1_0", "１", "²", "9" * 5000])
def test_an_api_that_is_no_whole_number_is_told(stated: str, tmp_path: Path) -> None:
    assert cause(tmp_path, f"KRAS_API = {stated}{GOOD}").startswith(f"KRAS_API is {stated}, not a whole number")


def test_a_name_that_is_not_there_is_told_with_the_api_of_this_kras(tmp_path: Path) -> None:
    told = cause(tmp_path, f"from kras_plugins import SomethingOfLater{GOOD}")
    assert "cannot import name 'SomethingOfLater' from 'kras_plugins'" in told
    assert f"plug-in API {base.API_VERSION}" in told


def test_a_distribution_is_refused_by_its_own_requirement_on_kras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = metadata.version("kras")
    installed(tmp_path, "kras-later", "raise RuntimeError('imported')", "kras>=9", "numpy")
    installed(tmp_path, "kras-now", GOOD, f"kras>={here}", 'kras>=9; extra == "dev"', 'kras>=9; python_version < "3"')
    installed(tmp_path, "kras-api", f"KRAS_API = 2{GOOD}")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = discover()
    told = {b.distribution: b.cause for b in registry.broken}
    assert told == {
        "kras-later": f"it requires kras>=9, installed is kras {here} (pip install -U kras kras-later)",
        "kras-api": NEWER,
    }
    assert registry.find("extractor", "mine").distribution == "kras-now"

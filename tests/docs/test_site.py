"""The site builds without a warning, has a page for everything that is installed, and a broken link fails it."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import typer

import kras_plugins.testing
from kras_plugins import study
from kras_plugins.cli.app import app
from kras_plugins.hookspecs import KINDS
from kras_plugins.host.manager import Provided, discover
from kras_plugins.study.settings import StudySettings

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = [p for p in discover().provided if p.distribution == "kras"]


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does, from any folder of pages."""
    words = ("-b", "html", "-W", "--keep-going", "-q", "-c", ROOT / "docs", "-d", out / "cache", source, out / "html")
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, words)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT / "docs", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "html"


def words_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("plugin", BUNDLED, ids=lambda p: f"{p.kind}:{p.record.name}")
def test_each_bundled_plugin_has_a_page_with_every_option(site: Path, plugin: Provided) -> None:
    said = words_of(site / "plugins" / f"{plugin.kind}-{plugin.record.name}.html")
    assert [key for key in plugin.record.options.model_fields if key not in said.split("Options", 1)[1]] == []
    assert plugin.record.summary.split(",")[0] in words_of(site / "plugins" / f"{plugin.kind}.html")


def test_each_kind_has_a_page_that_shows_its_hook(site: Path) -> None:
    assert [k for k in KINDS if f"kras_{k}s" not in words_of(site / "plugins" / f"{k}.html")] == []


def test_each_command_has_its_place_with_every_option(site: Path) -> None:
    page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    sections = {m[1]: m[2] for m in re.finditer(r'<section id="(kras-[\w-]+)">(.*?)(?=<section|\Z)', page, re.S)}

    def missing(command: typer.core.TyperCommand, name: str) -> list[str]:
        if isinstance(command, typer.core.TyperGroup):
            return [word for key, sub in command.commands.items() for word in missing(sub, f"{name}-{key}")]
        options = {option for p in command.params for option in p.opts if option.startswith("--")}
        section = unescape(re.sub(r"<[^>]+>", "", sections.get(name, "")))
        return [f"{name} {option}" for option in options if option not in section]

    assert missing(typer.main.get_command(app), "kras") == []


def test_each_setting_of_the_run_table_is_told(site: Path) -> None:
    said = words_of(site / "reference" / "settings.html")
    assert [name for name in StudySettings.model_fields.keys() - {"options"} if name not in said] == []


def test_each_name_that_authors_import_is_in_the_api_reference_once(site: Path) -> None:
    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    names = [*(f"kras_plugins.{n}" for n in kras_plugins.__all__)]
    names += [f"kras_plugins.testing.{n}" for n in kras_plugins.testing.__all__]
    names += [f"kras_plugins.hookspecs.kras_{kind}s" for kind in KINDS]
    ids = re.findall(r'id="(kras_plugins[\w.]*)"', page)
    # A constant or alias stands under the module that says what it is.
    told = {n: [i for i in ids if i == n or i.endswith("." + n.rpartition(".")[2])] for n in names}
    assert {n: found for n, found in told.items() if len(found) != 1} == {}


def test_each_name_that_users_import_is_in_the_reference_of_studies_once(site: Path) -> None:
    page = (site / "reference" / "study.html").read_text(encoding="utf-8")
    ids = re.findall(r'id="(kras_plugins[\w.]*)"', page)
    names = [f"kras_plugins.study.{name}" for name in study.__all__]
    assert {name for name in names if ids.count(name) != 1} == set()


def test_the_notebook_is_a_page_that_loads_nothing_from_elsewhere(site: Path) -> None:
    page = (site / "tutorial" / "notebook.html").read_text(encoding="utf-8")
    assert "histology_only" in page and page.count("<img") >= 2, "its outputs are shown"
    assert re.findall(r'(?:src|rel="stylesheet" [^>]*href)="(https?:[^"]*)"', page) == []


NOWHERE = {
    "See [that](nowhere.md).": "nowhere.md",
    "See [that](#no-such-heading-here).": "no-such-heading-here",
    "See [that](other.md#no-such-heading-there).": "no-such-heading-there",
    "See [that](../no/such/file.py).": "no/such/file.py",
    "See {py:class}`kras_plugins.NoSuchThing`.": "kras_plugins.NoSuchThing",
    "![that](absent.svg)": "absent.svg",
    "```no-such-language\nx\n```": "no-such-language",
}


def test_what_leads_nowhere_fails_the_build_and_is_named(tmp_path: Path) -> None:
    source = tmp_path / "pages"
    source.mkdir()
    (source / "index.md").write_text("# A page\n\n" + "\n\n".join(NOWHERE) + "\n\n```{toctree}\nother\n```\n")
    (source / "other.md").write_text("# Another\n")
    (source / "lost.md").write_text("# In no table of contents\n")
    done = build(source, tmp_path)
    assert done.returncode != 0
    assert [said for said in (*NOWHERE.values(), "lost.md") if said not in done.stderr] == []


def test_a_mark_that_nobody_makes_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text("# A page\n\n<!-- made: nothing known -->\n")
    done = build(tmp_path, tmp_path / "out")
    assert done.returncode != 0
    assert "nothing" in done.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_pages_outside_of_the_site_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []

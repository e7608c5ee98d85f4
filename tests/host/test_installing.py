"""`kras plugin install`: plug-ins come into the environment that runs `kras`, by what made it, and kras stays."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from clean_environment import ROOT, Clean, built, holding
from services import need

from kras_plugins.errors import PluginError
from kras_plugins.host import installing

EXAMPLE = ROOT / "examples" / "kras-reader-tile-folder"
PLUGIN = {"kind": "reader", "name": "tile_folder", "distribution": "kras-reader-tile-folder"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheels of kras and of an example."""
    kras, example = built(tmp_path_factory.mktemp("wheels"), [EXAMPLE])
    return kras, example


@pytest.fixture
def clean(wheels: tuple[Path, Path], tmp_path: Path) -> Clean:
    """A new environment with kras."""
    return holding(tmp_path / "venv", wheels[:1])


def brought(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    assert done.returncode == 0, done.stderr
    return [{k: v for k, v in plugin.items() if k != "version"} for plugin in json.loads(done.stdout)["plugins"]]


def test_pip_installs_beside_kras_and_says_what_came(clean: Clean, wheels: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("plugin", "install", "--json", wheels[1])
    done = clean.kras(*words, cwd=tmp_path, PIP_NO_INDEX="1")
    assert brought(done) == [PLUGIN]
    assert f"running {clean.folder}/bin/python -P -m pip install" in done.stderr
    again = clean.kras(*words, cwd=tmp_path, PIP_NO_INDEX="1")
    assert brought(again) == []
    assert "no new plug-in" in again.stderr
    absent = clean.kras("plugin", "install", "kras-no-such-thing", cwd=tmp_path, PIP_NO_INDEX="1")
    assert absent.returncode == 1
    assert "error: kras-no-such-thing: not installed" in absent.stderr


def test_a_plugin_that_wants_another_kras_does_not_bring_it(clean: Clean, tmp_path: Path) -> None:
    project = tmp_path / "later"
    shutil.copytree(EXAMPLE, project)
    facts = project / "pyproject.toml"
    facts.write_text(re.sub('"kras>=[^"]*"', '"kras>=9"', facts.read_text()))
    done = clean.kras("plugin", "install", project, cwd=tmp_path, PIP_NO_INDEX="1", PIP_NO_BUILD_ISOLATION="0")
    assert done.returncode == 1
    assert "kras>=9" in done.stderr
    assert clean.kras("plugin", "list", cwd=tmp_path).returncode == 0


def test_uv_installs_where_there_is_no_pip(clean: Clean, wheels: tuple[Path, Path], tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    need(uv.is_file(), "uv", "pip install uv")
    (own,) = clean.folder.glob("lib/python*/site-packages")
    (own / "other-libraries.pth").unlink()
    for folder in dict.fromkeys(map(Path, (sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]))):
        for entry in folder.iterdir():  # uv sees what lies in an environment's own folder alone
            if not entry.name.startswith(("pip", "kras", "__editable__", "_kras")) and not (own / entry.name).exists():
                if entry.suffix == ".dist-info":  # it follows no link to what says that a package is there
                    shutil.copytree(entry, own / entry.name)
                else:
                    (own / entry.name).symlink_to(entry)
    assert "No module named pip" in clean.run("-m", "pip", cwd=tmp_path).stderr
    words = ("plugin", "install", "--json", wheels[1])
    none = clean.kras(*words, cwd=tmp_path, PATH="/usr/bin:/bin")
    assert none.returncode == 1
    assert "no pip, and there is no uv" in none.stderr and "-m ensurepip" in none.stderr
    path = {"PATH": f"{uv.parent}:/usr/bin:/bin", "UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    done = clean.kras(*words, cwd=tmp_path, **path)
    assert brought(done) == [PLUGIN]
    assert "uv pip install --python" in done.stderr
    (clean.folder / "uv-receipt.toml").write_text("")
    assert "uv tool install kras --with" in clean.kras(*words, cwd=tmp_path, **path).stderr


def test_pipx_is_asked_to_inject_into_the_environment_that_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "pipx home" / "venvs" / "kras-here"
    prefix.mkdir(parents=True)
    (prefix / "pipx_metadata.json").write_text("{}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginError, match="an environment of pipx, which is not found") as e:
        installing.way_into(prefix, tmp_path / "a b.txt")
    assert "PATH" in e.value.hint
    pipx = tmp_path / "pipx"
    pipx.write_text("#!/bin/sh\n")
    pipx.chmod(0o755)
    way = installing.way_into(prefix, tmp_path / "a b.txt")
    assert way.command == (
        str(pipx), "inject", "--force", f"--pip-args=--constraint '{tmp_path / 'a b.txt'}'", "kras-here",
    )  # fmt: skip
    assert dict(way.variables) == {"PIPX_HOME": str(tmp_path / "pipx home")}
    lying = installing.way_into(prefix, tmp_path / "c.txt", editable=True)
    assert lying.command[2:4] == ("--force", "--editable") and lying.each == ()


def test_packages_of_the_operating_system_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "EXTERNALLY-MANAGED").write_text("")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(PluginError, match="the operating system manages") as e:
        installing.way_into(Path(sys.prefix), tmp_path / "c.txt")
    assert "pipx" in e.value.hint

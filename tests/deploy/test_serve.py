"""The files for running `kras serve`: their own tools read them, and `kras` knows every option."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deployed import check, commands
from services import need

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE, UNIT = FOLDER / "compose.yaml", FOLDER / "kras-serve.service"
SCHEMA = "vendor.compose-spec"


def found_wrong(file: Path) -> str:
    """What check-jsonschema finds against the schema of the Compose specification, which it carries."""
    tool = Path(sys.executable).with_name("check-jsonschema")
    need(tool.is_file(), "check-jsonschema", "pip install check-jsonschema")
    done = subprocess.run([tool, "--builtin-schema", SCHEMA, file], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("file", [COMPOSE, UNIT], ids=lambda f: f.name)
def test_it_says_that_we_did_not_run_it(file: Path) -> None:
    assert file.read_text().startswith("# Not run by us. ")


def test_compose_is_as_its_specification_says_and_the_tool_would_find_what_is_not(tmp_path: Path) -> None:
    assert found_wrong(COMPOSE) == ""
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("    ports:", "    prots:"))
    assert "prots" in found_wrong(wrong)


def test_all_that_compose_names_is_there_and_only_loopback_reaches_it() -> None:
    value = yaml.safe_load(COMPOSE.read_text())
    for service in value["services"].values():
        assert set(service["secrets"]) <= set(value["secrets"])
        assert set(service["networks"]) <= set(value["networks"])
        named = [v.partition(":")[0] for v in service["volumes"] if not v.startswith(("./", "/"))]
        assert set(named) <= set(value["volumes"])
    (published,) = [port for service in value["services"].values() for port in service.get("ports", [])]
    assert published.startswith("127.0.0.1:")


def test_kras_knows_every_option_of_both() -> None:
    check([str(word) for word in yaml.safe_load(COMPOSE.read_text())["services"]["kras"]["command"]])
    (started,) = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart=")]
    (words,) = commands(started.partition("bin/")[2])
    check(words)


def test_systemd_accepts_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    need(shutil.which("systemd-analyze") is not None, "systemd-analyze", "apt-get install systemd")
    unit = tmp_path / UNIT.name  # it looks whether the program is there
    unit.write_text(UNIT.read_text().replace("/opt/kras/bin/kras", str(Path(sys.executable).with_name("kras"))))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    own = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, own) == (0, [])
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=none-such"))
    wrong = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert "none-such" in wrong.stderr

"""`kras plugin check`: whatever a plug-in does, the command ends with what was found."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from broken_plugins import BROKEN, CONFORMING
from cohorts import kras
from typer.testing import CliRunner

from kras_plugins.cli.app import app
from kras_plugins.errors import ConfigError
from kras_plugins.testing import draw_slide
from kras_plugins.testing.checks.run import Outcome
from kras_plugins.testing.checks.supervise import Request, check_plugin
from kras_plugins.testing.checks.worker import resolve

PLAIN = (CONFORMING / "plain.py").read_text()
MEAN = "return np.float32(options.scale)"


def check(folder: Path, source: str, deadline: float = 60.0) -> dict[str, Outcome]:
    """Outcomes by check."""
    (folder / "own.py").write_text(source)
    outcomes = check_plugin(Request(target=str(folder / "own.py")), deadline)
    assert len({o.check for o in outcomes}) == len(outcomes)
    return {o.check: o for o in outcomes}


def failed(found: dict[str, Outcome]) -> set[str]:
    return {o.check for o in found.values() if o.status == "failed"}


def test_a_broken_file_ends_with_one_line_and_a_table_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(next(b.source for b in BROKEN if b.check == "features_described"))
    ran = kras("plugin", "check", "own.py", cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 1
    assert re.search(r"✓ +order_kept", ran.stdout)
    assert re.search(r"skip +exported +it has no models", ran.stdout)
    assert re.search(r"✗ +features_described", ran.stdout)
    assert "expected: float32[tile 3]" in ran.stdout
    assert "came: float64[7, 3]" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "own.py: 17 passed, 1 failed, 7 skipped"
    (error,) = [line for line in ran.stderr.splitlines() if line.startswith("error:")]
    assert error.endswith("own.py: 1 of 25 checks failed: features_described")


def test_a_known_failure_is_told_as_such_and_json_holds_all(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(next(b.source for b in BROKEN if b.check == "features_described"))
    mark = ("--known", "features_described=an old promise", "--json")
    ran = kras("plugin", "check", "own.py", *mark, cwd=tmp_path, store=tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["failed"], found["known"]) == (0, 1)
    (known,) = (c for c in found["checks"] if c["status"] == "known")
    assert (known["check"], known["reason"]) == ("features_described", "an old promise")
    assert found["passed"] + found["skipped"] + 1 == len(found["checks"])


def test_after_a_crash_and_a_hang_the_other_checks_go_on(tmp_path: Path) -> None:
    fault = "import os, time\n        os._exit(3) if len(tiles) == 1 else time.sleep(600 * (len(tiles) == 0))"
    found = check(tmp_path, PLAIN.replace(MEAN, f"{fault}\n        {MEAN}"), deadline=8)
    assert failed(found) == {"one_tile", "batch_size", "many_threads", "no_tiles"}
    assert found["one_tile"].came == "the end of the process with exit code 3"
    assert found["no_tiles"].came == "none: it was ended after 8 s"
    assert {found[name].status for name in ("order_kept", "deterministic", "finite")} == {"passed"}


def test_an_import_that_hangs_ends_at_the_deadline(tmp_path: Path) -> None:
    found = check(tmp_path, "import time; time.sleep(600)", deadline=1)
    assert found["hooks"].came == "none: it was ended after 1 s"


@pytest.mark.parametrize(
    ("source", "came"),
    [
        ("import os; os._exit(0)", "the end of the process with exit code 0"),
        (
            "import os; os.write(2, b'found none'); os._exit(3)",
            "the end of the process with exit code 3: found none",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its end by SIGSEGV"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x = 1", "no hook"),
    ],
)
def test_an_import_that_fails_in_any_way_is_told(tmp_path: Path, source: str, came: str) -> None:
    found = check(tmp_path, source)
    assert set(found) >= {"hooks"}
    assert found["hooks"].came == came
    assert found["hooks"].expected != "an answer"


def test_what_a_plugin_prints_is_a_failure_and_no_result(tmp_path: Path) -> None:
    loud = PLAIN.replace(MEAN, f"import os\n        os.write(1, b'loading the model')\n        {MEAN}")
    found = check(tmp_path, loud.replace("import numpy", "print(1)\nimport numpy"))
    assert "loading the model" in found["order_kept"].came
    assert found["cheap_import"].expected.startswith("nothing on stdout")
    assert found["options_valid"].status == "passed"


def test_an_installed_plugin_is_checked_by_its_name_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    outcomes = check_plugin(Request(target="h5"), 60)
    assert {o.subject for o in outcomes} == {"kras_extractor_h5", "extractor:h5"}
    assert not [o for o in outcomes if o.status == "failed"]
    assert [file for file in tmp_path.rglob("*") if file.parent != tmp_path] == []  # of the folder for such files


@pytest.mark.parametrize(
    ("target", "ids"),
    [("h5", {"extractor:h5"}), ("extractor:h5", {"extractor:h5"}), ("kras_extractor_h5", set())],
)
def test_a_target_is_a_name_with_or_without_its_kind_or_a_module(target: str, ids: set[str]) -> None:
    module, wanted = resolve(target)
    assert (module.__name__, wanted) == ("kras_extractor_h5", ids)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_thing", "not an installed plug-in, Python file or module"),
        ("no/such/folder", "not an installed plug-in, Python file or module"),
        ("", "not an installed plug-in, Python file or module"),
        (".relative", "not an installed plug-in, Python file or module"),
        ("slicer:h5", "unknown kind 'slicer'"),
        ("no_such_file.py", "no_such_file.py: no such plug-in file"),
        ("project", "project is a folder"),
        ("./project", "./project is a folder"),
    ],
)
def test_a_target_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "project").mkdir()
    with pytest.raises(ConfigError, match=message):
        resolve(target)


def test_a_package_in_this_folder_is_a_target_and_hides_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in may be called numpy.py: what is checked is found here, what checks need is not."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").write_text(PLAIN)
    (tmp_path / "numpy.py").write_text("raise RuntimeError('this is no numpy')")
    monkeypatch.chdir(tmp_path)
    outcomes = check_plugin(Request(target="own"), 60)
    assert {o.subject for o in outcomes} == {"own", "extractor:plain"}
    assert not [o for o in outcomes if o.status == "failed"]


def test_a_reader_of_a_format_that_the_kit_cannot_write_asks_for_a_file(tmp_path: Path) -> None:
    found = check(tmp_path, (CONFORMING / "pages.py").read_text().replace('(".tiff", ".png")', '(".abc",)'))
    assert found["opens"].status == "skipped"
    assert "--sample FILE" in found["opens"].reason


def test_samples_and_options_reach_the_plugin(tmp_path: Path) -> None:
    draw_slide(tmp_path / "a.tiff", seed=0, size_um=(256.0, 256.0))
    request = Request(
        target="tiff",
        samples=[str(tmp_path / "a.tiff")],
        options={"reader:tiff": {"cache_mb": 0}},
        asked=["reader:tiff"],
    )
    found = {o.check: o for o in check_plugin(request, 60)}
    assert "cache_mb" in found["options_valid"].came
    request = replace(request, options={"reader:tiff": {"cache_mb": 1}})
    found = {o.check: o for o in check_plugin(request, 60)}
    assert "samples=" in found["reference_pixels"].reason
    assert found["regions_agree"].status == "passed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_thing"], "not an installed plug-in, Python file or module"),
        (["h5", "--known", "order_kept"], "not of the form CHECK=REASON"),
        (["h5", "--known", "ordre_kept=why"], "there is no such check"),
        (["h5", "--known", ":x:=why"], "--known :x:: there is no such check"),  # and not an emoji of that name
        (["h5", "--sample", "absent.h5"], "--sample absent.h5: no such file"),
        (
            ["kras_extractor_h5", "-o", "extractor.vit.px=32"],
            "extractor:vit: not in kras_extractor_h5\nhint: it has extractor:h5\n",
        ),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    ran = kras("plugin", "check", *arguments, cwd=tmp_path, store=tmp_path)
    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("name", ["sitecustomize.py", "usercustomize.py", "other.py"])
def test_what_else_lies_in_a_folder_is_not_imported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    (tmp_path / name).write_text(trap)
    (tmp_path / "other-1.dist-info").mkdir()
    (tmp_path / "other-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (tmp_path / "other-1.dist-info" / "entry_points.txt").write_text("[kras]\nother = other\n")
    monkeypatch.chdir(tmp_path)
    found = check(tmp_path, PLAIN)
    assert found["cheap_import"].status == "passed"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_sample_that_is_no_file_is_refused_before_it_is_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "sample.svs")
    called = CliRunner().invoke(app, ["plugin", "check", "reader:tiff", "--sample", str(tmp_path / "sample.svs")])
    assert called.exit_code == 1
    assert "sample.svs: is a" in called.output

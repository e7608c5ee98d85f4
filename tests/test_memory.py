"""If there is not enough memory, one line says so: it is not a bug, and not a fault of a plug-in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kras_plugins import SlideError, SlideRef
from kras_plugins.errors import PluginError, plugin_boundary
from kras_plugins.processing import tasks
from kras_plugins.processing.execution import process_slides

LIMITED = """
import resource, sys
from kras_plugins.cli.app import app, main
from kras_plugins.cohort.check import check_tables
from kras_plugins.evaluation.histology import histology_auroc
import kras_plugins.cli.cohort_tables, kras_plugins.cli.progress, kras_plugins.host.parts

used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), resource.RLIM_INFINITY))
sys.argv = ["kras", "cohort", "check", "--no-slides", "large.csv"]
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of another system")
def test_a_table_that_the_memory_does_not_hold_is_one_line(tmp_path: Path) -> None:
    with (tmp_path / "large.csv").open("wb") as f:
        f.truncate(800 << 20)
    ran = subprocess.run([sys.executable, "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 1, ran.stderr
    assert "error: there is not enough memory" in ran.stderr
    assert "hint:" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_plugin_without_memory_is_not_at_fault() -> None:
    with pytest.raises(PluginError) as e, plugin_boundary("extractor 'x' of y", "on slide s"):
        raise MemoryError
    assert e.value.message == "extractor 'x' of y on slide s: there is not enough memory"
    assert "fault" not in e.value.hint
    assert "--workers" in e.value.hint


def test_a_slide_that_the_memory_does_not_hold_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    def process(ref: SlideRef, *_: object) -> SimpleNamespace:
        if ref.slide_id == "large":
            raise MemoryError
        return SimpleNamespace(ref=ref)

    monkeypatch.setattr(tasks, "process_slide", process)
    refs = [SlideRef(patient_id=name, slide_id=name) for name in ("a", "large", "b")]
    results, failures = process_slides(refs, None, None)  # type: ignore[arg-type]
    assert [r.ref.slide_id for r in results] == ["a", "b"]
    assert [f.ref.slide_id for f in failures] == ["large"]
    assert isinstance(failures[0].error, SlideError)
    assert "slide large: there is not enough memory" in failures[0].error.message

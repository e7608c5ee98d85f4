"""Where compiled code is kept, and what compiled functions take."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kras_plugins.host import compiled

HERE = Path(__file__).parent


@pytest.fixture
def fresh():
    compiled.folder.cache_clear()
    yield
    compiled.folder.cache_clear()


def test_code_lies_below_the_folder_numba_is_told(tmp_path, monkeypatch, fresh):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    found = compiled.folder(HERE)
    assert found.parent == tmp_path and found.is_dir()

    @compiled.compiled("int64(int64)")
    def double(n):
        return 2 * n

    assert double(4) == 8 and any(f.suffix == ".nbc" for f in found.rglob("*"))


def test_without_a_place_to_write_it_is_compiled_all_the_same(tmp_path, monkeypatch, fresh):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert compiled.folder(HERE) is None

    @compiled.compiled("float64(float64, float64)")
    def ratio(a, b):
        return a / b

    assert ratio(1.0, 4.0) == 0.25 and ratio(1.0, 0.0) == np.inf


@pytest.fixture
def heeded():
    """A shell that started the tests in the background made them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_until_a_function_is_compiled(tmp_path, monkeypatch, fresh, heeded):
    """Raised in a callback of LLVM it would be lost, and the function be taken for one that cannot be compiled."""
    finished = []

    def njit(*_, **__):
        signal.raise_signal(signal.SIGINT)  # while it compiles
        return lambda function: finished.append(function.__name__)

    monkeypatch.setattr(compiled, "njit", njit)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        compiled.compiled("int64(int64)")(test_arrays_of_another_type_are_refused)
    assert finished == ["test_arrays_of_another_type_are_refused"]
    with pytest.raises(KeyboardInterrupt):  # and the next one is as it was
        signal.raise_signal(signal.SIGINT)


def test_arrays_of_another_type_are_refused():
    from kras_profiler_cells.runs import opened_runs

    with pytest.raises(TypeError, match="No matching definition"):
        opened_runs(np.zeros((4, 4)), 127)


def test_the_command_line_does_not_import_numba():
    code = "import sys, kras_plugins.cli.app; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Switches of the process are set during a computation, and as they were before once the last one is done."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from kras_plugins.models.switches import deterministic, without_tf32


@pytest.fixture
def switches() -> Iterator[tuple[bool, bool]]:
    """TF32 as somebody in this process set it."""
    before = tf32()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = True, True
    yield True, True
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_tf32_comes_back_with_the_last_of_several_that_compute(switches: tuple[bool, bool]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with without_tf32():
            inside.set()
            assert leave.wait(60)

    thread = threading.Thread(target=other)
    with without_tf32():
        thread.start()
        assert inside.wait(60)
    assert tf32() == (False, False)
    leave.set()
    thread.join()
    assert tf32() == switches


def test_a_process_that_uses_the_newer_switches_keeps_them() -> None:
    code = (
        "import torch; from kras_plugins.models.switches import without_tf32; m = torch.backends.cuda.matmul;"
        "m.fp32_precision = 'tf32'\nwith without_tf32(): assert m.fp32_precision == 'ieee'\n"
        "assert m.fp32_precision == 'tf32'"
    )
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this PyTorch has the old switches alone")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def found() -> tuple[bool, bool, bool, str | None]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("told", [None, ":16:8", ":0:0"])
def test_only_deterministic_algorithms_are_taken_meanwhile(monkeypatch: pytest.MonkeyPatch, told: str | None) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if told is not None:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", told)
    before = found()
    with deterministic():
        with deterministic():
            assert found() == (True, False, False, told if told == ":16:8" else ":4096:8")
        assert found()[0]
    assert found() == before


def test_an_error_puts_them_back() -> None:
    before = found()
    with pytest.raises(ZeroDivisionError), deterministic():
        raise ZeroDivisionError
    assert found() == before

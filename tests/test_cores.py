"""How many cores a process may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = [sys.executable, "-c", "from kras_plugins.cores import cores; print(cores())"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_cores_are_those_that_a_batch_system_gave() -> None:
    one = {min(os.sched_getaffinity(0))}
    said = subprocess.run(ASK, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, one))
    assert said.stdout == "1\n", said.stderr

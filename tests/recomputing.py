"""The script that recomputes metrics.json, as somebody would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "recompute.py"


def recompute(folder: Path, cohort: Path) -> tuple[int, int, str]:
    """Exit code, how many numbers of a study were recomputed, and what was printed."""
    words = [sys.executable, str(SCRIPT), str(folder), "--cohort", str(cohort)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert not ran.stderr, ran.stderr
    return ran.returncode, int(ran.stdout.split()[0]), ran.stdout

"""Ctrl-C in a terminal reaches all processes; only the one that the user started heeds it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kras_plugins.host.interrupts import shielded

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal masks")
BLOCKED = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


def blocks_interrupts() -> str:
    return subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True).stdout.strip()


def test_only_what_starts_within_is_shielded() -> None:
    with shielded():
        assert blocks_interrupts() == "True"
    assert blocks_interrupts() == "False"


def test_an_interrupt_is_not_lost() -> None:
    code = (
        "import os, signal\nfrom kras_plugins.host.interrupts import shielded\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n    with shielded():\n        os.kill(os.getpid(), signal.SIGINT)\n        print('still here')\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.split("\n")[:2], done.stderr) == (["still here", "interrupted"], "")

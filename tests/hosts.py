"""Hosts for processes that talk over a network: this machine's loopback, or two network namespaces with a cable."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from services import need


@dataclass(frozen=True)
class Host:
    """`address`: where others reach it; `enter`: the words before a command that runs there."""

    address: str
    enter: tuple[str, ...] = ()


LOOPBACK = Host("127.0.0.1")
_NETWORK = "10.77.0"


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts that reach each other and nobody else; the test is skipped where the machine makes no namespaces."""
    need(shutil.which("ip") is not None, "ip", "apt-get install iproute2")
    names = [f"kras-{os.getpid()}-{n}" for n in (1, 2)]
    with ExitStack() as stack:
        for name in names:
            if refused := _ip("netns", "add", name):
                pytest.skip(f"no network namespaces here: {refused}")
            stack.callback(_ip, "netns", "delete", name)
        cable = ("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        if refused := _ip(*cable):
            pytest.skip(f"no cable between network namespaces here: {refused}")
        for n, name in enumerate(names, 1):
            for words in (
                ("address", "add", f"{_NETWORK}.{n}/24", "dev", "cable"), ("link", "set", "cable", "up"),
                ("link", "set", "lo", "up"),
            ):  # fmt: skip
                assert _ip("-n", name, *words) == ""
        first, second = (Host(f"{_NETWORK}.{n}", ("ip", "netns", "exec", name)) for n, name in enumerate(names, 1))
        yield first, second


def _ip(*words: str) -> str:
    """Why `ip` refused; empty where it did not."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""

"""How many cores this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """The cores this process may run on: in a job of a batch system, fewer than the machine has.

    A container's share of time (`docker run --cpus`) is not detected, its set of cores (`--cpuset-cpus`) is.

    Example:
        >>> from kras_plugins.cores import cores
        >>> cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Tasks for workers that tests start: this file is on their path."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kras_plugins.errors import PluginError, SlideError
from kras_plugins.host.notes import note


@contextmanager
def bench(order: Mapping[str, Any], tell: Callable[[str, str, int, int], None]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A bench whose identity is what the order or the worker's environment says."""
    if "fails" in order:
        raise PluginError(order["fails"], "mend it")
    tell("slide", "embed", 1, 2)
    folder, who = Path(order["folder"]), os.environ.get("TEST_NAME", "")
    if "waits" in order:
        (folder / f"opening{who}").touch()
        _wait_for(folder / f"open{who}")
    try:
        yield folder, {"library": {"numpy": os.environ.get("TEST_NUMPY", "1")}}
    finally:
        (folder / f"closed{who}").touch()


def work(folder: Path, item: Mapping[str, Any]) -> dict[str, Any]:
    """Leave a line for each time that an item was begun; then do what it says."""
    began = folder / f"began-{item['name']}"
    with began.open("a") as f:
        f.write(f"{os.getpid()}\n")
    note("worked")
    match item.get("does"):
        case "fails":
            raise SlideError(f"{item['name']} is damaged", "scan it again")
        case "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        case "naps":
            time.sleep(0.1)
        case "waits":
            _wait_for(folder / "go")
        case "divides":
            1 / 0  # noqa: B018 - a bug
    return {"name": item["name"], "pid": os.getpid()}


def _wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.02)


def nothing(_bench: Path, item: int) -> int:
    """A task of no length."""
    return item

"""Whether a plug-in and this version of kras are compatible: checked and reported before any of its code runs."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kras_plugins.contracts.base import API_NAME, API_VERSION, OLDEST_API
from kras_plugins.errors import PluginError

HOST = "kras"
"""The distribution of the host."""

_STATED = re.compile(rf"^{API_NAME}(?:\s*:[^=]*)?\s*=\s*([^#\n]*)", re.MULTILINE)


def check_distribution(dist: metadata.Distribution) -> None:
    """Raise PluginError if a distribution requires another version of kras than the installed one."""
    for wanted in filter(None, map(_of_host, dist.requires or ())):
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        here = metadata.version(HOST)
        if not wanted.specifier.contains(here, prereleases=True):
            raise PluginError(
                f"it requires {HOST}{wanted.specifier}, installed is {HOST} {here}",
                f"pip install -U {HOST} {dist.name}",
            )


@cache
def _of_host(text: str) -> Requirement | None:
    """A requirement, if it is one on kras; cached, since each plug-in of a distribution checks all its requirements."""
    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        return None  # pip would have refused it: nothing to check here
    return wanted if canonicalize_name(wanted.name) == HOST else None


def check_module(name: str) -> None:
    """Raise PluginError if the module of an entry point states an API that is not supported; it is not imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return  # importing it will give a better error
    if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
        check_file(Path(spec.origin))


def check_file(file: Path) -> None:
    """Raise PluginError if a Python file states a plug-in API that is not supported (`KRAS_API = 2`)."""
    found = _STATED.search(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
    if found is None:
        return
    stated = found[1].strip()
    if not re.fullmatch("[0-9]{1,9}", stated):
        raise PluginError(f"{API_NAME} is {stated}, not a whole number", f"write {API_NAME} = {API_VERSION}")
    if int(stated) > API_VERSION:
        raise PluginError(f"written for plug-in API {stated}, this kras has {API_VERSION}", f"pip install -U {HOST}")
    if int(stated) < OLDEST_API:
        raise PluginError(
            f"written for plug-in API {stated}, this kras supports {OLDEST_API} to {API_VERSION}",
            "install a newer version of the plug-in, or an older kras",
        )

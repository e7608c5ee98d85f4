"""Paths in outputs: relative to the output folder, and never through somebody's home folder.

A study is handed on, and its readers should learn neither the name of its author nor the names of a hospital's disks.
Paths beside or below the study become relative to it, so they stay valid when both are moved; of any other path only
the file's name stays. Digests identify the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

_HOMES = ("/home", "/Users", "/root", "/mnt", "/media", "/Volumes")
_ABSOLUTE = re.compile(r"(?<![\w.:/~*-])/(?P<first>[\w.+@~-]+)(?:/[^\s/:;,'\"()\[\]{}]+)*/(?=[^\s/])")
"""The folders of an absolute path within a text; `https://…` and `1/4` are not paths."""


def portable(value: Value, folder: Path) -> Value:
    """JSON values, at any depth, whose texts name files as seen from `folder`."""
    return _Seen(folder).value(value)  # type: ignore[no-any-return]


class _Seen:
    def __init__(self, folder: Path) -> None:
        here = Path(os.path.abspath(folder))
        places = dict.fromkeys([here, here.resolve()])
        self._near = {  # ancestors that are shared with a home folder are too high to be relative to
            f"{above}/": f"{os.path.relpath(above, place)}/".removeprefix("./")
            for place in places
            for above in (place, *place.parents)
            if above not in _too_high()
        }
        self._exactly = {above.rstrip("/"): relative.rstrip("/") or "." for above, relative in self._near.items()}

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Path):
            return self._text(str(value))
        if isinstance(value, Mapping):
            return {self.value(k): self.value(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.value(v) for v in value) if type(value) in (list, tuple) else value
        return value

    def _text(self, text: str) -> str:
        if "/" not in text:
            return text
        if text in self._exactly:
            return self._exactly[text]
        if os.path.isabs(text) and "\n" not in text and os.path.exists(text):
            near = next((above for above in self._near if text.startswith(above)), None)
            return _name(Path(text)) if near is None else self._near[near] + text.removeprefix(near)
        for above, relative in self._near.items():  # the deepest first
            text = re.sub(rf"(?<![\w./~-]){re.escape(above)}", lambda _, to=relative: to, text)  # type: ignore[misc]
        text = text.replace(f"{Path.home()}/", "").replace("~/", "")
        return _ABSOLUTE.sub(lambda m: "" if os.path.exists(f"/{m['first']}") else m[0], text)


def _name(path: Path) -> str:
    """A file's own name; the name of a home folder is a person's."""
    homes = {Path.home().parent, *map(Path, _HOMES)} - {Path("/")}
    return "home" if path == Path.home() or path.parent in homes else path.name or str(path)


def _too_high() -> set[Path]:
    """Folders that contain everybody's files: a path relative to these says nothing, and may name a person."""
    home = Path.home()
    return {Path("/"), *home.parents, *map(Path, _HOMES)} - {home}

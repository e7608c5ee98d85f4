"""Which study a folder contains: nothing is silently overwritten, and the same call resumes where it stopped."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kras_plugins.errors import ConfigError
from kras_plugins.files.portable import portable
from kras_plugins.manifest import redacted
from kras_plugins.store import file_sha256
from kras_plugins.study.outputs import MANIFEST, make_folder, read_json, write_json

IDENTITY = "study.json"
"""Written when a study begins; outputs without it were written by something else."""

FEATURES, PATIENTS = "features.csv", "patients.csv"

SCHEMA_VERSION = 1
_OURS = (
    "predictions.csv",
    "metrics.json",
    "failures.csv",
    "monitor.csv",
    "report.html",
    "model-card.md",
    "tripod-ai.md",
    "stard-ai.md",
    "change-plan.md",
    "bundle",
)
_MOST = 4
"""How many differences a message lists."""

State = Literal["new", "unfinished", "finished"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes two calls the same study.

    `call`: `train` or `validate`; `settings`: those that change results; `plugins`: ids
    with result versions; `files`: sha256 of the tables and files that settings name; `slides`: bytes of each slide's
    file, None without a file.
    """

    call: str
    settings: Mapping[str, Any]
    plugins: Sequence[str]
    files: Mapping[str, str] = field(default_factory=dict)
    slides: Mapping[str, int | None] = field(default_factory=dict)

    def differences(self, earlier: Mapping[str, Any], aside: Iterable[str] = ()) -> list[str]:
        """How this differs from an `earlier` identity as it was written.

        Slides that were set `aside` or missing may have been mended since.
        """
        mine: dict[str, Any] = redacted(asdict(self))
        stored: Mapping[str, int | None] = mapping(earlier.get("slides"))
        mended = {*aside, *(name for name, size in stored.items() if size is None)}
        earlier = {**earlier, "slides": _without(stored, mended)}
        mine["slides"] = _without(self.slides, mended)
        return [
            text
            for part in ("call", "settings", "plugins", "files", "slides")
            for text in _differences(earlier.get(part), mine[part], "" if part == "settings" else part)
        ]


def claim(folder: Path, identity: Identity, *, overwrite: bool = False) -> State:
    """Claim a folder for a study: `new` if it has no study yet, else whether this study is finished there.

    A study with slides set aside counts as unfinished: they may have been mended. Raises ConfigError that names what
    differs, or which output was changed; with `overwrite`, earlier outputs are removed instead.
    """
    make_folder(folder)
    identity = replace(identity, settings=portable(identity.settings, folder), files=portable(identity.files, folder))
    if overwrite:
        clear(folder)
    if not (folder / IDENTITY).is_file():
        strange = [name for name in (MANIFEST, *_OURS) if (folder / name).exists()]
        if strange:
            raise ConfigError(
                f"{folder} contains {', '.join(strange)} of another study, or of an earlier kras",
                "choose another --out, or replace them with --overwrite",
            )
        _state(folder, identity)
        return "new"
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    aside = [mapping(f).get("slide_id", "") for f in _rows(manifest.get("failures"))]
    differing = identity.differences(read_json(folder / IDENTITY), aside)
    if differing:
        raise ConfigError(
            f"{folder} contains another study: {_some(differing)}",
            "choose another --out, or replace it with --overwrite",
        )
    if manifest and not aside and _whole(folder, manifest):
        return "finished"
    # Record slides that may change as this call has them; the manifest is written again when all is done.
    _state(folder, identity)
    (folder / MANIFEST).unlink(missing_ok=True)
    return "unfinished"


def _state(folder: Path, identity: Identity) -> None:
    write_json(folder / IDENTITY, {"schema_version": SCHEMA_VERSION, **redacted(asdict(identity))})


def mapping(value: object) -> Mapping[str, Any]:
    """The value, if it is a mapping, as it should be in our files; else an empty mapping."""
    return value if isinstance(value, Mapping) else {}


def _rows(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def told_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How two mappings of JSON values differ, in words; "" if they do not."""
    return _some(list(_differences(before, now, "")))


def inputs_of(
    named: Mapping[str, Path | None],
    options: Mapping[str, Any] | None = None,
    slides: Iterable[str] = (),
    told: Callable[[str], str] = str,
) -> dict[str, str]:
    """Digests of the files that settings name, and of those that options of plug-ins name, by setting.

    `options`: JSON values by any names. If one names a folder, or a path with `{slide_id}` in it, the files of these
    `slides` there count by name and size. `told`: gives a file's name, also in digests.
    """
    found = {name: file_sha256(path) for name, path in named.items() if path is not None and path.is_file()}
    ids = frozenset(slides)
    for key, value in _leaves(options or {}):
        for text in value if isinstance(value, list | tuple) else (value,):
            path = Path(text.split("{")[0] if "{" in text else text) if isinstance(text, str) and text else None
            if path is not None and path.is_file():
                found[f"{key} {told(path.name)}"] = file_sha256(path)
            elif path is not None and (folder := path if path.is_dir() else path.parent).is_dir() and folder != Path():
                found[key] = _sizes(folder, ids, told)
    return found


def bytes_of(path: Path | None) -> int | None:
    """The size of a slide's file; None for a folder, or if it is missing."""
    try:
        return path.stat().st_size if path is not None and path.is_file() else None
    except OSError:
        return None


def _sizes(folder: Path, slides: frozenset[str], told: Callable[[str], str]) -> str:
    """Names and sizes of the files of these slides in a folder, as one text."""
    files = sorted(
        (told(e.name), e.stat().st_size) for e in os.scandir(folder) if e.is_file() and named_after(e.name, slides)
    )
    digest = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    return f"{len(files)} files, {sum(size for _, size in files)} bytes ({digest})"


def named_after(file: str, names: Container[str]) -> bool:
    """Whether a file or folder has one of the names, with or without an extension."""
    return file in names or any(file[:i] in names for i, letter in enumerate(file) if letter == ".")


def _some(differing: Sequence[str]) -> str:
    more = f"; and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
    return "; ".join(differing[:_MOST]) + more


def _without(slides: Mapping[str, int | None], names: Iterable[str]) -> dict[str, int | None]:
    left_out = set(names)
    return {name: size for name, size in slides.items() if name not in left_out}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _differences(before: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif _plain(before) != _plain(now):
        yield f"{name}: {_told(before)} there, {_told(now)} now"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _told(value: Any) -> str:
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, Mapping):
        value = list(value)
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether all outputs are there. Raises ConfigError if one was changed since it was written."""
    outputs: Mapping[str, str] = mapping(manifest.get("outputs"))
    there = [name for name in outputs if (folder / name).is_file()]
    changed = [name for name in there if file_sha256(folder / name) != outputs[name]]
    if changed:
        raise ConfigError(
            f"{folder}: {', '.join(changed)} was changed since the study wrote it",
            "move it away to have it written again, or replace all with --overwrite",
        )
    return bool(outputs) and len(there) == len(outputs)


def clear(folder: Path) -> None:
    """Remove what studies and gathering calls wrote into a folder, as listed in the manifest, and nothing else."""
    manifest: Mapping[str, Any] = {}
    with suppress(ConfigError):  # a damaged one lists nothing
        manifest = read_json(folder / MANIFEST)
    listed = [str(name) for entry in _rows(manifest.get("calls")) for name in _rows(mapping(entry).get("outputs"))]
    for name in (MANIFEST, IDENTITY, *_OURS, FEATURES, PATIENTS, *listed):
        path = folder / name
        if path.is_file() and path.parent.resolve().is_relative_to(folder.resolve()):
            path.unlink()
    bundle = folder / "bundle"
    if bundle.is_symlink():
        bundle.unlink()
    elif bundle.is_dir():
        shutil.rmtree(bundle)

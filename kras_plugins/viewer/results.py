"""What the folder of a result says about its slides, whichever command wrote it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kras_plugins.data import SlideRef
from kras_plugins.errors import ConfigError, UsageError
from kras_plugins.files.spreadsheet import unguarded
from kras_plugins.study.outputs import MANIFEST, PREDICTIONS, read_json
from kras_plugins.urls import Url, place

Kind = Literal["result", "profile", "study"]
AGAIN = "run the same command again, or name its store with --cache"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One slide as listed in a manifest. `artifacts`: digests in the store by kind; `folder`: that of the result.

    `path`: where the slide lay, relative to `folder`, None if not stated (pseudonyms, earlier versions).
    """

    slide_id: str
    patient_id: str
    fingerprint: str
    path: Path | None
    mpp: float | None
    artifacts: Mapping[str, str]
    url: Url | None = None

    @property
    def ref(self) -> SlideRef:
        """The slide, with the resolution that was used."""
        return SlideRef(patient_id=self.patient_id, slide_id=self.slide_id, path=self.path, mpp=self.mpp, url=self.url)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The folder of a `predict` (result), a `profile`, or a `run` or `evaluate` (study).

    `slides` by id; `rows`: those of predictions.csv by patient, of the first repeat; `bundle`: its digest;
    `bundle_folder`: where it lies; `cache`: the store that was named for it; None if they are missing.
    """

    folder: Path
    kind: Kind
    slides: Mapping[str, Recorded]
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    bundle: str = ""
    bundle_folder: Path | None = None
    cache: Path | Url | None = None
    trained_here: bool = False


def read_result(folder: Path) -> Result:
    """Read the folder of a result. Raises UsageError if it is not one, ConfigError if it is damaged."""
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{folder}: not a finished result", "name slides, or the folder of a predict, profile, run or evaluate"
        )
    manifest = read_json(folder / MANIFEST)
    calls = manifest.get("calls")
    entries = calls if isinstance(calls, list) else [manifest]
    try:
        slides = {one.slide_id: one for entry in entries for one in _slides(folder, entry)}
        asked, caches = ([entry.get("config", {}).get(key) for entry in entries] for key in ("bundle", "cache"))
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise ConfigError(f"{folder / MANIFEST} is damaged: {e!r}", AGAIN) from e
    if not slides:
        raise ConfigError(f"{folder}: the result has no usable slide", "name another folder, or slides")
    kind: Kind = "study" if calls is None else "result" if "bundle_digest" in manifest else "profile"
    own = folder / "bundle"
    named = [folder / str(one) for one in asked if one]
    return Result(
        folder=folder,
        kind=kind,
        slides=slides,
        rows=dict(_rows(folder)),
        bundle=str(manifest.get("bundle_digest", "")),
        bundle_folder=next((one for one in (own, *named) if one.is_dir()), None),
        cache=next((found for one in caches if one and (found := _store(folder, str(one)))), None),
        trained_here=kind == "study" and not any(asked),
    )


def _store(folder: Path, said: str) -> Path | Url | None:
    """The store that a manifest names; None if it is not an existing folder."""
    where = place(said)
    return where if isinstance(where, Url) else there if (there := folder / where).is_dir() else None


def _slides(folder: Path, entry: Mapping[str, Any]) -> Iterator[Recorded]:
    of = {slide: patient for patient, slides in entry.get("patients", {}).items() for slide in slides}
    for slide_id, facts in entry["slides"].items():
        where = None if facts.get("path") is None else place(facts["path"])
        stated = facts.get("mpp_source") in ("cohort", "option")
        yield Recorded(
            slide_id=slide_id,
            patient_id=facts.get("patient_id") or of.get(slide_id, slide_id),
            fingerprint=str(facts.get("fingerprint", "")),
            path=folder / where if isinstance(where, Path) else None,
            url=where if isinstance(where, Url) else None,
            mpp=float(facts["mpp"]) if stated and facts.get("mpp") else None,
            artifacts=dict(facts.get("artifacts", {})),
        )


def _rows(folder: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    file = folder / PREDICTIONS
    if not file.is_file():
        return
    with file.open(encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f):
            if row.get("repeat") in ("", "1", None):
                yield unguarded(row["patient_id"]), {name: unguarded(cell or "") for name, cell in row.items()}

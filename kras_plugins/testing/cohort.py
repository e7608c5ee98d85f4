"""Synthetic cohorts: slides of made-up patients with a planted, adjustable G12C signal, and their cohort.csv."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kras_plugins.errors import ConfigError
from kras_plugins.files.spreadsheet import csv_text
from kras_plugins.host.interrupts import shielded
from kras_plugins.testing.slides import draw_slide

COLUMNS = (
    "patient_id", "slide_id", "path", "mpp", "cohort", "site", "histology", "specimen", "kras_test", "kras_hgvsp",
    "g12c", "kras_driver",
)  # fmt: skip
SITES = (
    "Aster", "Birch", "Cedar", "Dahlia", "Elm", "Fern", "Gorse", "Hazel", "Iris", "Juniper", "Larch", "Maple",
)  # fmt: skip

_MPP = 0.5
_LUSC_SHARE = 0.25
_TWO_SLIDES = 12  # one of this many patients has two slides


@dataclass(frozen=True, kw_only=True)
class Invented:
    """One made-up patient: what is planted in the slides and stated in the cohort table; `site`: index into SITES."""

    id: str
    g12c: bool
    histology: str
    site: int
    site_name: str
    specimen: str
    kras_test: str
    hgvsp: str
    texture: float
    lymphocytes: float
    slide_seeds: tuple[int, ...]
    pen: str | None


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """One slide to draw: all that its bytes depend on, so that a later run can tell whether it already exists."""

    file: str
    seed: int
    size_um: tuple[float, float]
    histology: str
    texture: float
    lymphocytes: float
    pen: str | None
    stain: tuple[float, float]


def draw_cohort(
    folder: Path,
    *,
    patients: int = 40,
    positives: int | None = None,
    signal: float = 1.0,
    seed: int = 0,
    name: str = "",
    size_um: tuple[float, float] = (1024.0, 1024.0),
    processes: int = 2,
) -> Path:
    """Draw a cohort of slides into `folder` and return its `cohort.csv`, ready for `kras run`.

    A quarter of the patients have LUSC and none of these is G12C positive; `positives` (by default 0.4 of all) have
    LUAD. Positive patients differ by `signal` in texture (tumor chromatin, nuclear size, stroma) and in the density
    of lymphocytes: at 1 they are well separated from the negatives with LUAD, at 0 not at all. Twelve sites stain
    slightly differently, each with its share of positives; every twelfth patient has two slides; one slide has a pen
    mark. `name` is put before ids and sites, so that two cohorts share none. `size_um`: width and height of a slide.

    The same arguments give the same bytes. `drawn.json` says what was planted in which slide; a slide drawn with the
    same values is kept, so an interrupted call resumes where it stopped. With `processes` above 1 a calling script
    needs `if __name__ == "__main__":`. Raises ConfigError if `positives` leaves no negative LUAD.
    """
    members = invent(patients, positives, signal, seed, name)
    folder.mkdir(parents=True, exist_ok=True)
    drawings = [drawing for member in members for drawing in _drawings(member, (float(size_um[0]), float(size_um[1])))]
    planted = json.dumps([asdict(drawing) for drawing in drawings], indent=1) + "\n"
    record = folder / "drawn.json"
    if not record.exists() or record.read_text(encoding="utf-8") != planted:
        for drawing in drawings:
            (folder / drawing.file).unlink(missing_ok=True)
        _put(record, planted)
    missing = [drawing for drawing in drawings if not (folder / drawing.file).exists()]
    (folder / "slides").mkdir(exist_ok=True)
    if processes > 1 and len(missing) > 1:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(missing)), mp_context=spawn) as pool:
            with shielded():
                drawn = pool.map(_draw, [folder] * len(missing), missing)
            list(drawn)
    else:
        for drawing in missing:
            _draw(folder, drawing)
    return write_cohort(folder, members, "slides/{}.tiff")


def write_cohort(folder: Path, members: Sequence[Invented], path: str) -> Path:
    """Write folder/cohort.csv, one row per slide, and return it; `path`: of a slide's file, with {} for its id."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for member in members for row in _rows(member, path)]
    _put(folder / "cohort.csv", csv_text(rows, COLUMNS))
    return folder / "cohort.csv"


def invent(patients: int, positives: int | None, signal: float, seed: int, name: str = "") -> list[Invented]:
    """Make up the patients; random draws are the same for every `signal`, which only scales the effect of the label.

    Arguments and ConfigError as in `draw_cohort`.
    """
    positives = round(0.4 * patients) if positives is None else positives
    luad = patients - round(_LUSC_SHARE * patients)
    if not 0 < positives < luad:
        raise ConfigError(
            f"cannot draw {positives} positives among {patients} patients, {luad} of them with LUAD",
            f"ask for 1 to {luad - 1} positives" if luad > 1 else "ask for more patients",
        )
    rng = np.random.default_rng(seed)
    g12c = np.arange(patients) < positives
    histology = np.where(np.arange(patients) < luad, "LUAD", "LUSC")
    site = np.arange(patients) % len(SITES)  # distributes each of the three groups evenly over the sites
    texture = signal * 1.25 * g12c + 0.25 * rng.standard_normal(patients)
    lymphocytes = np.exp(signal * 0.9 * g12c + 0.25 * rng.standard_normal(patients))
    biopsy, sequenced = rng.random(patients) < 0.35, rng.random(patients) < 0.7
    other_driver = rng.random(patients) < 0.2
    two, pen = rng.permutation(patients) % _TWO_SLIDES == 0, int(rng.integers(patients))
    slide_seeds = rng.integers(0, 2**31, (patients, 2))
    members = []
    for k, i in enumerate(rng.permutation(patients).tolist()):  # the order of the ids carries no information
        driver = "p.G12C" if g12c[i] else "p.G12V" if other_driver[i] and i < luad else ""
        members.append(
            Invented(
                id=f"{name}P{k + 1:0{max(3, int(math.log10(patients)) + 1)}d}",
                g12c=bool(g12c[i]),
                histology=str(histology[i]),
                site=int(site[i]),
                site_name=name + SITES[site[i]],
                specimen="biopsy" if biopsy[i] else "resection",
                kras_test="TSO500" if sequenced[i] else "PCR",
                hgvsp=driver,
                texture=round(float(texture[i]), 4),
                lymphocytes=round(float(lymphocytes[i]), 4),
                slide_seeds=tuple(slide_seeds[i, : 1 + two[i]].tolist()),
                pen="blue" if i == pen else None,
            )
        )
    return members


def slide_ids(member: Invented) -> list[str]:
    """The ids of a patient's slides, in the order of its `slide_seeds`."""
    return [f"{member.id}-{n + 1}" for n in range(len(member.slide_seeds))]


def _drawings(member: Invented, size_um: tuple[float, float]) -> list[_Drawing]:
    """The slides of one patient; the pen mark is on the first. Sites differ in the strength of their stains."""
    off = 0.15 * member.site / (len(SITES) - 1)
    stain = (0.92 + off, 1.08 - off)
    return [
        _Drawing(
            file=f"slides/{slide_id}.tiff",
            seed=seed,
            size_um=size_um,
            histology=member.histology,
            texture=member.texture,
            lymphocytes=member.lymphocytes,
            pen=member.pen if n == 0 else None,
            stain=stain,
        )
        for n, (slide_id, seed) in enumerate(zip(slide_ids(member), member.slide_seeds, strict=True))
    ]


def _rows(member: Invented, path: str) -> list[tuple[str | int | float, ...]]:
    """The lines of cohort.csv for one patient, in the order of COLUMNS."""
    about = (member.site_name, member.histology, member.specimen, member.kras_test, member.hgvsp)
    label = (int(member.g12c), int(member.hgvsp != ""))
    return [
        (member.id, slide_id, path.format(slide_id), _MPP, "synthetic", *about, *label)
        for slide_id in slide_ids(member)
    ]


def _draw(folder: Path, drawing: _Drawing) -> None:
    values = asdict(drawing)
    draw_slide(folder / values.pop("file"), mpp=_MPP, **values)


def _put(path: Path, text: str) -> None:
    """Write a text file so that it is either complete or absent."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)

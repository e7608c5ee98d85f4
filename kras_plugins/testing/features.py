"""Synthetic cohorts without slides: features as an encoder and a cell analyzer might make of the same patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kras_plugins.bags import write_bag
from kras_plugins.data import Bag, TileSpec
from kras_plugins.files.spreadsheet import csv_text
from kras_plugins.testing.cohort import Invented, invent, slide_ids, write_cohort

ENCODER = "synthetic"

_PX, _MPP = 224, 0.5
_SIDE = 4  # tiles per row of a slide, and rows
_DIM, _COLUMNS = 16, 6
_NOISE = 0.6
"""Noise of reading a planted value: at signal 0.45 one feature alone then has an AUROC of about 0.75."""


def draw_features(
    folder: Path,
    *,
    patients: int = 40,
    positives: int | None = None,
    signal: float = 1.0,
    seed: int = 0,
    name: str = "",
) -> Path:
    """Write a cohort of features into `folder` and return its `cohort.csv`: seconds where slides take minutes.

    Patients, labels and planted values are those of `draw_cohort` with the same arguments. `bags/SLIDE_ID.h5`, named by
    the cohort's `path`, has the tiles of a slide for extractor `h5`; `features.csv` has one row per slide for profiler
    `import`. The first feature carries the planted texture; the second carries lymphocytes in the table and the
    histology in bags; all others are noise. The same arguments give the same numbers. Raises ConfigError as
    `draw_cohort` does.
    """
    members = invent(patients, positives, signal, seed, name)
    (folder / "bags").mkdir(parents=True, exist_ok=True)
    rows = []
    for member in members:
        for slide_id, slide_seed in zip(slide_ids(member), member.slide_seeds, strict=True):
            rng = np.random.default_rng([slide_seed, 1])
            write_bag(folder / "bags" / f"{slide_id}.h5", _bag(member, slide_id, rng))
            rows.append({"slide_id": slide_id} | _table_row(member, rng))
    (folder / "features.csv").write_text(csv_text(rows), encoding="utf-8", newline="\n")
    return write_cohort(folder, members, "bags/{}.h5")


def _bag(member: Invented, slide_id: str, rng: np.random.Generator) -> Bag:
    """Tiles that agree in what they show of their slide, and differ in all else."""
    features = rng.standard_normal((_SIDE**2, _DIM))
    features[:, 0] += 2 * (member.texture + _NOISE * rng.standard_normal())
    features[:, 1] += 3 * (member.histology == "LUSC")
    grid = np.indices((_SIDE, _SIDE)).reshape(2, -1).T * _PX
    return Bag(
        slide_id=slide_id,
        features=features.astype(np.float32),
        xy=grid.astype(np.int32),
        size=(_PX, _PX),
        tile_spec=TileSpec(px=_PX, mpp=_MPP),
        encoder=ENCODER,
        transform_hash=ENCODER,
    )


def _table_row(member: Invented, rng: np.random.Generator) -> dict[str, float]:
    texture, lymphocytes = np.array([member.texture, np.log(member.lymphocytes)]) + _NOISE * rng.standard_normal(2)
    noise = {f"noise_{k + 1}": float(value) for k, value in enumerate(rng.standard_normal(_COLUMNS))}
    return {"nuclear_texture": float(texture), "log_lymphocytes": float(lymphocytes), **noise}

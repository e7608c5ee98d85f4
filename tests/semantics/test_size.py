"""What classifiers learn from says nothing of how much tissue there is, and says nothing twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from kras_plugins.semantics.epithelium import density_tissue
from kras_plugins.semantics.features.table import BY_NAME, CORE, FEATURES
from kras_plugins.semantics.profile import profile
from kras_plugins.semantics.raster import raster_over

SIDE = 1600.0


@pytest.fixture
def tumor(make_map):
    """Draws a tumor of `width` x 1.6 mm, `kind` says which: round nests among stroma; lymphocytes loose, fewer towards
    one side and in nests, and in clumps."""

    def draw(kind, seed, width=SIDE):
        wanted, rng = np.random.default_rng(kind), np.random.default_rng((kind, seed))
        area, size = width * SIDE / 1e6, (width, SIDE)
        radius, dense, loose, clumps, fall, away = wanted.uniform((50, 3000, 400, 2, 0, 0), (120, 5000, 1800, 25, 4, 1))
        nests = rng.uniform(0, size, (int(wanted.uniform(12, 25) * area), 2))
        clump = rng.uniform(0, size, (int(clumps * area), 2))

        def around(centers, reach, n):
            at = rng.normal(size=(len(centers), n, 2))
            at *= reach * np.sqrt(rng.uniform(size=(len(centers), n, 1))) / np.linalg.norm(at, axis=2, keepdims=True)
            return (centers[:, None] + at).reshape(-1, 2)

        scattered = rng.uniform(0, size, (int(loose * area), 2))
        share = np.exp(-fall * scattered[:, 1] / SIDE) * (1 - away * (cKDTree(nests).query(scattered)[0] < radius))
        scattered = scattered[rng.uniform(size=len(scattered)) < share]
        cells = {
            "tumor": around(nests, radius, int(dense * np.pi * radius**2 / 1e6)),
            "lymphocyte": np.concatenate([scattered, around(clump, 60, 90)]),
            "fibroblast": rng.uniform(0, size, (int(600 * area), 2)),
        }
        cells = {name: xy[((xy >= 0) & (xy < size)).all(1)] for name, xy in cells.items()}
        raster = raster_over(*size)
        everything = np.ones(raster.shape, np.bool_)
        xy = np.concatenate([*cells.values()])
        nuclei = rng.lognormal(3.4, wanted.uniform(0.1, 0.4), len(xy))
        nuclei[: len(cells["tumor"])] *= wanted.uniform(1.2, 3)
        semantic = make_map(
            xy, np.repeat([*cells], [len(one) for one in cells.values()]), shape=raster.shape, area_um2=nuclei
        )
        return replace(semantic, tissue=density_tissue(*cells["tumor"].T, everything, raster))

    return draw


def twice(semantic):
    """The same tissue two times on one slide, 2 mm of glass between."""
    height, width = semantic.tissue.shape
    step = 1000  # 4 mm from one to the other: squares of any size lie on both alike
    tissue = np.zeros((height, step + width), np.uint8)
    tissue[:, :width] = tissue[:, step:] = semantic.tissue
    columns = {name: semantic.cells[name].to_numpy() for name in ("x_um", "x_px")}
    moved = semantic.cells
    for name, add in (("x_um", 4000), ("x_px", 8000)):
        moved = moved.set_column(moved.column_names.index(name), name, pa.array(columns[name] + np.float32(add)))
    cells = pa.concat_tables([semantic.cells, moved])
    return replace(semantic, cells=cells, tissue=tissue, analysed=np.ones(tissue.shape, bool))


def test_the_same_tumor_twice_doubles_areas_and_counts_and_changes_nothing_that_is_learned(tumor, values):
    once = tumor(3, 0)
    before, after = values(profile(once)), values(profile(twice(once)))
    for f in FEATURES:
        if f.weight == "sum":
            assert after[f.name] == pytest.approx(2 * before[f.name], rel=0.001), f.name
        elif f.learned and not np.isnan(before[f.name]):  # bands and squares that were too small may be known now
            assert after[f.name] == pytest.approx(before[f.name], rel=0.02, abs=1e-3), f.name
    for name in ("ce_largest_share", "l_component_max"):
        assert after[name] == pytest.approx(before[name] / 2)
    assert after["til_c_index"] < 0.9 * before["til_c_index"]


def test_more_of_a_tumor_moves_nothing_that_is_learned_by_more_than_chance(tumor, values):
    """Five tumors, each on 2.6 and on 5.1 mm²: the mean change against its standard error and tumors' own spread."""
    sizes = ((0, SIDE), (1, 2 * SIDE))
    found = [[values(profile(tumor(kind, seed, width))) for seed, width in sizes] for kind in range(5)]
    for name in CORE:
        one, two = np.array([[v[name] for v in pair] for pair in found]).T
        known = ~np.isnan(one + two)
        if known.sum() > 3 and np.ptp(one[known]) > 0:
            change, spread = (two - one)[known], one[known].std(ddof=1)
            t = change.mean() / (change.std(ddof=1) / np.sqrt(len(change)))
            assert abs(change.mean()) < 0.5 * spread or abs(t) < 4, name


def test_no_two_features_of_the_preset_are_one(tumor, values):
    """Not even in rank: over tumors that differ in all that is drawn."""
    found = [values(profile(tumor(kind, 0))) for kind in range(10, 24)]
    table = {name: [v[name] for v in found] for name in CORE}
    known = [name for name, column in table.items() if np.isfinite(column).all() and np.ptp(column) > 0]
    rho = np.abs(spearmanr(np.array([table[name] for name in known]), axis=1)[0]) - np.eye(len(known))
    row, column = np.unravel_index(rho.argmax(), rho.shape)
    assert len(known) > 40 and rho[row, column] < 1 - 1e-9, (known[row], known[column])
    for one, other in (("tsr", "frac_ce"), ("tsr", "log_ce_cs"), ("is", "iip_frac")):  # as these are
        pair = spearmanr([v[one] for v in found], [v[other] for v in found])[0]
        assert abs(pair) > 1 - 1e-9 and not BY_NAME[other].core

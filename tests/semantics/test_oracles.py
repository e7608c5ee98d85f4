"""Groups G, H and parts of K from a drawn map, each recomputed cell by cell and pixel by pixel, in the plainest way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from scipy.stats import norm

from kras_plugins.data import TISSUE_CLASSES
from kras_plugins.semantics.features.architecture import architecture
from kras_plugins.semantics.features.hotspots import hotspots
from kras_plugins.semantics.features.similarity import similarity
from kras_plugins.semantics.view import View

CE, CS = (TISSUE_CLASSES.index(f"cancer_{name}") for name in ("epithelium", "stroma"))
SIDE, PIXEL = 160, 10.0


@pytest.fixture(scope="module")
def drawn():
    """Tissue classes of 1.6 mm x 1.6 mm, with lumina and a hole in the tumor area; tumor cells and lymphocytes."""
    rng = np.random.default_rng(11)
    waves = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 7)
    tissue = np.full((SIDE, SIDE), TISSUE_CLASSES.index("other"), np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    tissue[np.hypot((x - 75) / 1.1, y - 82) < 68] = CS
    tissue[(tissue == CS) & (waves > 0.02)] = CE
    tissue[gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1.5) > 0.4] = 0  # clear holes of all sizes, here and there
    xy = np.concatenate([rng.uniform(0, 1600, (5000, 2)), rng.uniform(500, 800, (1000, 2))]).astype(np.float32)
    kind = np.where(tissue[(xy[:, 1] // PIXEL).astype(int), (xy[:, 0] // PIXEL).astype(int)] == CE, 0.85, 0.25)
    tumor = rng.uniform(size=6000) < kind
    tumor[5000:] = np.arange(1000) % 2  # where both are dense
    kept = tumor | (rng.uniform(size=6000) < 0.6)
    return tissue, xy[kept], tumor[kept]


@pytest.fixture
def view(make_map, drawn):
    tissue, xy, tumor = drawn
    semantic = make_map(xy, np.where(tumor, "tumor", "lymphocyte"), shape=tissue.shape, mpp=PIXEL)
    semantic.tissue[:] = tissue
    return View(semantic)


def squares(drawn, side):
    """Column and row of each square of which the tumor area covers half: its area in mm², tumor cells, lymphocytes."""
    tissue, xy, tumor = drawn
    inside = np.argwhere((tissue == CE) | (tissue == CS))
    middle = (inside.mean(0)[::-1] + 0.5) * PIXEL
    area, ce = {}, {}
    for row, column in inside:
        edges = [(k * PIXEL - middle[axis], (k + 1) * PIXEL - middle[axis]) for axis, k in enumerate((column, row))]
        for i, j in itertools.product(*(range(math.floor(a / side), math.floor(b / side) + 1) for a, b in edges)):
            part = 1.0
            for (a, b), k in zip(edges, (i, j), strict=True):
                part *= max(0.0, min(b, (k + 1) * side) - max(a, k * side)) / 1000
            area[i, j] = area.get((i, j), 0) + part
            ce[i, j] = ce.get((i, j), 0) + part * (tissue[row, column] == CE)
    found = {key: [mm2, 0, 0, ce[key]] for key, mm2 in area.items() if mm2 >= 0.5 * (side / 1000) ** 2 - 1e-12}
    for (x, y), is_tumor in zip(xy.astype(float), tumor, strict=True):
        key = math.floor((x - middle[0]) / side), math.floor((y - middle[1]) / side)
        if tissue[int(y // PIXEL), int(x // PIXEL)] in (CE, CS) and key in found:
            found[key][1 if is_tumor else 2] += 1
    return found


def neighbors(found, key):
    return [(key[0] + i, key[1] + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (key[0] + i, key[1] + j) in found]


def shares(found):
    t, lym = (np.array([v[k] for v in found.values()], float) for k in (1, 2))
    return t / t.sum(), lym / lym.sum()


def test_similarity_is_that_of_squares_counted_one_by_one(view, drawn):
    v = similarity(view)
    for side in (50, 100, 200):
        p, q = shares(squares(drawn, side))
        assert v[f"mh_{side}"] == pytest.approx(2 * (p * q).sum() / ((p**2).sum() + (q**2).sum())), side
    found = squares(drawn, 100)
    assert len(found) > 100
    p, q = shares(found)
    t, lym = (np.array([value[k] for value in found.values()], float) for k in (1, 2))
    assert v["bhattacharyya"] == pytest.approx(np.sqrt(p * q).sum())
    assert v["sorensen"] == pytest.approx(2 * ((t > 0) & (lym > 0)).sum() / ((t > 0).sum() + (lym > 0).sum()))
    assert v["pearson_tl"] == pytest.approx(np.corrcoef(np.log(1 + t), np.log(1 + lym))[0, 1])
    parts = [(a / (a + b), b / (a + b)) for a, b in zip(t, lym, strict=True) if a + b >= 5]
    bits = [-sum(part * math.log2(part) for part in both if part) for both in parts]
    assert v["local_entropy"] == pytest.approx(np.mean(bits))


def test_autocorrelation_is_that_of_sums_over_pairs_of_squares(view, drawn):
    v, found = similarity(view), squares(drawn, 100)
    linked = {key: value for key, value in found.items() if len(neighbors(found, key)) > 1}
    for name, k in (("moran_t", 1), ("moran_l", 2)):
        x = {key: value[k] / value[0] for key, value in linked.items()}
        mean, n = np.mean(list(x.values())), len(x)
        pairs = [(a, b, 1 / (len(neighbors(linked, a)) - 1)) for a in x for b in neighbors(linked, a) if a != b]
        spread = sum((value - mean) ** 2 for value in x.values())
        together = sum(w * (x[a] - mean) * (x[b] - mean) for a, b, w in pairs)
        assert v[name] == pytest.approx(n / sum(w for *_, w in pairs) * together / spread)
        if name == "moran_l":
            apart = sum(w * (x[a] - x[b]) ** 2 for a, b, w in pairs)
            assert v["geary_l"] == pytest.approx((n - 1) * apart / (2 * sum(w for *_, w in pairs) * spread))
    z = [{key: value[k] / value[0] for key, value in found.items()} for k in (1, 2)]
    z = [{key: value - np.mean(list(one.values())) for key, value in one.items()} for one in z]
    smooth = [{key: np.mean([one[b] for b in neighbors(one, key)]) for key in one} for one in z]
    top = sum(smooth[0][key] * smooth[1][key] for key in found)
    assert v["lee_tl"] == pytest.approx(top / math.sqrt(math.prod(sum(x * x for x in one.values()) for one in z)))


def test_lacunarity_is_that_of_boxes_laid_one_by_one(view, drawn):
    tissue, xy, tumor = drawn
    inside = np.argwhere((tissue == CE) | (tissue == CS))
    middle = (inside.mean(0)[::-1] + 0.5) * PIXEL
    low = (inside[:, ::-1] * PIXEL - middle).astype(float)
    ta = np.isin(tissue[(xy[:, 1] // PIXEL).astype(int), (xy[:, 0] // PIXEL).astype(int)], [CE, CS])
    cells = xy[ta & ~tumor] - middle
    density = []
    for left, top in itertools.product(np.arange(-1000, 1000, 50), repeat=2):
        corner = np.array([left, top])
        part = np.clip(np.minimum(low + PIXEL, corner + 200) - np.maximum(low, corner), 0, None).prod(1).sum() / 1e6
        if part >= 0.02 - 1e-9:
            density.append(np.all((cells >= corner) & (cells < corner + 200), axis=1).sum() / part)
    expected = np.mean(np.square(density)) / np.mean(density) ** 2
    assert similarity(view)["lacunarity_l"] == pytest.approx(expected, rel=1e-4)


def test_hotspots_are_those_of_gi_star_square_by_square(view, drawn):
    v, found = hotspots(view), squares(drawn, 50)
    n, z = len(found), []
    for k in (1, 2):
        x = {key: value[k] / value[0] for key, value in found.items()}
        mean, sd = np.mean(list(x.values())), np.std(list(x.values()))
        z.append([])
        for key in found:
            near = neighbors(found, key)
            w = len(near)
            above = sum(x[b] for b in near) - mean * w
            z[-1].append(above / (sd * math.sqrt((n * w - w**2) / (n - 1))))
    hot, cold = [], []
    for scores in np.array(z):
        p = 2 * norm.sf(np.abs(scores))
        ranked = np.sort(p)
        passed = np.flatnonzero(ranked <= 0.05 * np.arange(1, n + 1) / n)
        hit = p <= (ranked[passed[-1]] if len(passed) else -1)
        hot.append(hit & (scores > 0))
        cold.append(hit & (scores < 0))
    cancer, immune = hot
    assert immune.sum() > 10 < cancer.sum() and (immune & cancer).any()
    assert v["immune_hs_frac"] == pytest.approx(immune.mean()) and v["cancer_hs_frac"] == pytest.approx(cancer.mean())
    both = (immune & cancer).sum()
    assert v["co_hs_immune"] == pytest.approx(both / immune.sum())
    assert v["co_hs_cancer"] == pytest.approx(both / cancer.sum()) and v["co_hs_all"] == pytest.approx(both / n)
    area, ce = (np.array([value[k] for value in found.values()]) for k in (0, 3))
    assert v["immune_hs_ce"] == pytest.approx(ce[immune].sum() / area[immune].sum(), rel=1e-4)
    assert v["cold_l_frac"] == pytest.approx(cold[1].mean()) and v["gi_max"] == pytest.approx(max(z[1]))


def test_the_width_of_nests_is_that_of_all_distances(view, drawn):
    """To the nearest analysed pixel beyond, among those that share a side with the nest."""
    tissue, _, _ = drawn
    ce = tissue == CE
    wide = np.pad(ce, 1)
    beside = (wide[2:, 1:-1] | wide[:-2, 1:-1] | wide[1:-1, 2:] | wide[1:-1, :-2]) & ~ce
    distance, _ = cKDTree(np.argwhere(beside)).query(np.argwhere(ce))
    assert architecture(view)["nest_width"] == pytest.approx(4 * (distance.mean() - 0.25) * PIXEL, rel=1e-5)


def test_the_dimension_of_the_interface_is_that_of_boxes_counted_one_by_one(view, drawn):
    tissue, _, _ = drawn
    edge = [
        (row, column)
        for row, column in np.argwhere(tissue == CE)
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
        if 0 <= row + dy < SIDE and 0 <= column + dx < SIDE and tissue[row + dy, column + dx] == CS
    ]
    edge = np.array(sorted(set(edge)), float)
    at, sides = (edge - edge.mean(0)) * PIXEL, [32, 64, 128, 256, 512]
    counts = [len({tuple(np.floor(np.round(one / side, 9))) for one in at}) for side in sides]
    slope = np.polyfit(np.log(sides), np.log(counts), 1)[0]
    assert architecture(view)["interface_fractal"] == pytest.approx(-slope)


def test_lumina_are_those_found_by_walking(view, drawn):
    tissue, _, _ = drawn
    seen, total, n = set(), 0, 0
    for start in map(tuple, np.argwhere(tissue == 0)):
        if start in seen:
            continue
        hole, waiting, closed = [], [start], True
        seen.add(start)
        while waiting:
            row, column = waiting.pop()
            hole.append((row, column))
            for near in ((row, column + 1), (row + 1, column), (row, column - 1), (row - 1, column)):
                if not (0 <= near[0] < SIDE and 0 <= near[1] < SIDE):
                    closed = False
                elif tissue[near] == 0:
                    if near not in seen:
                        seen.add(near)
                        waiting.append(near)
                elif tissue[near] != CE:
                    closed = False
        if closed and 200 <= len(hole) * PIXEL**2 <= 50_000:
            total, n = total + len(hole), n + 1
    assert n >= 3
    assert architecture(view)["lumen_share"] == pytest.approx(total / (tissue == CE).sum())

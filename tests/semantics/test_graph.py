"""The cell graph against networkx, permutations and known patterns; the mesh strip by strip."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy import sparse
from scipy.spatial import ConvexHull, Delaunay, Voronoi
from scipy.spatial.distance import cdist

from kras_plugins.semantics import delaunay as module
from kras_plugins.semantics.delaunay import mesh
from kras_plugins.semantics.features.graph import (
    assortativity,
    clustering,
    component_sizes,
    contact_excess,
    edge_counts,
    graph,
    lymphocytes_near,
)
from kras_plugins.semantics.view import View


def everywhere(xy):
    return np.ones(len(xy), bool)


def by_place(xy):
    return xy[np.lexsort((xy[:, 1], xy[:, 0]))]


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return by_place(rng.uniform(0, 1000, (3000, 2)))


@pytest.fixture
def triangles(cells):
    return mesh(cells, 35.0, everywhere)


@pytest.fixture
def adjacency(triangles):
    i, j = triangles.edges.T
    return sparse.coo_array((np.ones(2 * len(i), np.int32), (np.r_[i, j], np.r_[j, i])), (3000, 3000)).tocsr()


def test_edges_are_those_of_the_triangulation(cells, triangles):
    t = Delaunay(cells).simplices
    expected = {tuple(sorted((int(a), int(b)))) for s in t for a, b in ((s[0], s[1]), (s[1], s[2]), (s[0], s[2]))}
    expected = {e for e in expected if np.linalg.norm(cells[e[0]] - cells[e[1]]) <= 35}
    assert set(map(tuple, triangles.edges.tolist())) == expected and len(triangles.edges) == len(expected)
    np.testing.assert_allclose(triangles.lengths, np.linalg.norm(np.diff(cells[triangles.edges], axis=1)[:, 0], axis=1))


def test_voronoi_areas_are_those_of_the_polygons(cells):
    def inside(xy):
        return ((xy > 100) & (xy < 900)).all(1)

    found = mesh(cells, 35.0, inside).voronoi_um2
    v = Voronoi(cells)
    for i in range(0, 3000, 37):
        region = v.regions[v.point_region[i]]
        corners = v.vertices[region]
        if -1 in region or not inside(corners).all():
            assert np.isnan(found[i])
        else:
            assert found[i] == pytest.approx(ConvexHull(corners).volume)
    assert np.isfinite(found).sum() > 1500


def test_strips_do_not_show(cells, triangles, monkeypatch):
    monkeypatch.setattr(module, "STRIP_CELLS", 400)
    strips = mesh(cells, 35.0, everywhere)
    order = np.lexsort(triangles.edges.T[::-1])
    np.testing.assert_array_equal(strips.edges[np.lexsort(strips.edges.T[::-1])], triangles.edges[order])
    inner = ((cells > 50) & (cells < 950)).all(1)
    np.testing.assert_allclose(strips.voronoi_um2[inner], triangles.voronoi_um2[inner])


@pytest.mark.parametrize("xy", [np.zeros((0, 2)), np.zeros((5, 2)), np.arange(12.0).reshape(6, 2)])
def test_cells_on_a_point_or_a_line_have_no_mesh(xy):
    found = mesh(xy, 35.0, everywhere)
    assert len(found.edges) == 0 and np.isnan(found.voronoi_um2).all()


def test_graph_statistics_agree_with_networkx(cells, triangles, adjacency):
    rng = np.random.default_rng(1)
    is_tumor = (cells[:, 0] < 600) ^ (rng.uniform(size=3000) < 0.2)
    g = nx.from_scipy_sparse_array(adjacency)
    nx.set_node_attributes(g, dict(enumerate(is_tumor.tolist())), "kind")
    counts = edge_counts(is_tumor, triangles)
    assert sum(counts) == g.number_of_edges()
    assert assortativity(*counts) == pytest.approx(nx.attribute_assortativity_coefficient(g, "kind"))
    some = [c for node, c in nx.clustering(g).items() if g.degree(node) >= 2]
    assert clustering(adjacency) == pytest.approx(np.mean(some))
    sizes = sorted(len(c) for c in nx.connected_components(g.subgraph(np.flatnonzero(~is_tumor).tolist())))
    assert sorted(component_sizes(adjacency, ~is_tumor).tolist()) == sizes


def test_chance_is_that_of_permuted_labels(triangles):
    """The simulation is the oracle of the closed form."""
    rng = np.random.default_rng(2)
    is_tumor = np.arange(3000) < 2200
    simulated = [edge_counts(rng.permutation(is_tumor), triangles)[2] for _ in range(300)]
    n = len(triangles.edges)
    assert contact_excess(0.7 * np.mean(simulated), n, 3000, 2200) == pytest.approx(-0.3, abs=0.002)
    assert contact_excess(0, n, 3000, 2200) == -1


def test_chance_is_exact_on_a_small_graph():
    """All 20 ways to label three of six cells on a path."""
    from itertools import combinations

    edges = [(k, k + 1) for k in range(5)]
    counts = [sum((a in chosen) != (b in chosen) for a, b in edges) for chosen in combinations(range(6), 3)]
    assert contact_excess(5, 5, 6, 3) == pytest.approx(5 / np.mean(counts) - 1)
    assert np.isnan(contact_excess(0, 5, 6, 6)) and np.isnan(contact_excess(0, 0, 6, 3))


def test_contacts_against_chance_are_an_effect_that_more_cells_do_not_change(make_map):
    """The same pattern on one, two and four mm²; a z-score would double from the first to the last."""
    rng = np.random.default_rng(6)
    found = []
    for width, height in ((1000, 1000), (2000, 1000), (2000, 2000)):
        xy = rng.uniform(0, (width, height), (3 * width * height // 1000, 2))
        near = (xy[:, 0] // 125 + xy[:, 1] // 125) % 2 == 0
        kinds = np.where(rng.uniform(size=len(xy)) < np.where(near, 0.8, 0.2), "tumor", "lymphocyte")
        found.append(graph(View(make_map(xy, kinds, regions=(("cancer_stroma", 0, 0, width, height),)))))
    values = [v["nhood_excess_tl"] for v in found]
    assert max(values) - min(values) < 0.04 and -0.5 < np.mean(values) < -0.2


def test_a_hexagonal_lattice_has_six_neighbors_at_one_distance(make_map):
    x, y = np.meshgrid(np.arange(80) * 20.0, np.arange(90) * 20 * np.sqrt(3) / 2)
    x[1::2] += 10
    xy = np.stack([x.ravel(), y.ravel()], 1) + 20.3
    kinds = np.where(np.arange(len(xy)) % 3 == 0, "lymphocyte", "tumor")
    v = graph(View(make_map(xy, kinds, regions=(("cancer_stroma", 0, 0, 2000, 2000),))))
    assert v["edge_mean"] == pytest.approx(20, abs=0.1) and v["edge_cv"] < 0.05
    assert v["degree_t"] == pytest.approx(6, abs=0.15) and v["clustering"] == pytest.approx(0.4, abs=0.02)
    assert v["voronoi_cv_t"] < 0.02


def test_random_labels_are_zero_and_mirrored_halves_one(make_map):
    rng = np.random.default_rng(3)
    xy = rng.uniform(0, 2000, (12_000, 2))
    regions = (("cancer_stroma", 0, 0, 2000, 2000),)
    random = graph(View(make_map(xy, rng.choice(["tumor", "lymphocyte"], 12_000), regions=regions)))
    assert random["assortativity"] == pytest.approx(0, abs=0.02) and abs(random["nhood_excess_tl"]) < 0.02
    assert random["edge_tt"] == pytest.approx(0.25, abs=0.02) and random["mixing"] == pytest.approx(2, abs=0.1)
    assert random["knn_l_of_t"] == pytest.approx(5, abs=0.1)
    # cells of a planar Poisson-Voronoi tessellation have areas with a coefficient of variation of 0.5294
    assert random["voronoi_cv_t"] == pytest.approx(0.529, abs=0.02)
    halves = graph(View(make_map(xy, np.where(xy[:, 0] < 1000, "tumor", "lymphocyte"), regions=regions)))
    assert halves["assortativity"] > 0.95 and halves["nhood_excess_tl"] < -0.95
    assert halves["l_component_max"] > 0.95 and halves["l_components"] == pytest.approx(1 / 4)
    assert halves["edge_tt"] + halves["edge_ll"] + halves["edge_tl"] == pytest.approx(1)


def test_lymphocytes_among_the_nearest_ten_agree_with_brute_force():
    rng = np.random.default_rng(4)
    xy, is_tumor = rng.uniform(0, 100, (200, 2)), rng.uniform(size=200) < 0.6
    near = np.argsort(cdist(xy, xy), axis=1)[:, 1:11]
    assert lymphocytes_near(xy, is_tumor) == pytest.approx((~is_tumor[near]).sum(1)[is_tumor].mean())
    assert lymphocytes_near(xy[:4], np.array([True, False, False, True])) == 2


def test_cells_at_one_place_do_not_disturb(make_map):
    rng = np.random.default_rng(5)
    xy = np.repeat(rng.uniform(0, 1000, (600, 2)), 2, axis=0)
    v = graph(View(make_map(xy, ["tumor", "lymphocyte"] * 600, regions=(("cancer_stroma", 0, 0, 1000, 1000),))))
    assert not np.isnan([v[k] for k in ("assortativity", "degree_t", "edge_mean", "knn_l_of_t")]).any()

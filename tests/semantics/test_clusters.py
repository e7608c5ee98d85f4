"""Clusters of lymphocytes against scikit-learn, brute force and planted structures."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from scipy.spatial.distance import pdist
from sklearn.cluster import DBSCAN

from kras_plugins.semantics.features.clusters import ball_hall, c_index, clusters, dense_clusters, square_distances
from kras_plugins.semantics.view import View

REGIONS = (("cancer_stroma", 0, 0, 2000, 2000), ("cancer_epithelium", 0, 0, 600, 2000))


def disk(rng, center, radius, n):
    angle, at = rng.uniform(0, 2 * np.pi, n), radius * np.sqrt(rng.uniform(0, 1, n))
    return np.array(center) + at[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def view_of(make_map, lymphocytes, others=(), regions=REGIONS):
    xy = np.concatenate([lymphocytes, np.asarray(others, float).reshape(-1, 2)])
    kinds = ["lymphocyte"] * len(lymphocytes) + ["fibroblast"] * (len(xy) - len(lymphocytes))
    return View(make_map(xy, kinds, regions=regions))


def test_clusters_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    centers = rng.uniform(0, 1500, (12, 2))
    xy = np.concatenate([rng.uniform(0, 1500, (1500, 2)), *(disk(rng, c, 60, 150) for c in centers)])
    mine, model = dense_clusters(xy), DBSCAN(eps=30, min_samples=15).fit(xy)
    np.testing.assert_array_equal(mine < 0, model.labels_ < 0)
    core = model.core_sample_indices_  # border points between two clusters may go to either
    assert len(np.unique(np.stack([mine[core], model.labels_[core]]), axis=1).T) == model.labels_.max() + 1
    assert mine.max() == model.labels_.max() >= 5


def test_no_or_few_cells_are_no_cluster():
    assert len(dense_clusters(np.zeros((0, 2)))) == 0
    assert (dense_clusters(np.random.default_rng(0).uniform(0, 2000, (500, 2))) == -1).all()


def test_a_planted_structure_is_found_and_loose_small_or_mixed_ones_are_not(make_map):
    rng = np.random.default_rng(1)
    good = disk(rng, (900, 1000), 100, 900)  # 0.031 mm², 29,000 per mm²
    small = disk(rng, (1400, 400), 40, 150)
    mixed = disk(rng, (1500, 1500), 100, 900)
    v = clusters(view_of(make_map, np.concatenate([good, small, mixed]), disk(rng, (1500, 1500), 100, 600)))
    assert v["tls_count"] == 1 and v["tls_density"] == pytest.approx(1 / 4)
    assert v["tls_area_share"] == pytest.approx(np.pi * 0.01 / 4, rel=0.1)
    assert v["tls_ce_distance"] == pytest.approx(300, abs=15)
    assert v["til_cluster_density"] == pytest.approx(3 / 4)
    assert v["til_cluster_size"] == pytest.approx(650, rel=0.03)
    assert v["til_cluster_size_cv"] == pytest.approx(np.std([900, 900, 150], ddof=1) / 650, rel=0.03)


@pytest.mark.parametrize("radius", [100, 150])
@pytest.mark.parametrize("infiltrate", [500, 1500])
def test_an_aggregate_of_6000_per_mm2_is_a_structure_wherever_lymphocytes_are_scattered(make_map, radius, infiltrate):
    """Half the density published for tertiary lymphoid structures on H&E: a detector may miss every second cell."""
    rng = np.random.default_rng(radius + infiltrate)
    area = np.pi * (radius / 1000) ** 2
    scattered = rng.uniform(0, 2000, (4 * infiltrate, 2))
    planted = [disk(rng, (x, 1000), radius, round(6000 * area)) for x in (900, 1500)]
    v = clusters(view_of(make_map, np.concatenate([scattered, *planted])))
    assert v["tls_count"] == 2
    assert v["tls_area_share"] == pytest.approx(2 * area / 4, rel=0.35)


@pytest.mark.parametrize("infiltrate", [200, 1000, 2000])
def test_scattered_lymphocytes_are_no_structure_and_hardly_a_cluster(make_map, infiltrate):
    xy = np.random.default_rng(infiltrate).uniform(0, 2000, (4 * infiltrate, 2))
    v = clusters(view_of(make_map, xy))
    assert v["tls_count"] == 0 and v["til_cluster_density"] < 3


def test_the_infiltrate_of_a_real_field_is_one_cluster(shared_data):
    """Cervix polygons of histolytics: a band of lymphocytes, up to 13,000 per mm² within 30 µm, is not shattered."""
    file = shared_data / "nuclei" / "hgsc" / "cervix_nuclei_crop.parquet"
    table = pq.read_table(file, filters=[("class_name", "==", "inflammatory")])
    centers = shapely.centroid(shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False)))
    sizes = np.bincount(1 + dense_clusters(shapely.get_coordinates(centers) * 0.25))[1:]
    assert sizes.max() > 1000 > 10 * np.sort(sizes)[-2]


def test_a_structure_in_epithelium_has_no_distance_from_it(make_map):
    rng = np.random.default_rng(2)
    assert clusters(view_of(make_map, disk(rng, (300, 1000), 100, 900)))["tls_ce_distance"] == 0


def test_without_lymphocytes_counts_are_zero_and_the_rest_missing(make_map):
    v = clusters(view_of(make_map, np.zeros((0, 2)), [[5, 5]]))
    assert v["tls_count"] == 0 == v["til_cluster_density"] == v["tls_area_share"]
    assert np.isnan([v["tls_ce_distance"], v["til_cluster_size"], v["til_ball_hall"], v["til_c_index"]]).all()


def test_clusters_beyond_the_tumor_area_may_be_structures_but_not_its_clusters(make_map):
    rng = np.random.default_rng(3)
    regions = (("other", 0, 0, 2000, 2000), ("cancer_stroma", 0, 0, 800, 2000), ("cancer_epithelium", 0, 0, 600, 2000))
    v = clusters(view_of(make_map, disk(rng, (1400, 1000), 100, 900), regions=regions))
    assert v["tls_count"] == 1 and v["til_cluster_density"] == 0


def test_cells_at_one_place_or_on_a_line_are_no_structure(make_map):
    line = np.stack([np.linspace(100, 900, 4000), np.linspace(100, 900, 4000)], 1)
    v = clusters(view_of(make_map, np.concatenate([line, np.full((60, 2), 1500.0)])))
    assert v["tls_count"] == 0 and v["til_cluster_density"] == pytest.approx(2 / 4)


def test_ball_hall_is_the_mean_of_mean_squares():
    rng = np.random.default_rng(4)
    xy, label = rng.uniform(0, 100, (300, 2)), rng.integers(0, 4, 300)
    groups = [xy[label == k] for k in range(4)]
    assert ball_hall(xy, label) == pytest.approx(np.mean([np.mean(np.sum((g - g.mean(0)) ** 2, 1)) for g in groups]))


def test_distances_between_squares_are_all_pairs():
    rng = np.random.default_rng(5)
    at = np.unique(rng.integers(3, 40, (250, 2)), axis=0)
    length, count = square_distances(at[:, 0], at[:, 1])
    np.testing.assert_allclose(np.sort(pdist(at)), np.repeat(length, count.astype(int)))
    assert len(square_distances(np.array([4]), np.array([7]))[0]) == 0


def test_the_c_index_is_that_of_all_pairs(make_map):
    rng = np.random.default_rng(6)
    at = np.unique(rng.integers(0, 40, (150, 2)), axis=0)
    label = rng.integers(0, 5, len(at))
    view = view_of(make_map, np.zeros((1, 2)))
    corner = np.array(view.lattice(50.0).origin_um)
    found = c_index(view, corner + at * 50.0 + 25, label)
    n = len(at)
    first, second = np.triu_indices(n, 1)
    d, same = pdist(at), label[first] == label[second]
    ranked, k = np.sort(d), int(same.sum())
    assert found == pytest.approx((d[same].sum() - ranked[:k].sum()) / (ranked[-k:].sum() - ranked[:k].sum()))
    tight = (at[:, 0] > 20).astype(int)
    assert c_index(view, corner + at * 50.0 + 25, tight) < found
    assert np.isnan(c_index(view, corner + at * 50.0 + 25, np.zeros(n, int)))

"""What the model `cells` is trained on: sources, split, targets and augmentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from training import augment, bbbc038, fields, hgsc, sources
from training.doubt import BELIEVED, doubted

RNG = np.random.default_rng(0)


def mosaic(rng: np.random.Generator) -> list[np.ndarray]:
    """Four quarters of one smooth image, as BBBC038 cut them."""
    image = ndimage.gaussian_filter(rng.normal(0, 1, (64, 80, 3)), (4, 4, 0))
    whole = (128 + 60 * image / image.std()).clip(0, 255).astype(np.uint8)
    return [whole[:32, :40], whole[:32, 40:], whole[32:, :40], whole[32:, 40:]]


@pytest.fixture(scope="module")
def field() -> fields.Field:
    y, x = np.mgrid[:200, :260]
    labels = np.zeros((200, 260), np.int32)
    for i, (cx, cy) in enumerate([(x0, y0) for x0 in range(15, 260, 26) for y0 in range(15, 200, 26)]):
        labels[(x - cx) ** 2 + (y - cy) ** 2 <= 49] = i + 1
    pixels = np.where(labels[..., None] > 0, (90, 60, 130), (230, 180, 220)).astype(np.uint8)
    classes = np.array([fields.UNKNOWN, *(i % 3 for i in range(labels.max()))], np.int8)
    return fields.Field(
        name="f", kind="k", source="s", pixels=pixels, labels=labels, classes=classes, mpp=0.5, scored=(0, 0, 260, 200)
    )


def test_quarters_of_one_image_are_one_source():
    rng = np.random.default_rng(1)
    tiles = [tile for _ in range(3) for tile in mosaic(rng)]
    order = rng.permutation(12)
    groups = bbbc038.group_tiles([tiles[i] for i in order], ["a"] * 12)
    for i in range(12):
        for j in range(12):
            assert (groups[i] == groups[j]) == (order[i] // 4 == order[j] // 4)


def test_only_whole_sources_are_held_out(field):
    tiles = [replace(field, name=str(i), source=str(i // 4), kind="ab"[i // 24]) for i in range(48)]
    tiles.append(replace(field, name="orphan", source="orphan", kind="a"))
    train, held_out = bbbc038.split_dsb(tiles)
    assert {f.source for f in train}.isdisjoint({f.source for f in held_out})
    assert "orphan" in {f.source for f in train}
    assert {f.kind for f in held_out} == {"a", "b"}
    assert 0.1 < len(held_out) / len(tiles) <= 0.25


@pytest.mark.parametrize("axis", [0, 1])
def test_a_field_is_cut_with_a_guard_band_between_the_sides(axis, field):
    h, w = 600, 700
    rows, cols = np.indices((h, w))
    pixels = np.stack([rows // 256, rows % 256, cols % 256], -1).astype(np.uint8)
    big = replace(field, pixels=pixels, labels=np.zeros((h, w), np.int32), scored=(0, 0, w, h))
    train, held_out = hgsc.split_field(big, axis)
    assert train.labels.shape[axis] + held_out.labels.shape[axis] == (h, w)[axis]
    left, top, right, bottom = held_out.scored
    assert (top, left)[axis] == hgsc.GUARD
    scored = held_out.pixels[top:bottom, left:right]
    gap = (h, w)[axis] - train.labels.shape[axis] - scored.shape[axis]
    assert gap == hgsc.GUARD


def test_the_guard_band_is_wider_than_what_the_network_sees():
    """So no scored pixel's result depends on a pixel of the training side."""
    torch = pytest.importorskip("torch")
    from kras_profiler_cells.network import CellNet

    torch.manual_seed(0)
    network = CellNet().eval()
    side = 512
    tile = torch.full((1, side, side, 3), 128, dtype=torch.uint8)
    changed = tile.clone()
    changed[:, :, : side // 2] = 40
    with torch.inference_mode():
        for a, b in zip(network.logits(tile), network.logits(changed), strict=True):
            differs = (a - b).abs().amax((0, 1, 2)) > 0
            reach = (int(differs.nonzero().max()) + 1) * (side // len(differs)) - side // 2
            assert 0 < reach <= hgsc.GUARD


def test_the_real_split_shares_no_source_and_scores_every_class(shared_data: Path):
    train, held_out = sources.first_sets(shared_data / "nuclei")
    dsb = [[f for f in side if f.kind in bbbc038.DSB_MPP] for side in (train, held_out)]
    assert {f.source for f in dsb[0]}.isdisjoint({f.source for f in dsb[1]})
    assert len(dsb[0]) + len(dsb[1]) == 107 and len(dsb[1]) >= 20
    for part in (f for f in held_out if f.kind.startswith("hgsc")):
        inside = fields.in_box(part.centers, part.scored)
        assert set(part.classes[: len(inside)][inside].tolist()) == {0, 1, 2}


def test_assumed_resolutions_give_nuclei_of_a_likely_size(shared_data: Path):
    train, _ = sources.first_sets(shared_data / "nuclei")
    train += bbbc038.read_stage1_test(shared_data / "nuclei" / "bbbc038_stage1_test")
    for kind in {f.kind for f in train}:
        widths = [2 * np.sqrt(np.bincount(f.labels.ravel())[1:] / np.pi) * f.mpp for f in train if f.kind == kind]
        assert 6 < np.median([w for part in widths for w in part if w > 0]) < 10, kind


def test_a_polygon_of_wkb_is_read():
    import struct

    corners = [(0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 0.0)]
    raw = struct.pack("<BIII", 1, 3, 1, 4) + b"".join(struct.pack("<dd", *c) for c in corners)
    np.testing.assert_array_equal(hgsc.ring(raw), corners)
    with pytest.raises(ValueError, match="WKB"):
        hgsc.ring(struct.pack("<BIII", 1, 1, 1, 4))


def test_resampling_keeps_nuclei_where_they_are(field):
    half = fields.at_mpp(field, 1.0)
    assert half.pixels.shape == (100, 130, 3) and half.mpp == 1.0
    np.testing.assert_allclose(half.centers[1:] * 2 + 0.5, field.centers[1:], atol=0.6)


def test_distance_is_one_in_the_middle_and_falls_to_the_edge(field):
    nucleus, distance, weight = augment.targets(field.labels)
    np.testing.assert_array_equal(nucleus > 0, field.labels > 0)
    assert distance[15, 15] == 1 and np.all(distance[field.labels == 0] == 0)
    assert np.all(distance[field.labels > 0] > 0)
    assert np.all(np.diff(distance[15, 15:23]) <= 0) and distance[15, 22] < 0.2
    assert weight.max() == 1  # nothing touches


def test_touching_nuclei_part_where_they_meet():
    labels = np.zeros((30, 50), np.int32)
    labels[8:22, 5:25], labels[8:22, 25:45] = 1, 2
    _, distance, weight = augment.targets(labels)
    assert distance[15, 24] < 0.3 and distance[15, 25] < 0.3 and distance[15, 15] == 1
    assert np.all(weight[15, 23:27] == 3) and weight[15, 15] == 1


def test_dense_pixels_without_a_label_weigh_less(field):
    nucleus = (field.labels > 0).astype(np.float32)
    missed = field.labels == 12
    nucleus[missed] = 0
    weight = doubted(field.pixels, np.where(missed, 0, field.labels))
    assert np.mean(weight[missed] < BELIEVED) > 0.5 and np.all(weight[nucleus > 0] == BELIEVED)
    assert np.mean(weight[field.labels == 0] < BELIEVED) < 0.01


def test_a_sample_depends_on_its_seed_alone(field):
    one, again, other = (augment.draw(field, np.random.default_rng(s), 64) for s in (5, 5, 6))
    for name in ("pixels", "nucleus", "distance", "kind", "weight"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert np.any(one.pixels != other.pixels)


def test_pixels_and_labels_are_cut_alike(field):
    for seed in range(10):
        pixels, labels, _ = augment.crop(field, np.random.default_rng(seed), 96)
        dark = pixels[..., 0] < 160
        assert np.mean(dark == (labels > 0)) > 0.97
        assert set(np.unique(labels)) <= set(np.unique(field.labels))


def test_a_crop_is_larger_than_the_image_by_its_mirror(field):
    _, labels, _ = augment.crop(field, np.random.default_rng(0), 512)
    assert (labels[:40] > 0).any() and (labels[-40:] > 0).any()


def test_the_same_stains_mixed_again_give_the_image():
    pixels = RNG.integers(20, 250, (16, 16, 3), dtype=np.uint8)
    same = augment.remix(pixels, (1, 1, 1))
    assert np.abs(same.astype(int) - pixels).max() <= 1


def test_twice_the_stain_is_twice_the_density():
    pixels = RNG.integers(100, 250, (16, 16, 3), dtype=np.uint8)
    twice = augment.remix(pixels, (2, 2, 2))
    expected = 256 * ((pixels.astype(float) + 1) / 256) ** 2 - 1
    assert np.abs(twice - expected).max() <= 1.5


def test_distractors_never_cover_a_nucleus_but_ink_does(field):
    nucleus = (field.labels > 0).astype(np.float32)
    covered = 0
    for seed in range(60):
        out = augment.distract(field.pixels, nucleus, np.random.default_rng(seed))
        changed = np.any(out != field.pixels, axis=2)
        if changed.any() and not changed[nucleus > 0].any():
            covered += 1
    assert covered > 5


def test_drawn_slides_have_outlines_about_their_true_centers(tmp_path):
    from training.synthetic import synthetic_fields

    for drawn in synthetic_fields(tmp_path, 0)[:2]:
        sizes = np.bincount(drawn.labels.ravel())[1:] * 0.25
        assert 15 < np.median(sizes) < 80  # µm²
        assert set(drawn.classes[1:].tolist()) == {0, 1, 2}


def test_changed_conditions_change_pixels_and_scale_but_not_nuclei(field):
    pytest.importorskip("torch")
    from training.evaluate import conditions

    assert len(field.centers) > 50
    for name, change in conditions().items():
        shown = change(field)
        assert shown.pixels.dtype == np.uint8 and shown.pixels.shape[:2] == shown.labels.shape, name
        assert len(shown.centers) == len(field.centers), name
        if shown.labels.shape == field.labels.shape and name != "as it is":
            assert np.any(shown.pixels != field.pixels), name


def test_a_patient_of_the_published_test_split_never_trains(tmp_path: Path):
    from PIL import Image

    from training.brca_m2c import read_brca

    names = {"TCGA-AA-0001-a": "train", "TCGA-AA-0002-a": "val", "TCGA-AA-0003-a": "test", "TCGA-AA-0003-b": "train"}
    (tmp_path / "images").mkdir()
    rows = ["image\tsplit\ty\tx\tclass"]
    for name, split in names.items():
        Image.new("RGB", (60, 50), (200, 150, 190)).save(tmp_path / "images" / f"{name}.jpg")
        rows += [f"{name}\t{split}\t10\t20\t1", f"{name}\t{split}\t30\t40\t2", f"{name}\t{split}\t49.6\t60\t3"]
    (tmp_path / "cells.tsv").write_text("\n".join(rows) + "\n")
    train, test = (read_brca(tmp_path, side) for side in ("training", "test"))
    assert [f.name for f in train] == ["TCGA-AA-0001-a", "TCGA-AA-0002-a"] and [f.name for f in test] == [
        "TCGA-AA-0003-a"
    ]
    assert train[0].classes.tolist() == [fields.UNKNOWN, 1, 0, 2]  # lymphocyte, tumor, fibroblast
    np.testing.assert_array_equal(train[0].dots, [[20, 10], [40, 30], [59, 49]])  # the file has rows before columns
    assert train[0].labels[10, 20] == 1 and train[0].labels[30, 40] == 2

"""The profiler `cells`: from pixels to outlined, measured and typed nuclei."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull, cKDTree
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import regionprops, shannon_entropy

import kras_profiler_cells as plugin
from kras_plugins import CELL_CLASSES, CELL_COLUMNS, Tile
from kras_profiler_cells import decode, morphometry, stain, texture
from kras_profiler_cells.nuclei import nuclei_of
from kras_profiler_cells.outlines import outlines

RECORD = next(iter(plugin.kras_profilers()))
SPEC = RECORD.models(RECORD.options())[0]


def decoder(**options):
    o = plugin.CellsOptions(**options)
    return decode.Decode(o.min_area_um2, o.max_area_um2, o.min_prob, o.min_class_prob, plugin.WORDS)


@pytest.fixture(scope="module")
def network():
    torch = pytest.importorskip("torch")
    return torch, SPEC.build(Path(SPEC.weights.source))


@pytest.fixture(scope="module")
def run(network):
    torch, module = network

    def outputs(pixels):
        h, w = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -h % 64), (0, -w % 64), (0, 0)), mode="edge")
        with torch.inference_mode():
            nucleus, distance, kinds, *_ = (m[0].numpy() for m in module(torch.from_numpy(padded[None].copy())))
        # Only whole pixels of the class maps are kept: sides are even here.
        return {"nucleus": nucleus[:h, :w], "distance": distance[:h, :w], "classes": kinds[:, : h // 2, : w // 2]}

    return outputs


@pytest.fixture(scope="module")
def find(run):
    def cells(pixels, mpp=0.5):
        return decoder()(run(pixels), Tile(pixels=pixels, mpp=mpp))

    return cells


@pytest.fixture(scope="module")
def blobs():
    """A label map of ellipses in all directions, some cut by the image's edge or touching, and a density image."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:200, :240]
    labels = np.zeros((200, 240), np.int32)
    for i, (cx, cy) in enumerate([(x0, y0) for x0 in range(12, 240, 24) for y0 in range(4, 200, 24)]):
        a, b, t = rng.uniform(4, 10), rng.uniform(3, 6), rng.uniform(0, np.pi)
        u, v = (x - cx) * np.cos(t) + (y - cy) * np.sin(t), (y - cy) * np.cos(t) - (x - cx) * np.sin(t)
        labels[(u / a) ** 2 + (v / b) ** 2 <= 1] = i + 1
    labels[100:104, 50:60] = labels[100, 60]  # a concave one
    _, labels = np.unique(labels, return_inverse=True)
    density = ndimage.gaussian_filter(rng.normal(0.5, 1.0, (200, 240)), 1.5) + 0.1
    return labels.reshape(200, 240).astype(np.int32), np.clip(density, 0, 2).astype(np.float32)


def measure(labels, density, mpp):
    nuclei = nuclei_of(labels)
    return morphometry.measure(nuclei, density[nuclei.pixels], mpp)


@pytest.fixture(scope="module")
def measured(blobs):
    labels, density = blobs
    return measure(labels, density, 0.5), regionprops(labels, density)


def synthetic(seed=0, **kw):
    import tifffile

    from kras_plugins.testing.slides import draw_slide

    def draw(folder):
        truth = draw_slide(folder / "s.tif", seed=seed, **kw)
        with tifffile.TiffFile(folder / "s.tif") as f:
            return f.pages[0].asarray(), truth

    return draw


def test_the_record_promises_classes_and_columns_the_host_knows():
    assert RECORD.provides(RECORD.options()) <= set(CELL_CLASSES) | set(CELL_COLUMNS)
    assert set(CELL_COLUMNS) <= RECORD.provides(RECORD.options())
    tile = RECORD.tile(RECORD.options())
    assert SPEC.inputs[0].shape == (tile.px + 2 * tile.halo_px,) * 2 + (3,)


@pytest.mark.parametrize(
    ("column", "attribute", "unit", "tolerance"),
    [
        ("area_um2", "area", 0.25, 1e-6),
        ("perimeter_um", "perimeter", 0.5, 1e-5),
        ("major_um", "axis_major_length", 0.5, 1e-5),
        ("minor_um", "axis_minor_length", 0.5, 1e-5),
        ("eccentricity", "eccentricity", 1, 1e-4),
        ("h_od_mean", "intensity_mean", 1, 1e-5),
        ("h_od_sd", "intensity_std", 1, 1e-4),
    ],
)
def test_a_column_agrees_with_scikit_image(measured, column, attribute, unit, tolerance):
    ours, theirs = measured
    expected = np.array([getattr(r, attribute) for r in theirs]) * unit
    np.testing.assert_allclose(ours[column], expected, rtol=tolerance, atol=1e-6)


def test_solidity_agrees_with_the_exact_convex_hull(measured):
    """scikit-image rasterizes the hull, which makes it up to 7 % larger on nuclei; the polygon itself is the oracle."""
    ours, theirs = measured
    ends = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
    hulls = [ConvexHull((r.coords[:, None] + ends).reshape(-1, 2)).volume for r in theirs]
    expected = np.minimum([r.area / hull for r, hull in zip(theirs, hulls, strict=True)], 1)
    np.testing.assert_allclose(ours["solidity"], expected, rtol=0.015)  # 64 directions cut corners a little wide


def test_the_centroid_and_orientation_agree_with_scikit_image(measured):
    ours, theirs = measured
    np.testing.assert_allclose(np.stack([ours["y"], ours["x"]], 1), [r.centroid for r in theirs], rtol=1e-5)
    # scikit-image measures from the row axis; angles of an axis are equal modulo pi
    turn = ours["orientation"] - (np.pi / 2 - np.array([r.orientation for r in theirs]))
    elongated = ours["eccentricity"] > 0.1  # a circle has no direction
    assert np.abs(np.exp(2j * turn) - 1)[elongated].max() < 1e-3
    assert np.all(np.abs(ours["orientation"]) <= np.pi / 2 + 1e-6)


@pytest.mark.parametrize("prop", ["contrast", "correlation", "energy", "homogeneity"])
def test_texture_agrees_with_scikit_image_on_masked_nuclei(blobs, measured, prop):
    labels, density = blobs
    level = np.clip(density * (texture.LEVELS / texture.DENSITY_MAX), 0, texture.LEVELS - 1).astype(int)
    ours, theirs = measured
    for i, r in enumerate(theirs):
        box = r.slice
        grey = np.where(labels[box] == r.label, level[box] + 1, 0).astype(np.uint8)
        pairs = graycomatrix(grey, [1], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], levels=17, symmetric=True)[1:, 1:]
        pairs = pairs.astype(float) / pairs.sum((0, 1))
        assert ours[f"glcm_{prop}"][i] == pytest.approx(graycoprops(pairs, prop).mean(), rel=1e-4, abs=1e-6)


def test_entropy_is_shannons_in_bits(blobs, measured):
    labels, density = blobs
    level = np.clip(density * (texture.LEVELS / texture.DENSITY_MAX), 0, texture.LEVELS - 1).astype(int)
    expected = [shannon_entropy(level[labels == i + 1]) for i in range(labels.max())]
    np.testing.assert_allclose(measured[0]["h_entropy"], expected, rtol=1e-4, atol=1e-6)


def test_an_outline_encloses_its_convex_nucleus():
    y, x = np.mgrid[:60, :60]
    labels = (((x - 28) / 14) ** 2 + ((y - 30) / 8) ** 2 <= 1).astype(np.int32)
    outline = outlines(nuclei_of(labels), np.float32([28]), np.float32([30]))[0]
    from skimage.draw import polygon2mask

    filled = polygon2mask(labels.shape, outline[:, ::-1])
    assert (filled & (labels > 0)).sum() / (filled | (labels > 0)).sum() > 0.9


def test_an_outline_starts_inside_a_nucleus_whose_centroid_lies_outside():
    labels = np.zeros((40, 40), np.int32)
    labels[5:35, 5:9] = labels[5:9, 5:35] = labels[31:35, 5:35] = 1
    column = measure(labels, np.ones((40, 40), np.float32), 1.0)
    outline = outlines(nuclei_of(labels), column["x"], column["y"])[0]
    assert labels[np.rint(outline[:, 1]).astype(int), np.rint(outline[:, 0]).astype(int)].all()


def test_stain_deconvolution_separates_the_published_stains():
    """One unit of each stain, mixed by Beer and Lambert's law, gives back its amount of hematoxylin."""
    h, e = (np.array(v) / np.linalg.norm(v) for v in ([0.65, 0.70, 0.29], [0.07, 0.99, 0.11]))
    for amount in (0.0, 0.2, 0.5):
        pixels = np.rint(256 * 10 ** -(amount * h + 0.3 * e) - 1).astype(np.uint8)
        assert stain.hematoxylin(pixels[None])[0] == pytest.approx(amount, abs=0.01)


def test_an_empty_tile_has_no_cells(find):
    for value in (0, 255, 243):
        cells = find(np.full((128, 128, 3), value, np.uint8))
        assert len(cells.x) == 0 and cells.classes == [] and len(cells.outlines) == 0
        assert set(cells.columns) == set(CELL_COLUMNS) - {"x_um", "y_um", "x_px", "y_px", "class"}


def test_eosin_alone_makes_no_nuclei(find):
    rng = np.random.default_rng(1)
    amount = 0.4 + 0.15 * ndimage.gaussian_filter(rng.standard_normal((256, 256)), 4) / 0.07
    e = np.array([0.07, 0.99, 0.11]) / np.linalg.norm([0.07, 0.99, 0.11])
    assert len(find((255 * 10 ** -(amount[..., None] * e)).clip(0, 255).astype(np.uint8)).x) == 0


def test_what_is_measured_of_a_nucleus_does_not_depend_on_those_that_touch_it():
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:60, :72]
    seeds = rng.uniform((0, 0), (60, 72), (24, 2))
    labels = np.argmin([(rows - y) ** 2 + (cols - x) ** 2 for y, x in seeds], axis=0).astype(np.int32) + 1
    density = rng.uniform(0, 1.5, labels.shape).astype(np.float32)
    together = measure(labels, density, 0.5)
    drawn = outlines(nuclei_of(labels), together["x"], together["y"])
    for i in range(24):
        alone = (labels == i + 1).astype(np.int32)
        column = measure(alone, density, 0.5)
        for name, values in together.items():
            np.testing.assert_array_equal(values[i : i + 1], column[name], err_msg=name)
        np.testing.assert_array_equal(drawn[i : i + 1], outlines(nuclei_of(alone), column["x"], column["y"]))


def test_the_decoder_is_picklable_and_imports_no_torch():
    assert pickle.loads(pickle.dumps(decoder())) == decoder()  # noqa: S301
    code = "import sys, kras_profiler_cells.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def drawn(labels: np.ndarray, words: list[int]) -> dict[str, np.ndarray]:
    """Maps of a network that knows the label map and the class of each nucleus."""
    inside = np.pad(labels, 1)
    same = np.all(
        [inside[1 + i : -1 + i or None, 1 + j : -1 + j or None] == labels for i in (-1, 0, 1) for j in (-1, 0, 1)], 0
    )
    depth = ndimage.distance_transform_edt(same & (labels > 0)) + (labels > 0)
    most = np.array([1.0, *ndimage.maximum(depth, labels, range(1, labels.max() + 1))])
    kinds = np.full((3, *labels.shape), 0.1, np.float32)
    for k in range(3):
        kinds[k][np.isin(labels, [i + 1 for i, w in enumerate(words) if w == k])] = 0.8
    return {
        "nucleus": np.where(labels > 0, 0.95, 0.02).astype(np.float32),
        "distance": (depth / most[labels]).astype(np.float32) * (labels > 0),
        "classes": kinds[:, ::2, ::2],
    }


def two_touching() -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    labels = np.zeros((64, 64), np.int32)
    labels[(x - 22) ** 2 + (y - 30) ** 2 <= 100] = 1
    labels[((x - 41) ** 2 + (y - 30) ** 2 <= 100) & (labels == 0)] = 2
    return labels


def test_touching_nuclei_are_parted_and_typed_by_their_maps():
    labels = two_touching()
    cells = decoder()(drawn(labels, [0, 1]), Tile(pixels=np.full((64, 64, 3), 120, np.uint8), mpp=0.5))
    order = np.argsort(cells.x)
    np.testing.assert_allclose(cells.x[order], [22, 41], atol=0.7)
    assert [cells.classes[i] for i in order] == ["tumor", "lymphocyte"]
    np.testing.assert_allclose(cells.columns["prob"], 0.95, atol=1e-3)


def test_a_long_nucleus_is_not_cut():
    y, x = np.mgrid[:64, :96]
    labels = (((x - 48) / 36) ** 2 + ((y - 32) / 6) ** 2 <= 1).astype(np.int32)
    cells = decoder()(drawn(labels, [2]), Tile(pixels=np.full((64, 96, 3), 120, np.uint8), mpp=0.5))
    assert cells.classes == ["fibroblast"]


def test_an_unsure_class_is_other_and_an_unsure_nucleus_is_none():
    maps = drawn(two_touching(), [0, 1])
    maps["classes"] = np.full_like(maps["classes"], 1 / 3)
    tile = Tile(pixels=np.full((64, 64, 3), 120, np.uint8), mpp=0.5)
    assert decoder()(maps, tile).classes == ["other", "other"]
    assert set(decoder(min_class_prob=0.3)(maps, tile).classes) <= {"tumor", "lymphocyte", "fibroblast"}
    maps["nucleus"] *= 0.7  # 0.665
    assert decoder()(maps, tile).classes == []
    assert len(decoder(min_prob=0.5)(maps, tile).classes) == 2


def test_the_area_limits_are_in_square_micrometres():
    labels = two_touching()  # some 300 px each: 75 µm² at 0.5 µm/px
    maps, pixels = drawn(labels, [0, 1]), np.full((64, 64, 3), 120, np.uint8)
    assert len(decoder(max_area_um2=60.0)(maps, Tile(pixels=pixels, mpp=0.5)).x) == 0
    assert len(decoder(max_area_um2=60.0)(maps, Tile(pixels=pixels, mpp=0.4)).x) == 2


def test_areas_scale_with_the_resolution():
    maps, tile = drawn(two_touching(), [0, 1]), np.full((64, 64, 3), 120, np.uint8)
    areas = [
        decoder(min_area_um2=1.0, max_area_um2=4000.0)(maps, Tile(pixels=tile, mpp=mpp)).columns["area_um2"]
        for mpp in (0.5, 0.25)
    ]
    assert areas[0] == pytest.approx(4 * areas[1])


@pytest.mark.parametrize(("stains", "tumor"), [((1.0, 1.0), 0.85), ((0.7, 0.8), 0.85), ((1.3, 1.2), 0.75)])
def test_it_finds_and_types_nuclei_on_pale_and_dark_synthetic_tissue(tmp_path, find, stains, tumor):
    """Of drawn tumor nuclei in dark stain a fifth pass for lymphocytes; real tissue does not show it (see the card)."""
    pixels, truth = synthetic(seed=3, size_um=(400, 400), stain=stains)(tmp_path)
    cells = find(pixels)
    found = np.stack([cells.x + 0.5, cells.y + 0.5], 1) * 0.5
    distance, nearest = cKDTree(found).query(np.stack([truth.x_um, truth.y_um], 1))
    assert np.mean(distance < 4) > 0.9
    assert len(found) < 1.1 * len(truth.x_um)
    known, typed = np.array(truth.classes), np.array(cells.classes)[nearest]
    for name, least in (("tumor", tumor), ("lymphocyte", 0.85), ("fibroblast", 0.85)):
        assert np.mean(typed[(known == name) & (distance < 4)] == name) > least, name


def test_typed_lymphocytes_rise_with_the_drawn_density(tmp_path, find):
    counts = []
    for density in (0.25, 1.0, 3.0):
        pixels, truth = synthetic(seed=5, size_um=(400, 400), lymphocytes=density)(tmp_path)
        counts.append((truth.classes.count("lymphocyte"), find(pixels).classes.count("lymphocyte")))
    drawn, typed = np.array(counts).T
    assert np.all(np.diff(typed) > 0)
    np.testing.assert_allclose(typed, drawn, rtol=0.2, atol=5)


def test_the_shipped_weights_are_small_and_load_strictly(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    from kras_profiler_cells.network import load

    assert plugin.WEIGHTS.stat().st_size < 8e6
    tensors = load_file(plugin.WEIGHTS)
    tensors.pop("stem.0.weight")
    save_file(tensors, tmp_path / "short.safetensors")
    with pytest.raises(RuntimeError, match="Missing key"):
        load(tmp_path / "short.safetensors")
    assert all(torch.isfinite(t.float()).all() for t in tensors.values())


def test_the_exported_network_agrees_with_torch(tmp_path, network):
    onnxruntime = pytest.importorskip("onnxruntime")
    from kras_plugins.models.export import export_onnx

    torch, module = network
    export_onnx(SPEC, tmp_path / "cells.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "cells.onnx"), providers=["CPUExecutionProvider"])
    tiles = np.random.default_rng(0).integers(0, 256, (2, *SPEC.inputs[0].shape), dtype=np.uint8)
    with torch.inference_mode():
        expected = module(torch.from_numpy(tiles))
    for ours, theirs in zip(session.run(None, {"tiles": tiles}), expected, strict=True):
        apart = np.abs(ours - theirs.numpy().astype(np.float32))
        assert ours.dtype == np.uint8 and apart.max() <= 1 and np.mean(apart) < 1e-3  # on the border of two levels


def test_the_network_rounds_as_the_decoder_rounds(network):
    torch, _ = network
    from kras_profiler_cells.maps import in_bytes
    from kras_profiler_cells.network import in_255ths

    borders = (np.arange(256, dtype=np.float32) + 0.5) / 255
    near = [np.nextafter(borders, np.float32(side)) for side in (0, 1)]
    values = np.concatenate([borders, *near, np.linspace(0, 1, 9973, dtype=np.float32)])
    np.testing.assert_array_equal(in_255ths(torch.from_numpy(values)).numpy(), in_bytes(values))


def test_levels_do_not_merge_where_the_network_computes_in_bfloat16(network):
    """bfloat16 knows 128 numbers between one half and one; 255ths are 128 levels there, and were rounded twice."""
    torch, module = network
    from kras_profiler_cells.maps import in_bytes

    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        shape, kind = module.logits(tiles)
        found = module(tiles)
    assert shape.dtype == torch.bfloat16
    expected = (*shape.float().sigmoid().unbind(1), (kind.float() / module.temperature).softmax(1))
    for ours, theirs in zip(found[:3], expected, strict=True):
        np.testing.assert_array_equal(ours.numpy(), in_bytes(theirs.numpy()))


def test_maps_of_the_network_are_bytes_and_pass_the_profiler_as_they_are(network):
    torch, module = network
    assert {t.dtype for t in SPEC.outputs} == {"uint8"}
    with torch.inference_mode():
        found = module(torch.zeros((1, 64, 64, 3), dtype=torch.uint8))
    made = {t.name: values.numpy() for t, values in zip(SPEC.outputs, found, strict=True)}
    maps = RECORD.create(RECORD.options(), {SPEC.name: lambda _: made}).predict(np.zeros((1, 64, 64, 3), np.uint8))
    assert all(maps[name] is made[name] for name in made)


def unseen(shared_data: Path):
    """The held-out fields of the training split; the training code is in the repository, not in the wheel."""
    from training.sources import first_sets

    return first_sets(shared_data / "nuclei")[1]


def test_it_finds_nuclei_it_was_not_trained_on(shared_data: Path, network):
    from training.evaluate import finder, tallies_of
    from training.fields import CLASSES, at_mpp
    from training.metrics import add, scores

    fields = [f for f in unseen(shared_data) if not f.kind.startswith("hgsc")][::3]
    find = finder(network[1])
    total = scores(add([t for f in fields for t in tallies_of(find, at_mpp(f, 0.5), None)]), CLASSES)
    print(f"nucleus F1 at IoU 0.5: {total['f1']:.3f}")
    assert total["f1"] > 0.7


def test_it_tells_lymphocytes_from_tumor_cells_it_was_not_trained_on(shared_data: Path, network):
    from training.evaluate import BLOCK, finder, tallies_of
    from training.fields import CLASSES
    from training.metrics import add, scores

    nest = next(f for f in unseen(shared_data) if f.kind == "hgsc-nest")
    total = scores(add(tallies_of(finder(network[1]), nest, BLOCK)), CLASSES)
    print(f"lymphocyte-versus-tumor F1: {total['f1 lymphocyte/tumor']:.3f}")
    assert total["f1 lymphocyte/tumor"] > 0.65

"""Synthetic slides and cohorts: what is drawn is what is reported as drawn, in a file that real readers open."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from scipy import ndimage
from scipy.spatial.distance import pdist

from kras_plugins import CELL_CLASSES, TISSUE_CLASSES, ConfigError
from kras_plugins.cohort.table import read_cohort
from kras_plugins.testing import Truth, draw_cohort, draw_slide
from kras_plugins.testing.slides import EOSIN, HAEMATOXYLIN

SIZE = (384.0, 320.0)


def pixels(path: Path) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def haematoxylin(rgb: np.ndarray) -> np.ndarray:
    """Least-squares unmixing of Beer-Lambert absorbance: the inverse of how the slides are drawn."""
    density = -np.log(np.maximum(rgb, 1) / 243.0)
    return density @ np.linalg.pinv(np.array([HAEMATOXYLIN, EOSIN]))[:, 0]


def classes(truth: Truth, name: str) -> np.ndarray:
    return np.array(truth.classes) == name


def tissue(truth: Truth, name: str) -> np.ndarray:
    return truth.tissue == TISSUE_CLASSES.index(name)


def at(coarse: np.ndarray, truth: Truth) -> np.ndarray:
    return coarse[(truth.y_um / truth.tissue_mpp).astype(int), (truth.x_um / truth.tissue_mpp).astype(int)]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    path = tmp_path_factory.mktemp("slide") / "a.tiff"
    return path, draw_slide(path, seed=5, size_um=SIZE, mpp=0.5)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.504])
def test_openslide_opens_the_pyramid_and_reads_its_mpp(tmp_path: Path, mpp: float) -> None:
    draw_slide(tmp_path / "a.tiff", seed=0, size_um=SIZE, mpp=mpp, levels=3)
    with openslide.OpenSlide(tmp_path / "a.tiff") as opened:
        assert opened.properties["openslide.vendor"] == "generic-tiff"
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(mpp, rel=1e-4)
        assert float(opened.properties["openslide.mpp-y"]) == pytest.approx(mpp, rel=1e-4)
        assert opened.dimensions == (round(SIZE[0] / mpp), round(SIZE[1] / mpp))
        assert opened.level_downsamples == pytest.approx((1, 4, 16), rel=0.02)


def test_tifffile_sees_the_same_pyramid_and_pixels(slide: tuple[Path, Truth]) -> None:
    with tifffile.TiffFile(slide[0]) as tiff:
        (series,) = tiff.series
        assert [level.shape for level in series.levels] == [(640, 768, 3), (160, 192, 3), (40, 48, 3)]
        assert all(page.is_tiled for page in tiff.pages)
        np.testing.assert_array_equal(series.asarray(), pixels(slide[0]))


def test_the_margin_is_glass_and_the_tissue_is_where_the_truth_says(slide: tuple[Path, Truth]) -> None:
    path, truth = slide
    rgb = pixels(path)
    edge = np.concatenate([rgb[:20].reshape(-1, 3), rgb[-20:].reshape(-1, 3), rgb[:, :20].reshape(-1, 3)])
    assert edge.min() > 225
    dark = ndimage.uniform_filter(rgb.astype(float).mean(2), 8)[4::8, 4::8] < 225
    said = ~tissue(truth, "background")
    assert (dark & said).sum() / (dark | said).sum() > 0.93


def test_cells_lie_in_their_tissue_and_do_not_coincide(slide: tuple[Path, Truth]) -> None:
    truth = slide[1]
    assert set(truth.classes) <= set(CELL_CLASSES)
    assert at(tissue(truth, "cancer_epithelium"), truth)[classes(truth, "tumor")].all()
    assert at(tissue(truth, "cancer_stroma"), truth)[classes(truth, "fibroblast")].all()
    assert not at(tissue(truth, "background"), truth).any()
    assert pdist(np.stack([truth.x_um, truth.y_um], axis=1)).min() > 5


def test_every_nucleus_is_stained_and_lymphocytes_most(slide: tuple[Path, Truth]) -> None:
    path, truth = slide
    amount = ndimage.uniform_filter(haematoxylin(pixels(path)), 3)
    center = amount[(truth.y_um / 0.5).astype(int), (truth.x_um / 0.5).astype(int)]
    tumor, lymphocyte = center[classes(truth, "tumor")], center[classes(truth, "lymphocyte")]
    assert (center > 0.35).mean() > 0.97
    assert np.quantile(tumor, 0.9) < np.quantile(lymphocyte, 0.1)


def test_counting_dark_round_spots_finds_the_lymphocytes(tmp_path: Path) -> None:
    truth = draw_slide(tmp_path / "a.tiff", seed=8, size_um=(640, 640), lymphocytes=1.5)
    spots, _ = ndimage.label(haematoxylin(pixels(tmp_path / "a.tiff")) > 1.15)
    area_um2 = np.bincount(spots.ravel())[1:] * 0.25
    assert (area_um2 > 10).sum() == pytest.approx(classes(truth, "lymphocyte").sum(), rel=0.08)


def test_the_density_of_lymphocytes_follows_the_argument(tmp_path: Path) -> None:
    counts = [
        Counter(draw_slide(tmp_path / "a.tiff", seed=1, size_um=(800, 800), mpp=1.0, lymphocytes=n).classes)
        for n in (0.0, 1.0, 2.5)
    ]
    assert counts[0]["lymphocyte"] == 0
    assert 1.8 < counts[2]["lymphocyte"] / counts[1]["lymphocyte"] < 2.7
    assert min(count["tumor"] for count in counts) > 200


def test_texture_coarsens_tumor_chromatin_and_leaves_lymphocytes_alone(tmp_path: Path) -> None:
    spread = {}
    for texture in (0.0, 1.0):
        truth = draw_slide(tmp_path / "a.tiff", seed=2, size_um=SIZE, texture=texture)
        amount = haematoxylin(pixels(tmp_path / "a.tiff"))
        for name in ("tumor", "lymphocyte"):
            rows, columns = ((v[classes(truth, name)] / 0.5).astype(int) for v in (truth.y_um, truth.x_um))
            cores = [amount[r - 3 : r + 4, c - 3 : c + 4].std() for r, c in zip(rows, columns, strict=True)]
            spread[name, texture] = np.median(cores)
    assert spread["tumor", 1.0] > 1.4 * spread["tumor", 0.0]
    assert spread["lymphocyte", 1.0] == pytest.approx(spread["lymphocyte", 0.0], rel=0.1)


def test_luad_has_lumina_and_lusc_has_none(tmp_path: Path) -> None:
    holes = {}
    for histology in ("LUAD", "LUSC"):
        truth = draw_slide(tmp_path / "a.tiff", seed=3, size_um=(800, 800), mpp=1.0, histology=histology)
        solid = ~tissue(truth, "background")
        holes[histology] = (ndimage.binary_fill_holes(solid) & ~solid).sum()
    assert holes["LUSC"] == 0
    assert holes["LUAD"] > 500


@pytest.mark.parametrize(("pen", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_pen_stroke_has_its_color_and_its_place(tmp_path: Path, pen: str, channel: int) -> None:
    truth = draw_slide(tmp_path / "a.tiff", seed=4, size_um=SIZE, mpp=1.0, pen=pen)
    inked = np.repeat(np.repeat(ndimage.binary_erosion(truth.pen), 4, 0), 4, 1)
    rgb = pixels(tmp_path / "a.tiff")[inked[:320, :384]].astype(int)
    assert len(rgb) > 500
    assert (rgb.argmax(axis=1) == channel).mean() > 0.97
    assert not draw_slide(tmp_path / "b.tiff", seed=4, size_um=SIZE, mpp=1.0).pen.any()


def test_defocus_blurs_only_its_share_of_the_width(tmp_path: Path) -> None:
    sharpness = []
    for blur_um in (0.0, 3.0):
        draw_slide(tmp_path / "a.tiff", seed=4, size_um=SIZE, blur_um=blur_um, blur_share=0.5)
        edges = np.abs(ndimage.laplace(pixels(tmp_path / "a.tiff").mean(2)))
        sharpness.append((edges[:, 100:370].mean(), edges[:, 400:668].mean()))
    assert sharpness[1][0] < 0.4 * sharpness[0][0]
    assert sharpness[1][1] == pytest.approx(sharpness[0][1], rel=0.02)


def test_a_stronger_stain_absorbs_proportionally_more(tmp_path: Path) -> None:
    amounts = []
    for stain in ((1.0, 1.0), (1.3, 1.0)):
        draw_slide(tmp_path / "a.tiff", seed=6, size_um=SIZE, stain=stain)
        amounts.append(haematoxylin(pixels(tmp_path / "a.tiff")).mean())
    assert amounts[1] / amounts[0] == pytest.approx(1.3, rel=0.05)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        draw_slide(tmp_path / f"{name}.tiff", seed=seed, size_um=SIZE, pen="black")
    first, second, third = ((tmp_path / f"{name}.tiff").read_bytes() for name in "abc")
    assert first == second
    assert first != third


@pytest.mark.parametrize("size", [(32.0, 32.0), (33.3, 71.7)])
def test_the_smallest_slides_are_drawn_too(tmp_path: Path, size: tuple[float, float]) -> None:
    truth = draw_slide(tmp_path / "a.tiff", seed=0, size_um=size, lymphocytes=0, levels=1)
    assert pixels(tmp_path / "a.tiff").shape == (round(size[1] / 0.5), round(size[0] / 0.5), 3)
    assert len(truth.classes) == len(truth.x_um)


@pytest.mark.parametrize(
    "wrong", [{"histology": "SCLC"}, {"pen": "pink"}, {"size_um": (10, 10)}, {"lymphocytes": -1}, {"levels": 0}]
)
def test_what_cannot_be_drawn_is_refused_and_leaves_no_file(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ConfigError):
        draw_slide(tmp_path / "a.tiff", seed=0, **wrong)
    assert not list(tmp_path.iterdir())


SMALL = {"patients": 26, "size_um": (128.0, 96.0), "seed": 3}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_cohort(tmp_path_factory.mktemp("cohort"), **SMALL, processes=2)


def test_a_cohort_reads_back_with_its_classes_sites_and_histologies(cohort: Path) -> None:
    table = read_cohort(cohort)
    assert table.flow["patients"] == 26
    assert table.flow["positive"] == 10
    assert not table.warnings
    assert Counter(patient.histology for patient in table.patients) == {"LUAD": 20, "LUSC": 6}
    assert all(patient.histology == "LUAD" for patient in table.patients if patient.label)
    assert len({patient.site for patient in table.patients if patient.label}) >= 5
    assert Counter(len(patient.slides) for patient in table.patients) == {1: 23, 2: 3}
    assert all(slide.path.exists() and slide.mpp == 0.5 for p in table.patients for slide in p.slides)
    drawn = json.loads((cohort.parent / "drawn.json").read_text())
    assert [slide["pen"] for slide in drawn].count("blue") == 1


def test_a_cohort_has_the_same_bytes_whoever_draws_it(cohort: Path, tmp_path: Path) -> None:
    again = draw_cohort(tmp_path / "new" / "folder", **SMALL, processes=1)
    names = sorted(path.relative_to(cohort.parent) for path in cohort.parent.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(again.parent) for p in again.parent.rglob("*") if p.is_file())
    assert all((cohort.parent / name).read_bytes() == (again.parent / name).read_bytes() for name in names)


def test_an_interrupted_cohort_goes_on_where_it_stopped(tmp_path: Path) -> None:
    few = {**SMALL, "patients": 6, "processes": 1}
    table = draw_cohort(tmp_path, **few)
    slides = sorted((tmp_path / "slides").iterdir())
    whole = {path: path.read_bytes() for path in [*slides, table]}
    table.unlink()
    slides[2].unlink()
    before = {path: path.stat().st_mtime_ns for path in slides if path.exists()}
    draw_cohort(tmp_path, **few)
    assert {path: path.read_bytes() for path in whole} == whole
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_slides_drawn_with_other_values_are_drawn_anew(tmp_path: Path) -> None:
    few = {**SMALL, "patients": 6, "processes": 1}
    draw_cohort(tmp_path, **few, signal=1.0)
    first = {path.name: path.read_bytes() for path in (tmp_path / "slides").iterdir()}
    draw_cohort(tmp_path, **few, signal=0.0)
    changed = {name for name in first if (tmp_path / "slides" / name).read_bytes() != first[name]}
    positive = {s.slide_id for p in read_cohort(tmp_path / "cohort.csv").patients if p.label for s in p.slides}
    assert positive <= {Path(name).stem for name in changed}


def planted(folder: Path, monkeypatch: pytest.MonkeyPatch, **arguments: object) -> tuple[np.ndarray, ...]:
    """What draw_cohort plants, without drawing: texture, log lymphocytes and labels of patients with LUAD."""
    monkeypatch.setattr("kras_plugins.testing.cohort.draw_slide", lambda *_, **__: None)
    table = read_cohort(draw_cohort(folder, processes=1, **arguments))
    drawn = {Path(slide["file"]).stem: slide for slide in json.loads((folder / "drawn.json").read_text())}
    luad = [patient for patient in table.patients if patient.histology == "LUAD"]
    values = [drawn[patient.slides[0].slide_id] for patient in luad]
    texture, crowd = (np.array([value[key] for value in values]) for key in ("texture", "lymphocytes"))
    return texture, np.log(crowd), np.array([patient.label for patient in luad])


def test_the_signal_parts_the_classes_and_without_it_they_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for signal, low, high in ((1.0, 0.97, 1.0), (0.0, 0.4, 0.6)):
        texture, crowd, label = planted(tmp_path / str(signal), monkeypatch, patients=400, signal=signal)
        for values in (texture, crowd):
            auroc = (values[label == 1][:, None] > values[label == 0]).mean()
            assert low <= auroc <= high


def test_the_signal_changes_nothing_in_the_negatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weak, _, label = planted(tmp_path / "a", monkeypatch, patients=60, signal=0.0)
    strong, _, same = planted(tmp_path / "b", monkeypatch, patients=60, signal=2.0)
    np.testing.assert_array_equal(label, same)
    np.testing.assert_allclose(strong - weak, 2.5 * label, atol=2e-4)


@pytest.mark.parametrize("positives", [0, 30, 31])
def test_a_cohort_without_both_classes_in_luad_is_refused(tmp_path: Path, positives: int) -> None:
    with pytest.raises(ConfigError, match="positives"):
        draw_cohort(tmp_path / "c", patients=40, positives=positives)
    assert not (tmp_path / "c").exists()

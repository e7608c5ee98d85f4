"""Extractor h5 over other people's files: units of STAMP, strides that contradict sizes, groups, links, damage."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from kras_plugins.bags import write_bag
from kras_plugins.data import Bag, SlideRef, TileSpec
from kras_plugins.errors import SlideError
from kras_plugins.host.manager import discover
from kras_plugins.host.notes import noted

H5 = discover().find("extractor", "h5").record
GRID = np.array([[x, y] for y in range(4) for x in range(6)], np.float64)
FEATURES = np.random.default_rng(0).standard_normal((len(GRID), 8)).astype(np.float32)


def load(folder: Path, slide_id: str = "s", slide_mpp: float | None = 0.25, **options: object) -> Bag:
    bag = H5.load(SlideRef(patient_id="p", slide_id=slide_id, mpp=slide_mpp), H5.options(folder=folder, **options))
    assert isinstance(bag, Bag)
    return bag


def write(file: Path, coords: np.ndarray, name: str = "features", features: object = FEATURES, **attrs: object) -> Path:
    with h5py.File(file, "w") as f:
        f[name], f["coords"] = features, coords
        f.attrs.update(attrs)
    return file


def ours(file: Path, slide_id: str) -> Path:
    write_bag(
        file,
        Bag(
            slide_id=slide_id, features=FEATURES, xy=(GRID * 448).astype(np.int32), size=(448.0, 448.0),
            tile_spec=TileSpec(px=224, mpp=0.5), encoder="e", transform_hash="t",
        ),
    )  # fmt: skip
    return file


# STAMP


def test_stamp_2_states_its_tiles_in_micrometers(shared_cases: Path) -> None:
    bag = load(shared_cases / "bags", "stamp20", slide_mpp=0.5)
    assert (bag.tile_spec.px, bag.tile_spec.mpp) == (224, pytest.approx(1.143, abs=0.001))
    assert bag.size == (512, 512)
    assert bag.xy[:3].tolist() == [[0, 0], [512, 0], [1024, 0]]


@pytest.mark.parametrize("attrs", [{}, {"tile_size": 224}])
def test_historic_stamp_counts_in_pixels_of_its_tiles(tmp_path: Path, attrs: dict[str, object]) -> None:
    write(tmp_path / "s.h5", GRID * 224, "feats", extractor="ctp", **attrs)
    bag = load(tmp_path)
    assert (bag.tile_spec.px, bag.tile_spec.mpp, bag.size) == (224, 256 / 224, (1024, 1024))
    np.testing.assert_array_equal(bag.xy, GRID * 1024)


def test_stamp_of_other_tiles_is_taken_as_stated(tmp_path: Path) -> None:
    write(tmp_path / "s.h5", GRID * 128, "feats", extractor="u", unit="um", tile_size_um=128.0, tile_size_px=256)
    assert load(tmp_path).tile_spec == TileSpec(px=256, mpp=0.5)
    write(tmp_path / "s.h5", GRID * 128, "feats", extractor="u", unit="um", tile_size=128.0)
    assert load(tmp_path, px=256).tile_spec == TileSpec(px=256, mpp=0.5)


# Stride


@pytest.mark.parametrize(("step", "attrs"), [(128, {"unit": "um", "tile_size_um": 256.0}), (256, {}), (224, {})])
def test_tiles_that_would_not_lie_side_by_side_are_refused_with_the_numbers(
    tmp_path: Path, step: int, attrs: dict[str, object]
) -> None:
    write(tmp_path / "s.h5", GRID * step, **attrs)
    with pytest.raises(SlideError, match=rf"tiles are {step} .* apart but would be \d+ .* wide") as e:
        load(tmp_path, px=224, mpp=0.5, encoder="e")
    assert "overlap" in e.value.hint


def test_tiles_that_overlap_are_read_where_it_is_said(tmp_path: Path) -> None:
    write(tmp_path / "s.h5", GRID * 224)
    bag = load(tmp_path, px=224, mpp=0.5, encoder="e", overlap=112)
    assert bag.size == (448, 448)
    write(tmp_path / "s.h5", GRID * 224, overlap=112, patch_size_level0=448)
    np.testing.assert_array_equal(load(tmp_path, px=224, mpp=0.5, encoder="e").xy, GRID * 224)


def test_gaps_and_contours_with_grids_of_their_own_say_nothing_against_a_size(tmp_path: Path) -> None:
    one, two = GRID[[0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15]], GRID[12:]
    write(tmp_path / "s.h5", np.concatenate([one * 448.5, two * 448.5 + [7000, 13]]).round()[: len(GRID)])
    assert load(tmp_path, px=224, mpp=0.5, encoder="e").size == (448, 448)


def test_a_cohort_that_contradicts_the_file_is_told_so(tmp_path: Path) -> None:
    write(tmp_path / "s.h5", GRID * 448, patch_size=224, patch_size_level0=448, target_magnification=20, encoder="e")
    assert load(tmp_path, slide_mpp=0.2325).tile_spec.mpp == 0.5
    with pytest.raises(SlideError, match=r"448 px of level 0 wide, 224 µm by the cohort's mpp 0\.5, but 112 µm"):
        load(tmp_path, slide_mpp=0.5)


def test_the_hint_proposes_what_the_stride_says(tmp_path: Path) -> None:
    write(tmp_path / "s.h5", GRID * 1024)
    with pytest.raises(SlideError, match="does not state its tile size") as e:
        load(tmp_path)
    assert "mpp=1.143" in e.value.hint


# Damage


def test_a_group_where_a_data_set_is_wanted_is_named(shared_cases: Path) -> None:
    with pytest.raises(SlideError, match=r"group\.h5: `features` is a group \(of uni_v1\)"):
        load(shared_cases / "bags", "group", px=256, mpp=0.5, encoder="e")


def test_what_is_no_table_of_numbers_is_named(tmp_path: Path) -> None:
    other = write(tmp_path / "other.h5", GRID * 448)
    with h5py.File(tmp_path / "s.h5", "w") as f:
        f["coords"] = GRID
        for put, message in (
            (lambda: f.create_dataset("features", data=["a"] * len(GRID)), "contains object, not numbers"),
            (lambda: f.__setitem__("features", h5py.ExternalLink(other.name, "features")), "is a link"),
            (lambda: f.__setitem__("features", h5py.SoftLink("/coords")), "is a link"),
            (lambda: f.create_dataset("features", (24, 8), "f4", external=[(str(other), 0, 768)]), "in other files"),
            (lambda: f.create_dataset("features", data=FEATURES[:0]), "do not match"),
            (lambda: f.create_dataset("features", data=np.float32(3)), "do not match"),
        ):
            put()
            f.flush()
            with pytest.raises(SlideError, match=message) as e:
                load(tmp_path, px=224, mpp=0.5, encoder="e")
            assert "s.h5" in e.value.message
            del f["features"]


@pytest.mark.parametrize("value", ["large", -224.0, 0.0, np.nan])
def test_a_stated_number_that_is_none_is_named(tmp_path: Path, value: object) -> None:
    write(tmp_path / "s.h5", GRID * 448, patch_size=value, encoder="e")
    with pytest.raises(SlideError, match=r"s\.h5: states patch_size="):
        load(tmp_path)


def test_places_beyond_any_slide_are_named(tmp_path: Path) -> None:
    write(tmp_path / "s.h5", GRID * 1e9, patch_size=224, patch_size_level0=1e9, mpp=0.5, encoder="e")
    with pytest.raises(SlideError, match=r"s\.h5: coords reach 5e\+09"):
        load(tmp_path, slide_mpp=None)


def test_a_bag_of_ours_that_was_damaged_is_set_aside(tmp_path: Path) -> None:
    for damage, message in (
        (lambda f: f.__delitem__("features"), "features"),
        (lambda f: (f.__delitem__("features"), f.create_group("features")), "is a group"),
        (lambda f: (f.__delitem__("coords"), f.create_dataset("coords", data=GRID[:3])), "do not match"),
        (lambda f: f.attrs.__delitem__("mpp"), "mpp"),
        (lambda f: f.attrs.__setitem__("mpp", np.nan), "no size of tiles"),
        (lambda f: f["features"].__setitem__((3, 2), np.nan), "NaN or infinity"),
    ):
        with h5py.File(ours(tmp_path / "s.h5", "s"), "r+") as f:
            damage(f)
        with pytest.raises(SlideError, match=rf"s\.h5: .*{message}"):
            load(tmp_path)
    ours(tmp_path / "s.h5", "s").write_bytes((tmp_path / "s.h5").read_bytes()[:900])
    with pytest.raises(SlideError, match=r"s\.h5: not a readable HDF5 file"):
        load(tmp_path)


def test_a_bag_of_ours_saved_again_in_half_precision_is_read_as_numbers(tmp_path: Path) -> None:
    with h5py.File(ours(tmp_path / "s.h5", "s"), "r+") as f:
        del f["features"]
        f["features"] = FEATURES.astype(np.float16)
    np.testing.assert_allclose(load(tmp_path).features, FEATURES, rtol=1e-3, atol=1e-3)


# Which file


def test_a_bag_is_found_by_what_it_states_and_by_its_name(tmp_path: Path) -> None:
    ours(tmp_path / "a.h5", "b")
    ours(tmp_path / "b.h5", "a")
    ours(tmp_path / "renamed.h5", "old name")
    assert load(tmp_path, "a").slide_id == "a"
    with noted(lambda _: None) as notes:
        assert load(tmp_path, "renamed").slide_id == "renamed"
    assert notes == ["renamed.h5 states slide old name; by its name it is used for slide renamed"]
    with pytest.raises(SlideError, match=r"no such feature file.*there are a\.h5, b\.h5, renamed\.h5"):
        load(tmp_path, "c")
    ours(tmp_path / "copy.h5", "a")
    with pytest.raises(SlideError, match=r"b\.h5 \(which states a\) and copy\.h5 \(which states a\) both belong"):
        load(tmp_path, "a")


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.h5")
    with pytest.raises(SlideError, match="is a pipe"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("coords", "message"),
    [(GRID * 0, "all .* tiles lie at one place"), (GRID * 224 - 1000, "negative, down to -1000")],
)
def test_places_that_no_tiles_have_are_refused(tmp_path: Path, coords: np.ndarray, message: str) -> None:
    write(tmp_path / "s.h5", coords, encoder="e")
    with pytest.raises(SlideError, match=message):
        load(tmp_path, px=224, mpp=0.5)


def test_more_numbers_than_a_file_can_hold_are_not_waited_for(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as f:
        f.create_dataset("features", (10**7, 1024), "f4", chunks=(1, 1024))
        f["coords"] = GRID * 224
    with pytest.raises(SlideError, match="more than so small a file contains"):
        load(tmp_path, encoder="e", px=224, mpp=0.5)


# Vectors of whole slides


def vector_file(file: Path, features: np.ndarray, coords: np.ndarray | None = None, **attrs: object) -> Path:
    with h5py.File(file, "w") as f:
        f["features"] = features
        if coords is not None:
            f["coords"] = coords
        f.attrs.update(attrs)
    return file


@pytest.mark.parametrize(
    ("features", "coords", "attrs"),
    [
        (FEATURES[0], GRID * 512, {}),  # TRIDENT: the vector beside the places of its tiles
        (FEATURES[0], GRID[0] * 512, {}),  # and of a single one, whose axis it squeezes away
        (FEATURES[:1], None, {}),
        (FEATURES[:1], GRID[:1], {"feat_type": "slide"}),
    ],
    ids=["trident", "trident-one", "no-places", "stated"],
)
def test_a_vector_of_the_whole_slide_is_a_bag_of_one_row_without_a_place(
    tmp_path: Path, features: np.ndarray, coords: np.ndarray | None, attrs: dict[str, object]
) -> None:
    vector_file(tmp_path / "s.h5", features, coords, **attrs)
    with noted(lambda text: pytest.fail(f"noted: {text}")):
        bag = load(tmp_path, slide_mpp=None, encoder="titan")
    np.testing.assert_array_equal(bag.features, FEATURES[:1])
    assert (bag.placed, bag.xy.tolist(), bag.size, bag.encoder) == (False, [[0, 0]], (0.0, 0.0), "titan")
    write_bag(tmp_path / "again.h5", bag)
    again = load(tmp_path, "again")
    assert (again.placed, again.transform_hash) == (False, bag.transform_hash)
    np.testing.assert_array_equal(again.features, bag.features)


def test_a_tile_with_a_place_is_no_vector_of_the_slide_and_rows_need_places(tmp_path: Path) -> None:
    vector_file(tmp_path / "s.h5", FEATURES[:1], GRID[:1] * 512)
    assert load(tmp_path, encoder="e", px=224, mpp=0.5).placed
    vector_file(tmp_path / "s.h5", FEATURES)
    with pytest.raises(SlideError, match="no `features` .* with `coords`"):
        load(tmp_path, encoder="e", px=224, mpp=0.5)
    vector_file(tmp_path / "s.h5", FEATURES[:1], GRID * 512)
    with pytest.raises(SlideError, match="do not match coords"):
        load(tmp_path, encoder="e", px=224, mpp=0.5)


def test_a_vector_without_encoder_or_of_no_finite_numbers_is_refused(tmp_path: Path) -> None:
    vector_file(tmp_path / "s.h5", FEATURES[0])
    with pytest.raises(SlideError, match="does not say which encoder made it") as e:
        load(tmp_path)
    assert "extractor.h5.encoder" in e.value.hint
    vector_file(tmp_path / "s.h5", FEATURES[0] * np.nan)
    with pytest.raises(SlideError, match="NaN or infinite"):
        load(tmp_path, encoder="titan")
    vector_file(tmp_path / "s.h5", FEATURES[0], encoder="prism", extractor="virchow")
    assert load(tmp_path).encoder == "prism"


def test_a_bag_of_our_own_without_tiles_is_told(tmp_path: Path) -> None:
    ours(tmp_path / "s.h5", "s")
    with h5py.File(tmp_path / "s.h5", "r+") as f:
        for name in ("features", "coords"):
            facts, empty = dict(f[name].attrs), f[name][:0]
            del f[name]
            f.create_dataset(name, data=empty).attrs.update(facts)
    with pytest.raises(SlideError, match=r"s\.h5: contains no tiles"):
        load(tmp_path)


def test_a_bag_of_our_own_that_states_more_than_a_file_of_its_size_holds_takes_no_memory(tmp_path: Path) -> None:
    ours(tmp_path / "s.h5", "s")
    with h5py.File(tmp_path / "s.h5", "r+") as f:
        facts = dict(f["coords"].attrs)
        del f["features"], f["coords"]
        f.create_dataset("features", (10**8, 1024), "f4", chunks=(1000, 1024))
        f.create_dataset("coords", (10**8, 2), "i4", chunks=(1000, 2)).attrs.update(facts)
    with pytest.raises(SlideError, match=r"s\.h5: .*more than so small a file holds"):
        load(tmp_path)

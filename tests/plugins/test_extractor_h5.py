"""Extractor h5: the dialects of the field."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from kras_plugins.bags import read_bag, write_bag
from kras_plugins.data import Bag, SlideRef, TileSpec
from kras_plugins.errors import SlideError
from kras_plugins.host.manager import discover

H5 = discover().find("extractor", "h5").record
FEATURES = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
COORDS = np.array([[0, 0], [448, 0], [896, 0], [0, 448], [448, 448]])


def load(folder: Path, **options: object):  # type: ignore[no-untyped-def]
    return H5.load(SlideRef(patient_id="p", slide_id="s"), H5.options(folder=folder, **options))


def test_a_bag_of_our_own_comes_back_whole_and_mapped(tmp_path: Path) -> None:
    spec = TileSpec(px=224, mpp=0.4992)
    ours = Bag(
        slide_id="s", features=FEATURES, xy=COORDS.astype(np.int32), size=(448.5, 447.5),
        tile_spec=spec, encoder="vit/abc", transform_hash="0123",
    )  # fmt: skip
    write_bag(tmp_path / "s.h5", ours)
    for bag in (read_bag(tmp_path / "s.h5"), load(tmp_path)):
        np.testing.assert_array_equal(bag.features, FEATURES)
        np.testing.assert_array_equal(bag.xy, COORDS)
        assert (bag.size, bag.tile_spec, bag.encoder, bag.transform_hash) == ((448.5, 447.5), spec, "vit/abc", "0123")
        assert not bag.features.flags.owndata and not bag.features.flags.writeable


def test_trident_files_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as f:
        f["features"] = FEATURES[None]
        f["features"].attrs["encoder"] = "conch_v15"
        f["coords"] = COORDS[None]
        f["coords"].attrs.update({"patch_size": 224, "patch_size_level0": 448, "target_magnification": 20})
    bag = load(tmp_path)
    np.testing.assert_array_equal(bag.features, FEATURES)
    np.testing.assert_array_equal(bag.xy, COORDS)
    assert (bag.size, bag.tile_spec.mpp, bag.encoder) == ((448, 448), 0.5, "conch_v15")


def test_clam_files_need_what_they_do_not_state(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as f:
        f["features"], f["coords"] = FEATURES, COORDS
    with pytest.raises(SlideError, match="does not state its tile size"):
        load(tmp_path)
    with pytest.raises(SlideError, match="which encoder"):
        load(tmp_path, px=224, mpp=0.5)
    bag = load(tmp_path, px=224, mpp=0.5, encoder="resnet50")
    assert (bag.size, bag.encoder) == ((448, 448), "resnet50")


def test_stamp_files_in_micrometers_become_level0_pixels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as f:
        f["feats"], f["coords"] = FEATURES.astype(np.float16), COORDS * 0.25
        f.attrs.update({"extractor": "uni2", "unit": "um", "tile_size_um": 112.0, "tile_size_px": 224})
    ref = SlideRef(patient_id="p", slide_id="s", mpp=0.25)
    bag = H5.load(ref, H5.options(folder=tmp_path))
    np.testing.assert_array_equal(bag.xy, COORDS)
    assert (bag.tile_spec.mpp, bag.size, bag.features.dtype) == (0.5, (448, 448), np.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": FEATURES}, "no `features`"),
        ({"features": FEATURES, "coords": COORDS[:3]}, "do not match"),
        ({"features": FEATURES * np.nan, "coords": COORDS}, "NaN"),
    ],
)
def test_a_wrong_file_is_set_aside_with_its_cause(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as f:
        for name, value in content.items():
            f[name] = value
    with pytest.raises(SlideError, match=message) as e:
        load(tmp_path, px=224, mpp=0.5, encoder="x")
    assert "s.h5" in e.value.message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("features", FEATURES > 0, "contains bool, not numbers"),
        ("features", h5py.SoftLink("/coords"), "is a link"),
        ("features", COORDS, "contains int"),
        ("coords", np.where(COORDS > 0, COORDS, -448), "coords are negative, down to -448"),
        ("coords", COORDS * np.nan, "`coords` contains float"),
        ("coords", COORDS + (1 << 32), "beyond any slide"),
        ("coords", np.zeros_like(COORDS), "tiles lie at one place"),
    ],
    ids=["bools", "link", "whole-numbers", "negative", "nan", "far", "one-place"],
)
def test_a_bag_of_our_own_that_somebody_changed_is_set_aside(
    tmp_path: Path, name: str, content: object, message: str
) -> None:
    ours = Bag(
        slide_id="s", features=FEATURES, xy=COORDS.astype(np.int32), size=(448.0, 448.0),
        tile_spec=TileSpec(px=224, mpp=0.5), encoder="vit/abc", transform_hash="0123",
    )  # fmt: skip
    write_bag(tmp_path / "s.h5", ours)
    with h5py.File(tmp_path / "s.h5", "r+") as f:
        facts = dict(f[name].attrs)
        del f[name]
        f[name] = content
        if not isinstance(content, h5py.SoftLink):
            f[name].attrs.update(facts)
    with pytest.raises(SlideError, match=message) as e:
        load(tmp_path)
    assert "s.h5" in e.value.message and e.value.hint


def test_a_missing_or_damaged_file_is_set_aside(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no such feature file"):
        load(tmp_path)
    (tmp_path / "s.h5").write_bytes(b"not hdf5")
    with pytest.raises(SlideError, match="not a readable HDF5"):
        load(tmp_path)


def test_two_encoders_never_look_alike(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as f:
        f["features"], f["coords"] = FEATURES, COORDS
    a, b = (load(tmp_path, px=224, mpp=0.5, encoder=e) for e in ("a", "b"))
    assert a.transform_hash != b.transform_hash

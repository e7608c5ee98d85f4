"""Other people's networks in the profiler `cells`: conventions, class names, HoVer maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kras_profiler_cells as plugin
from kras_plugins import CELL_COLUMNS, BackendError, ConfigError, PluginError, Tile
from kras_plugins.models.export import export_onnx
from kras_profiler_cells import decode
from kras_profiler_cells.nuclei import nuclei_of, sums
from kras_profiler_cells.profiler import Cells
from kras_profiler_cells.runs import runs_of

onnx = pytest.importorskip("onnx")
RECORD = next(iter(plugin.kras_profilers()))
NAMES = ("background", "neoplastic", "inflammatory", "dead")
OURS = {"neoplastic": "tumor", "inflammatory": "lymphocyte", "dead": "other"}
SIDE = 64


def write(
    file: Path,
    outputs: dict[str, list],
    *,
    names: tuple[str, ...] = NAMES,
    side: int | str = SIDE,
    dtype: str = "UINT8",
    levels: bool = False,
) -> Path:
    """A network whose maps are plain arithmetic on the pixels; where `levels`, they come in 255ths as uint8.

    Red is the nucleus' probability, green its distance map, and the classes are red shared out by blue: where blue is
    above one half it is `neoplastic`, else `inflammatory`.
    """
    from onnx import TensorProto, helper

    h = [side, side]
    kind = getattr(TensorProto, dtype)
    nodes = [
        helper.make_node("Cast", ["tiles"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["unit"]),
        helper.make_node("Split", ["unit"], ["r", "g", "b"], axis=3, num_outputs=3),
        *(
            helper.make_node("Squeeze", [c, "last"], [name])
            for c, name in zip("rg", ("nucleus", "distance"), strict=True)
        ),
        helper.make_node("Concat", ["r", "g"], ["both"], axis=3),
        helper.make_node("Mul", ["both", "two"], ["twice"]),
        helper.make_node("Sub", ["twice", "one"], ["signed"]),
        helper.make_node("Transpose", ["signed"], ["hv"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["one", "r"], ["nothing"]),
        helper.make_node("Mul", ["r", "b"], ["tumor"]),
        helper.make_node("Sub", ["r", "tumor"], ["immune"]),
        helper.make_node("Mul", ["r", "zero"], ["dead"]),
        helper.make_node("Concat", ["nothing", "tumor", "immune", "dead"], ["stack"], axis=3),
        helper.make_node("Transpose", ["stack"], ["classes"], perm=[0, 3, 1, 2]),
        helper.make_node("Identity", ["nucleus"], ["mystery"]),
    ]
    if levels:
        nodes += [
            node
            for o in outputs
            for node in (
                helper.make_node("Mul", [o, "top"], [f"{o}_scaled"]),
                helper.make_node("Round", [f"{o}_scaled"], [f"{o}_rounded"]),
                helper.make_node("Cast", [f"{o}_rounded"], [f"{o}_levels"], to=TensorProto.UINT8),
            )
        ]
        for node in nodes:  # the maps take the names of what they were made of
            for names_ in (node.input, node.output):
                names_[:] = [{**{o: f"{o}_unit" for o in outputs}, **{f"{o}_levels": o for o in outputs}}.get(n, n)
                             for n in names_]  # fmt: skip
    constants = [
        helper.make_tensor("top", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("last", TensorProto.INT64, [1], [3]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("tiles", kind, ["n", *h, 3])],
        [
            helper.make_tensor_value_info(o, TensorProto.UINT8 if levels else TensorProto.FLOAT, ["n", *shape])
            for o, shape in outputs.items()
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    if names:
        helper.set_model_props(model, {"class_names": ", ".join(names)})
    onnx.save(model, str(file))
    return file


S = [SIDE, SIDE]
CONVENTION = {"nucleus": S, "distance": S, "classes": [4, *S]}


def options(file: Path, **more):
    return RECORD.options(model=str(file), **{"class_names": OURS, "halo_px": 8, **more})


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "toy.onnx", CONVENTION)


def two_cells() -> np.ndarray:
    """Pixels the toy network reads as a tumor nucleus beside a lymphocyte."""
    y, x = np.mgrid[:SIDE, :SIDE]
    left, right = (np.hypot(x - cx, y - 32) for cx in (22.5, 41.5))
    own = np.minimum(left, right)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[..., 0] = np.where(own <= 9.5, 240, 5)
    pixels[..., 1] = np.clip(1 - own / 10.5, 0, 1) * 255
    pixels[..., 2] = np.where(left < right, 230, 20)
    return pixels


def test_the_file_says_what_tile_and_classes_it_has(model):
    o = options(model, mpp=0.25)
    tile = RECORD.tile(o)
    assert (tile.px, tile.mpp, tile.halo_px) == (SIDE - 16, 0.25, 8)
    (spec,) = RECORD.models(o)
    assert spec.inputs[0].shape == (SIDE, SIDE, 3) and spec.inputs[0].dtype == "uint8"
    assert {t.name: t.shape for t in spec.outputs} == {k: tuple(v) for k, v in CONVENTION.items()}
    assert spec.weights.source == str(model.resolve())
    assert RECORD.provides(o) == {"tumor", "lymphocyte", "other", *CELL_COLUMNS}


def test_outputs_keep_the_order_of_the_file(tmp_path):
    turned = {k: CONVENTION[k] for k in ("classes", "distance", "nucleus")}
    (spec,) = RECORD.models(options(write(tmp_path / "turned.onnx", turned)))
    assert [t.name for t in spec.outputs] == list(turned)


@pytest.mark.parametrize("levels", [False, True], ids=["float32", "uint8"])
@pytest.mark.parametrize("outputs", [("nucleus", "distance", "classes"), ("distance", "classes")])
def test_an_onnx_file_runs_through_the_local_backend(tmp_path, monkeypatch, outputs, levels):
    from kras_backend_local import LocalOptions, create

    monkeypatch.setenv("KRAS_CACHE", str(tmp_path / "store"))
    o = options(write(tmp_path / "toy.onnx", {k: CONVENTION[k] for k in outputs}, levels=levels), min_prob=0.5)
    (spec,) = RECORD.models(o)
    assert {t.dtype for t in spec.outputs} == {"uint8" if levels else "float32"}
    backend = create(LocalOptions(device="cpu", precision="f32", threads=1))
    profiler = RECORD.create(o, {spec.name: backend.load(spec)})
    pixels = two_cells()
    maps = {k: v[0] for k, v in profiler.predict(pixels[None]).items()}
    cells = profiler.decode(maps, Tile(pixels=pixels, mpp=0.5))
    order = np.argsort(cells.x)
    np.testing.assert_allclose(cells.x[order], [22.5, 41.5], atol=0.5)
    assert [cells.classes[i] for i in order] == ["tumor", "lymphocyte"]
    np.testing.assert_allclose(cells.columns["area_um2"], np.pi * 9.5**2 / 4, rtol=0.1)


def test_hover_maps_have_a_sign_and_are_refused_in_bytes(tmp_path):
    file = write(tmp_path / "toy.onnx", {"hv": [2, *S], "classes": [4, *S]}, levels=True)
    (spec,) = RECORD.models(options(file))
    with pytest.raises(PluginError, match=r"output 'hv' is uint8.*expected is float32"):
        export_onnx(spec, tmp_path / "model.onnx")


def test_class_names_may_come_from_the_options(tmp_path):
    file = write(tmp_path / "bare.onnx", CONVENTION, names=())
    with pytest.raises(ConfigError, match="4 channels, 0 names"):
        RECORD.models(options(file))
    assert "tumor" in RECORD.provides(options(file, classes=NAMES))
    with pytest.raises(ConfigError, match="4 channels, 3 names"):
        RECORD.models(options(file, classes=NAMES[:3], class_names={k: OURS[k] for k in NAMES[1:3]}))


def test_unmapped_classes_are_listed(model):
    with pytest.raises(ConfigError, match="inflammatory, dead") as e:
        RECORD.models(options(model, class_names={"neoplastic": "tumor"}))
    assert "lymphocyte" in e.value.hint
    with pytest.raises(ConfigError, match="neoplastic -> cancer"):
        RECORD.provides(options(model, class_names={**OURS, "neoplastic": "cancer"}))
    with pytest.raises(ConfigError, match="maps stroma"):
        RECORD.tile(options(model, class_names={**OURS, "stroma": "fibroblast"}))


@pytest.mark.parametrize(
    ("outputs", "names", "match"),
    [
        ({"nucleus": S, "distance": S}, NAMES, "no output `classes`"),
        ({"nucleus": S, "classes": [4, *S]}, NAMES, "neither an output `distance` nor `hv`"),
        ({"distance": S, "classes": [4, *S]}, ("a", *NAMES[1:]), "neither an output `nucleus` nor"),
        ({**CONVENTION, "mystery": S}, NAMES, "mystery"),
        ({**CONVENTION, "nucleus": [1, *S]}, NAMES, r"'nucleus' is \(1, 64, 64\), expected \(64, 64\)"),
        ({**CONVENTION, "hv": [3, *S]}, NAMES, r"'hv' is \(3, 64, 64\), expected \(2, 64, 64\)"),
        ({**CONVENTION, "classes": [4, 60, 60]}, NAMES, "not a whole part"),
    ],
)
def test_a_file_off_the_conventions_is_refused(tmp_path, outputs, names, match):
    o = options(write(tmp_path / "odd.onnx", outputs, names=names), class_names={**OURS, "a": "other"})
    if names == NAMES:
        o = options(tmp_path / "odd.onnx")
    with pytest.raises(ConfigError, match=match):
        RECORD.models(o)


def test_a_width_that_px_and_halo_do_not_make_is_refused(model):
    assert RECORD.tile(options(model, px=48)).px == 48
    with pytest.raises(ConfigError, match="64 pixels wide"):
        RECORD.tile(options(model, px=256))


def test_a_file_of_any_width_takes_px_and_halo(tmp_path):
    file = write(
        tmp_path / "any.onnx", {"nucleus": ["h", "w"], "distance": ["h", "w"], "classes": [4, "h", "w"]}, side="s"
    )
    o = options(file, px=100, halo_px=14)
    assert RECORD.tile(o).px == 100
    assert RECORD.models(o)[0].outputs[2].shape == (4, 128, 128)


def test_what_is_no_onnx_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such model file"):
        RECORD.tile(options(tmp_path / "absent.onnx"))
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ConfigError, match="not an ONNX file"):
        RECORD.tile(options(tmp_path / "text.onnx"))


def test_a_damaged_name_of_a_class_is_the_files_fault(model):
    content = model.read_bytes()
    assert content.count(b"neoplastic") == 1
    model.write_bytes(content.replace(b"neoplastic", b"neopl\xff\xfetic"))
    with pytest.raises(ConfigError, match="toy.onnx: damaged: .* not UTF-8"):
        RECORD.tile(options(model))


def test_a_file_whose_copy_cannot_run_is_named(model, tmp_path, monkeypatch):
    from kras_plugins.models import export

    def refuse(spec, *_):
        raise BackendError(f"model {spec.name!r}: ONNX Runtime rejects the export", "export it again")

    monkeypatch.setattr(export, "_verify", refuse)
    (spec,) = RECORD.models(options(model))
    with pytest.raises(BackendError, match="toy.onnx: model 'cells'"):
        export_onnx(spec, tmp_path / "copy.onnx")


def hover(labels: np.ndarray) -> np.ndarray:
    """HoVer maps after Graham et al.: position within each nucleus from -1 to 1, horizontal and vertical."""
    hv = np.zeros((2, *labels.shape), np.float32)
    for n in range(1, labels.max() + 1):
        rows, cols = np.nonzero(labels == n)
        for i, p in enumerate((cols, rows)):
            middle = p.mean()
            hv[i, rows, cols] = (p - middle) / np.abs(p - middle).max()
    return hv


def flooded(labels: np.ndarray) -> np.ndarray:
    """The nuclei that the decoder finds in the mask and the HoVer maps of a label map."""
    return decode.flood_hover(*runs_of(np.pad(labels > 0, 2)), hover(labels), 0.5)[2:-2, 2:-2]


def test_hover_maps_part_touching_nuclei_in_any_direction():
    y, x = np.mgrid[:96, :96]
    for angle in np.linspace(0, np.pi, 7):
        labels = np.zeros((96, 96), np.int32)
        for n, side in enumerate((-9.5, 9.5)):
            cx, cy = 48 + side * np.cos(angle), 48 + side * np.sin(angle)
            labels[((x - cx) ** 2 + (y - cy) ** 2 <= 100) & (labels == 0)] = n + 1
        found = flooded(labels)
        assert found.max() == 2, angle
        agree = max(np.mean((found == a) == (labels == 1)) for a in (1, 2))
        assert agree > 0.98


def test_hover_maps_leave_a_single_nucleus_whole():
    y, x = np.mgrid[:64, :96]
    labels = (((x - 48) / 30) ** 2 + ((y - 32) / 8) ** 2 <= 1).astype(np.int32)
    assert flooded(labels).max() == 1


def test_channels_of_one_class_add_up():
    found = np.array([[40, 35, 25]])
    assert decode.classify(found, ("tumor", "lymphocyte", "lymphocyte"), 0.5) == ["lymphocyte"]
    assert decode.classify(found, ("background", "lymphocyte", "plasma"), 0.5) == ["lymphocyte"]
    assert decode.classify(found, ("background", "lymphocyte", "plasma"), 0.6) == ["other"]
    assert decode.classify(np.zeros((1, 3), int), ("background", "lymphocyte", "plasma"), 0.5) == ["other"]


def test_coarse_class_maps_are_read_where_the_nucleus_is():
    labels = np.zeros((8, 8), np.int32)
    labels[4:, 4:] = 1
    kinds = np.zeros((2, 4, 4), np.uint8)
    kinds[0], kinds[1, 2:, 2:] = 102, 255
    kinds[0, 2:, 2:] = 0
    np.testing.assert_array_equal(sums(nuclei_of(labels), kinds), [[0, 255 * 16]])


def maps_of(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What the toy network gives, in 255ths and without background."""
    classes = np.stack([pixels[..., 2], 255 - pixels[..., 2]])
    return {"nucleus": pixels[..., 0], "distance": pixels[..., 1], "classes": classes}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("nucleus", (60, 64)),
        ("distance", (32, 32)),
        ("distance", (1, 64, 64)),
        ("hv", (2, 32, 32)),
        ("hv", (64, 64)),
        ("classes", (2, 60, 60)),
        ("classes", (2, 64, 32)),
        ("classes", (2, 128, 128)),
        ("classes", (2, 0, 0)),
        ("classes", (3, 64, 64)),
        ("classes", (64, 64)),
    ],
)
def test_maps_whose_shape_only_running_shows_are_refused_if_they_do_not_fit_the_tile(name, shape):
    """A file may leave shapes open; compiled code would read beyond the end of what is too small."""
    pixels = two_cells()
    whole = maps_of(pixels)
    if name == "hv":
        del whole["distance"]
    given = {**whole, name: np.zeros(shape, np.float32)}
    found = decode.Decode(8.0, 400.0, 0.5, 0.5, ("tumor", "lymphocyte"))
    with pytest.raises(PluginError, match=f"{name} is .* for a tile of 64 x 64"):
        found(given, Tile(pixels=pixels, mpp=0.5))


def test_a_network_that_knows_no_classes_finds_others():
    pixels = two_cells()
    maps = {"distance": pixels[..., 1], "classes": 255 - pixels[None, ..., 0]}
    found = decode.Decode(8.0, 400.0, 0.5, 0.5, ("background",))(maps, Tile(pixels=pixels, mpp=0.5))
    assert found.classes == ["other", "other"]


def test_where_the_background_is_unknown_no_nucleus_is_found():
    pixels = two_cells()
    background = 1 - pixels[None, ..., 0].astype(np.float32) / 255
    background[0, :, :32] = np.nan
    maps = {"distance": pixels[None, ..., 1] / np.float32(255), "classes": background[None]}
    profiler = Cells(decode.Decode(8.0, 400.0, 0.5, 0.5, ("background",)), "tiles", lambda _: maps)
    given = {k: v[0] for k, v in profiler.predict(pixels[None]).items()}
    assert len(profiler.decode(given, Tile(pixels=pixels, mpp=0.5)).x) == 1
    assert len(profiler.decode({k: v[0] for k, v in maps.items()}, Tile(pixels=pixels, mpp=0.5)).x) == 1

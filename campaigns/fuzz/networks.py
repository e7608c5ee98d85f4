"""ONNX: somebody else's network for the profiler `cells`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick

PX = 32
OUTPUTS = ("nucleus", "distance", "classes")
NAMES = ("background", "tumor", "lymphocyte")


def _graph(scale: float = 1 / 255) -> Any:
    """A network whose maps are red, green, and red shared out by blue."""
    from onnx import TensorProto, helper

    number = TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["tiles"], ["float"], to=number),
        helper.make_node("Mul", ["float", "scale"], ["unit"]),
        helper.make_node("Split", ["unit"], ["r", "g", "b"], axis=3, num_outputs=3),
        helper.make_node("Squeeze", ["r", "last"], ["nucleus"]),
        helper.make_node("Squeeze", ["g", "last"], ["distance"]),
        helper.make_node("Sub", ["one", "r"], ["nothing"]),
        helper.make_node("Mul", ["r", "b"], ["some"]),
        helper.make_node("Sub", ["r", "some"], ["rest"]),
        helper.make_node("Concat", ["nothing", "some", "rest"], ["stack"], axis=3),
        helper.make_node("Transpose", ["stack"], ["classes"], perm=[0, 3, 1, 2]),
    ]
    constants = [
        helper.make_tensor("scale", number, [], [scale]),
        helper.make_tensor("one", number, [], [1.0]),
        helper.make_tensor("last", TensorProto.INT64, [1], [3]),
    ]
    shapes = {"nucleus": (PX, PX), "distance": (PX, PX), "classes": (len(NAMES), PX, PX)}
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", PX, PX, 3])],
        [helper.make_tensor_value_info(o, number, ["n", *s]) for o, s in shapes.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"class_names": ",".join(NAMES)})
    return model


def _make_onnx(folder: Path) -> None:
    import onnx

    onnx.save(_graph(), folder / "own.onnx")


def _tiles() -> Any:
    import numpy as np

    return np.random.default_rng(3).integers(0, 256, (2, PX, PX, 3), dtype=np.uint8)


def _read_onnx(folder: Path) -> Any:
    import numpy as np

    import kras_backend_local
    import kras_profiler_cells
    from kras_plugins.errors import plugin_boundary
    from kras_profiler_cells.foreign import inspect

    options = kras_profiler_cells.CellsOptions.model_validate({"model": str(folder / "own.onnx"), "halo_px": 4})
    with plugin_boundary("profiler cells"):
        found = inspect(options)
    with plugin_boundary("backend local"):
        backend = kras_backend_local.create(kras_backend_local.LocalOptions(device="cpu"))
        infer = backend.load(found.spec)
        batch = np.zeros((getattr(infer, "batch", 2), PX, PX, 3), np.uint8)[:2]
        batch[:] = _tiles()[: len(batch)]
        made = infer({found.spec.inputs[0].name: batch})
    means = {name: np.asarray(made[name], np.float64)[:2].mean((-1, -2)).round(4).tolist() for name in sorted(made)}
    return {"words": list(found.words), "means": means}


def onnx_meaning(scale: float = 1 / 255, channels: str = "rgb", names: tuple[str, ...] = NAMES) -> Any:
    """What the network computes, in numpy."""
    import numpy as np

    planes = dict(zip(channels, np.moveaxis(_tiles()[:2].astype(np.float64) * scale, 3, 0), strict=True))
    r, g, b = (planes[c] for c in "rgb")
    classes = np.stack([1 - r, r * b, r - r * b], 1)
    means = {"classes": classes, "distance": g, "nucleus": r}
    return {"words": list(names), "means": {n: v.mean((-1, -2)).round(4).tolist() for n, v in means.items()}}


def _change_onnx(folder: Path, rng: random.Random, _sound: Any) -> Change:
    import onnx
    from onnx import TensorProto, helper

    file = folder / "own.onnx"
    model = onnx.load(str(file))
    graph = model.graph

    def say(what: str, must: Any) -> Change:
        file.write_bytes(model.SerializeToString())
        return Change(what, must)

    def scaled() -> Change:
        scale = rng.choice([1 / 510, 1 / 256, 1 / 300])
        model.CopyFrom(_graph(scale))
        return say(f"scale {scale:g}", onnx_meaning(scale))

    def channels() -> Change:
        order = "".join(rng.sample("rgb", 3))
        graph.node[2].output[:] = list(order)
        return say(f"channels in the order {order}", onnx_meaning(channels=order))

    def words() -> Change:
        names = rng.choice(
            [
                ("background", "lymphocyte", "tumor"),
                ("background", "tumor", "plasma"),
                ("tumor", "widget", "x"),
                ("background", "tumor"),
                (),
            ]
        )
        helper.set_model_props(model, {"class_names": ",".join(names)})
        good = len(names) == 3 and "widget" not in names
        return say(f"class names {names}", onnx_meaning(names=names) if good else Must.REFUSED)

    def renamed() -> Change:
        i = rng.randrange(3)
        name = graph.output[i].name
        graph.output[i].name = "other"
        next(n for n in graph.node if n.output[0] == name).output[0] = "other"
        return say(f"output {name} has another name", Must.REFUSED)

    def dropped() -> Change:
        i = rng.randrange(3)
        name = graph.output[i].name
        del graph.output[i]
        return say(f"no output {name}", Must.REFUSED if name != "nucleus" else Must.ANYTHING)

    def shaped() -> Change:
        which = rng.choice([*graph.output, graph.input[0]])
        dims = which.type.tensor_type.shape.dim
        dims[rng.randrange(1, len(dims))].dim_value = rng.choice([PX // 2, PX * 2, 0, 7, 2**40])
        return say(f"{which.name} states another shape", Must.SAME)

    def typed() -> Change:
        which = rng.choice([*graph.output, graph.input[0]])
        which.type.tensor_type.elem_type = rng.choice(
            [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING, 99]
        )
        return say(f"{which.name} states another type", Must.REFUSED)

    def operator() -> Change:
        node = rng.choice(graph.node)
        was = node.op_type
        if rng.random() < 0.5:
            node.op_type = rng.choice(["Nonsense", "", "Loop"])
        else:
            node.domain = "com.example"
        return say(f"{was} is an unknown operator", Must.REFUSED)

    def order() -> Change:
        nodes = list(graph.node)
        rng.shuffle(nodes)
        del graph.node[:]
        graph.node.extend(nodes)
        return say("nodes in another order", Must.SAME)

    def version() -> Change:
        model.opset_import[0].version = rng.choice([0, 1, 99, 2**40])
        return say(f"opset {model.opset_import[0].version}", Must.SAME)

    def external() -> Change:
        tensor = graph.initializer[0]
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(
            key="location", value=rng.choice(["/etc/hostname", "../../etc/hostname", "gone.bin", "own.onnx"])
        )
        return say("numbers in another file", Must.REFUSED)

    def short() -> Change:
        graph.initializer[0].ClearField("float_data")
        graph.initializer[0].raw_data = rng.randbytes(rng.choice([1, 2, 3, 8]))
        return say("a constant with too few or too many bytes", Must.REFUSED)

    def described() -> Change:
        model.doc_string, model.producer_name = "mine", "somebody"
        return say("another description", Must.SAME)

    def input_more() -> Change:
        graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
        return say("an input more", Must.REFUSED)

    def fixed() -> Change:
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = rng.choice([1, 8])
        return say("a fixed batch", Must.SAME)

    ways = [scaled, channels, words, renamed, dropped, shaped, typed, operator, order, version, external, short]
    ways += [described, input_more, fixed]
    return pick(rng, [*((1, way) for way in ways), (2, lambda: cut(file, rng)), (4, lambda: damage(file, rng))])


KINDS = [
    Kind(
        name="onnx",
        make=_make_onnx,
        change=_change_onnx,
        read=_read_onnx,
        named=("own.onnx",),
        warm=(
            "onnx",
            "onnxruntime",
            "openvino",
            "kras_profiler_cells.foreign",
            "kras_backend_local.choice",
            "kras_plugins.models.export",
        ),
        memory=2 << 30,
        few=2,
    ),
]

"""ModelSpec -> one verified ONNX file that TensorRT accepts: uint8 NHWC in, float32 or uint8 out, dynamic batch."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kras_plugins.contracts.model import ModelSpec, TensorSpec
from kras_plugins.errors import BackendError, PluginError, described, plugin_boundary
from kras_plugins.models.precision import to_f16
from kras_plugins.models.uint8_input import obey
from kras_plugins.models.weights import locate, model_digest
from kras_plugins.store import Store, make_key

if TYPE_CHECKING:
    import numpy as np
    import torch
    from onnx import ModelProto

OPSET = 18
"""Read by ONNX Runtime since 1.14 and by every Triton container since 23.03."""

_OTHER_OPSET = "another opset may help; report this with the model's name"

Asked = Literal["f32", "f16"]
"""Arithmetic that an export may be asked for; a ready-made file may use another."""

_TOLERANCE = {"f32": 1e-3, "f16": 2e-2}
"""Largest allowed difference from PyTorch in float32, relative to the largest output. Float16 has 11 bits: 0.0004 was
seen for vit-mini, 0.002 for the worst pixel of `cells`."""

_GRAPH = 2
"""Part of the key of cached files: raise it when the processing of a graph after its export changes."""

_LARGE = 1_900_000_000
"""Bytes from which weights are stored beside the graph: a protobuf cannot contain 2 GiB."""


_exporting = threading.Lock()
"""One export at a time: the exporter's state belongs to the process, as do warning filters and levels of loggers."""


@contextmanager
def silenced(*names: str) -> Iterator[None]:
    """Let loggers of these names report only errors meanwhile."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def onnx_file(spec: ModelSpec, store: Store | None = None, opset: int = OPSET) -> Path:
    """The model's ONNX file from the store (the user's, where none is given), exported and verified first if absent.

    Raises BackendError when weights are missing, the model cannot be exported (in this `opset`) or the export differs
    from PyTorch, PluginError when the plug-in's `build` fails.
    """
    key = make_key("onnx", model=model_digest(spec), opset=opset, graph=_GRAPH)
    return (store or Store()).make(key, lambda folder: export_onnx(spec, folder / "model.onnx", opset)) / "model.onnx"


def is_ready_made(spec: ModelSpec) -> bool:
    """Whether the weights are themselves an ONNX file, made elsewhere: used as it is, `build` is never called.

    Raises BackendError for a folder that does not say which of its files it means.
    """
    source = Path(spec.weights.source).expanduser()
    return (locate(spec.weights) or source if source.is_dir() else source).suffix.lower() == ".onnx"


def build_module(spec: ModelSpec) -> torch.nn.Module:
    """The spec's torch module in evaluation mode; PluginError with the cause when the plug-in cannot build it."""
    path = locate(spec.weights)
    with plugin_boundary(f"building model {spec.name!r}"):
        return spec.build(path).eval()


def export_onnx(spec: ModelSpec, file: Path, opset: int = OPSET, precision: Asked = "f32") -> None:
    """Write the model as ONNX and verify it against PyTorch at batch sizes 1 and 3 with ONNX Runtime.

    The graph casts uint8 inputs first (`uint8_input.py`); with `precision` f16 its body computes in float16
    (`precision.py`), with float32 inputs, normalization and outputs. A ready-made ONNX file is treated alike after its
    tensors were compared with the spec's, and is verified against itself; `opset` is then its own.
    """
    import torch

    if is_ready_made(spec):
        _adopt(spec, file, precision)
        return
    module = build_module(spec)
    examples = [_example(spec, batch=2, seed=0)]
    dynamic = tuple({0: torch.export.Dim("batch")} for _ in spec.inputs)
    with _exporting, silenced("torch.onnx", "onnxscript"), warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        try:
            program = torch.onnx.export(
                module,
                tuple(torch.from_numpy(a) for a in examples[0].values()),
                dynamo=True,
                opset_version=opset,
                input_names=[t.name for t in spec.inputs],
                output_names=[t.name for t in spec.outputs],
                dynamic_shapes=dynamic,
                verbose=False,
            )
        except Exception as e:  # the exporter passes on whatever the module raises
            raise BackendError(
                f"model {spec.name!r} cannot be exported to ONNX: {described(e.__cause__ or e)}",
                "its module must be one that torch.export accepts",
            ) from e
    if program is None:
        raise BackendError(f"model {spec.name!r} cannot be exported to ONNX", "torch.onnx.export gave nothing")
    program.save(str(file))
    if opset_of(file) != opset:  # a set that it cannot convert to is only reported in its log
        raise BackendError(f"model {spec.name!r} cannot be written in operator set {opset}", f"take {OPSET}")
    _finish(spec, file, precision)

    def compute(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        with torch.inference_mode():
            out = module(*(torch.from_numpy(a) for a in arrays.values()))
        return [t.numpy() for t in ((out,) if isinstance(out, torch.Tensor) else out)]

    _verify(spec, compute, "PyTorch", file, _TOLERANCE[precision])


def _finish(spec: ModelSpec, file: Path, precision: Asked) -> None:
    """Rewrite the graph of a file; its weights are read only where they change."""
    import onnx

    lowered = precision == "f16"
    model = onnx.load(str(file), load_external_data=lowered)
    obey(model)
    if lowered:
        try:
            tensors = to_f16(model)
        except BackendError as e:
            raise BackendError(f"model {spec.name!r}: {e.message}", e.hint) from e
        _save(model, file)
        if tensors:
            _check_range(spec, file, tensors)
    else:
        onnx.save(model, str(file))


def _check_range(spec: ModelSpec, file: Path, tensors: list[str]) -> None:
    """Raise BackendError where a float16 tensor is infinite or NaN for an example.

    ONNX Runtime computes float16 products in float32 on a CPU, and casts between them are optimized away: a number
    that is too large shows only in a requested tensor.
    """
    import numpy as np
    import onnx
    import onnxruntime

    model = onnx.load(str(file), load_external_data=False)
    model.graph.output.extend(onnx.helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT16, None) for t in tensors)
    shown = file.with_name(f"ranges-{file.name}")
    try:
        onnx.save(model, str(shown))
        session = onnxruntime.InferenceSession(str(shown), providers=["CPUExecutionProvider"])
        found = session.run(tensors, _example(spec, batch=1, seed=0))
    finally:
        shown.unlink(missing_ok=True)
    beyond = [name for name, values in zip(tensors, found, strict=True) if not np.isfinite(values).all()]
    if beyond:
        raise BackendError(
            f"model {spec.name!r}: {len(beyond)} of {len(tensors)} tensors leave float16's range, first {beyond[0]!r}",
            "export it with --precision f32",
        )


def _save(model: ModelProto, file: Path) -> None:
    """Write a model that is entirely in memory, with large weights beside it."""
    import onnx

    beside = f"{file.name}.data"
    file.with_name(beside).unlink(missing_ok=True)  # onnx would write behind what is there
    large = model.ByteSize() > _LARGE
    onnx.save(model, str(file), save_as_external_data=large, location=beside if large else None)


def opset_of(file: Path) -> int:
    """The version of ONNX's own operators that a file asks for."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    return max((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _adopt(spec: ModelSpec, file: Path, precision: Asked) -> None:
    """Copy a ready-made ONNX file, weights beside it included; PluginError where its tensors are not the spec's."""
    import onnx
    import onnxruntime

    source = locate(spec.weights)
    try:
        model = onnx.load(str(source))
        session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    except Exception as e:  # each library has its own errors, and all mean that the file is unusable
        raise BackendError(f"{source}: not a usable ONNX file: {e}", "export it again") from e
    kinds = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    for what, wanted, found in (
        ("input", spec.inputs, session.get_inputs()),
        ("output", spec.outputs, session.get_outputs()),
    ):
        here = {t.name: (t.dtype, list(t.shape)) for t in wanted}
        there = {t.name: (kinds.get(t.type, t.type), list(t.shape)) for t in found}
        if list(here) != list(there):
            raise PluginError(
                f"{source}: its {what}s are {', '.join(there)}; expected are {', '.join(here)}, in this order",
                "rename the tensors at export",
            )
        for name, (dtype, shape) in here.items():
            its_dtype, its_shape = there[name]
            fixed = [a for a, b in zip(its_shape[1:], shape, strict=False) if isinstance(a, int) and a != b]
            if its_dtype != dtype or len(its_shape) != len(shape) + 1 or fixed or isinstance(its_shape[0], int):
                raise PluginError(
                    f"{source}: {what} {name!r} is {its_dtype}{its_shape}, expected is {dtype}['batch', "
                    f"{', '.join(map(str, shape))}] with a dynamic batch",
                    "export it with uint8 NHWC input, normalization inside and a dynamic batch axis",
                )
    names = [t.name for t in spec.outputs]
    for batch in (1, 3):
        for tensor, got in zip(spec.outputs, session.run(names, _example(spec, batch, seed=batch)), strict=True):
            if got.shape != (batch, *tensor.shape):
                raise PluginError(
                    f"{source}: output {tensor.name!r} is {got.shape[1:]}, expected is {tensor.shape}",
                    "check the tile size that the model was exported for",
                )
    try:
        _save(model, file)
        _finish(spec, file, precision)
        _verify(spec, lambda arrays: session.run(names, arrays), "the file as it was", file, _TOLERANCE[precision])
    except BackendError as e:
        raise BackendError(f"{source}: {e.message}", e.hint) from e


def _example(spec: ModelSpec, batch: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    import numpy as np

    rng = np.random.default_rng(seed)
    return {
        t.name: (
            rng.integers(0, 256, (batch, *t.shape), dtype=np.uint8)
            if t.dtype == "uint8"
            else rng.standard_normal((batch, *t.shape), dtype=np.float32)
        )
        for t in spec.inputs
    }


def _verify(
    spec: ModelSpec,
    compute: Callable[[dict[str, np.ndarray[Any, Any]]], list[np.ndarray[Any, Any]]],
    against: str,
    file: Path,
    tolerance: float,
) -> None:
    """Compare a file's results with those that `compute` gives for the same inputs."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as e:  # ONNX Runtime has an error for each cause
        raise BackendError(f"model {spec.name!r}: ONNX Runtime rejects the export: {described(e)}", _OTHER_OPSET) from e
    for batch in (1, 3):
        arrays = _example(spec, batch, seed=batch)
        names = [t.name for t in spec.outputs]
        for tensor, want, got in zip(spec.outputs, compute(arrays), session.run(names, arrays), strict=True):
            if got.shape != (batch, *tensor.shape) or got.dtype != tensor.dtype:
                raise PluginError(
                    f"model {spec.name!r}: output {tensor.name!r} is {got.dtype}{list(got.shape[1:])}, its spec says "
                    f"{tensor.dtype}{list(tensor.shape)}",
                    "correct the ModelSpec",
                )
            difference, limit = error(got, want), tolerance + rounding(tensor)
            if not difference <= limit:
                raise BackendError(
                    f"model {spec.name!r}: ONNX and {against} differ by {difference:.2g} (limit {limit:.2g})",
                    _OTHER_OPSET if tolerance == _TOLERANCE["f32"] else "export it with --precision f32",
                )


def error(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    """The largest difference over the largest value, which is 255 for uint8; NaN where there is NaN."""
    import numpy as np

    exact = wanted.astype(np.float64)
    largest = 255.0 if wanted.dtype == np.uint8 else max(float(np.abs(exact).max()), 1e-6)
    return float(np.abs(got - exact).max()) / largest


def rounding(tensor: TensorSpec) -> float:
    """What rounding inside the graph may add to an `error`: a number between two levels may go to either."""
    return 1 / 255 if tensor.dtype == "uint8" else 0.0

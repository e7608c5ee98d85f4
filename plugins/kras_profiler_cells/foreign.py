"""Somebody else's network as an ONNX file: its names, shapes and classes, checked before it runs.

Conventions, batch first and dynamic: one input uint8[h w 3] with the normalization inside the graph. The outputs have
the input's h and w and are float32 or, except `hv`, uint8 of 255ths: `nucleus` [h w] (probability) or a channel
`background` in `classes`; `distance` [h w] (0 at a nucleus' edge, 1 in its middle) or `hv` [2 h w] (HoVer maps,
horizontal first); `classes` [class h/k w/k] (probabilities) for an integer k; and, if the network has it, `unlike`
[h/k w/k]: how far the tissue is from what it was trained on, 0.5 at its limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kras_plugins import CELL_CLASSES, ConfigError, ModelSpec, TensorSpec, TileSpec, Weights
from kras_plugins.files.regular import regular

if TYPE_CHECKING:
    import torch

    from kras_profiler_cells import CellsOptions

BACKGROUND = "background"
_CONVENTION = "see docs/models/cells.md for the names and shapes of inputs and outputs"


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A usable file: its `tile`, its `spec`, and the class (ours, or `background`) of each channel of `classes`."""

    tile: TileSpec
    spec: ModelSpec
    words: tuple[str, ...]


def inspect(options: CellsOptions) -> Foreign:
    """Read names, shapes and class names of `options.model` (not its weights).

    Raises ConfigError when the file does not follow the conventions, or, listing them, when `class_names` leaves out
    classes.
    """
    file = Path(options.model).expanduser()
    graph, metadata = _read(file)
    inputs, outputs = _shapes(graph.input), _shapes(graph.output)
    name, side = _input(file, inputs, options)
    words = _words(file, outputs, metadata, options)
    whole = _side(file, "classes", outputs["classes"], side)
    shapes = {
        "nucleus": (side, side),
        "distance": (side, side),
        "hv": (2, side, side),
        "classes": (len(words), whole, whole),
    }
    if "unlike" in outputs:
        shapes["unlike"] = (_side(file, "unlike", outputs["unlike"], side),) * 2
    strange = sorted(set(outputs) - set(shapes))
    if strange:
        raise ConfigError(f"{file}: unknown outputs {', '.join(strange)}", f"leave them out; {_CONVENTION}")
    if "nucleus" not in outputs and BACKGROUND not in words:
        raise ConfigError(f"{file}: neither an output `nucleus` nor a class `background`", _CONVENTION)
    if "distance" not in outputs and "hv" not in outputs:
        raise ConfigError(f"{file}: neither an output `distance` nor `hv` among {sorted(outputs)}", _CONVENTION)
    for output, shape in outputs.items():
        _agree(file, output, shape, shapes[output])
    dtypes = _dtypes(graph.output)
    tile = TileSpec(px=side - 2 * options.halo_px, mpp=options.mpp, halo_px=options.halo_px)
    spec = ModelSpec(
        name="cells",
        inputs=(TensorSpec(name=name, dtype="uint8", shape=(side, side, 3)),),
        outputs=tuple(TensorSpec(name=o, dtype=dtypes[o], shape=shapes[o]) for o in outputs),
        build=_never,
        weights=Weights(source=str(file.resolve()), licence="as its publisher says; not checked"),
        transform={"px": side, "mpp": options.mpp, "words": list(words)},
        max_batch=16,
    )
    return Foreign(tile=tile, spec=spec, words=words)


def _never(_weights: Path | None) -> torch.nn.Module:
    raise AssertionError("an ONNX file runs as it is")


def _read(file: Path) -> tuple[Any, dict[str, str]]:
    import onnx
    from google.protobuf.message import DecodeError

    if not file.exists():
        raise ConfigError(f"{file}: no such model file", "check the path of -o profiler.cells.model")
    regular(file)
    try:
        model = onnx.load(str(file), load_external_data=False)
    except (DecodeError, OSError) as e:
        raise ConfigError(f"{file}: not an ONNX file: {e}", "export the model to ONNX") from e
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    named = [v.name for v in (*model.graph.input, *model.graph.output)]
    if not all(isinstance(text, str) for text in (*metadata, *metadata.values(), *named)):  # else they are bytes
        raise ConfigError(f"{file}: damaged: a name or its metadata are not UTF-8", "copy or export it again")
    return model.graph, metadata


def _shapes(values: Any) -> dict[str, tuple[int | None, ...]]:
    """Shape of each tensor without its batch axis, None where it is dynamic."""
    return {
        v.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in v.type.tensor_type.shape.dim)[1:]
        for v in values
    }


def _dtypes(values: Any) -> dict[str, Literal["uint8", "float32"]]:
    """Whether a map is in 255ths; other types are refused when the file is adopted."""
    from onnx import TensorProto

    return {
        v.name: "uint8" if v.name != "hv" and v.type.tensor_type.elem_type == TensorProto.UINT8 else "float32"
        for v in values
    }


def _input(file: Path, inputs: dict[str, tuple[int | None, ...]], options: CellsOptions) -> tuple[str, int]:
    if len(inputs) != 1:
        raise ConfigError(f"{file}: {len(inputs)} inputs ({', '.join(inputs)}), one is expected", _CONVENTION)
    (name, shape), *_ = inputs.items()
    if len(shape) != 3 or shape[2] not in (3, None) or shape[0] != shape[1]:
        raise ConfigError(
            f"{file}: input {name!r} is {_text(shape)}, expected a square image with the channels last", _CONVENTION
        )
    side = shape[0] or (options.px or 512) + 2 * options.halo_px
    px = side - 2 * options.halo_px
    if px <= 0 or options.px not in (0, px):
        raise ConfigError(
            f"{file}: its input is {side} pixels wide, px={options.px} and halo_px={options.halo_px} "
            f"make {options.px + 2 * options.halo_px}",
            "set px and halo_px so that px + 2 halo_px is the input's width",
        )
    return name, side


def _words(
    file: Path, outputs: dict[str, tuple[int | None, ...]], metadata: dict[str, str], options: CellsOptions
) -> tuple[str, ...]:
    if "classes" not in outputs:
        raise ConfigError(f"{file}: no output `classes` among {sorted(outputs)}", _CONVENTION)
    names = options.classes or tuple(n.strip() for n in metadata.get("class_names", "").split(",") if n.strip())
    channels = outputs["classes"][0] if outputs["classes"] else None
    if not names or (channels is not None and channels != len(names)):
        width = "unknown" if channels is None else channels
        raise ConfigError(
            f"{file}: output `classes` has {width} channels, {len(names)} names are known: {list(names)}",
            'name the channels in order: -o \'profiler.cells.classes=["background", "neoplastic", …]\'',
        )
    known = {BACKGROUND, *CELL_CLASSES}
    mapped = {n: options.class_names.get(n, n) for n in names}
    unmapped = [n for n, ours in mapped.items() if ours not in known]
    if unmapped:
        listed = ", ".join(f"{n} -> {mapped[n]}" if n in options.class_names else n for n in unmapped)
        raise ConfigError(
            f"{file}: no kras class for {listed}",
            f"map each with class_names to one of {', '.join((BACKGROUND, *CELL_CLASSES))}",
        )
    stray = sorted(set(options.class_names) - set(names))
    if stray:
        raise ConfigError(
            f"{file}: class_names maps {', '.join(stray)}, but its classes are {', '.join(names)}", "correct it"
        )
    return tuple(mapped[n] for n in names)


def _side(file: Path, name: str, shape: tuple[int | None, ...], side: int) -> int:
    """The width of a map that may be coarser than the tile of width `side`."""
    axes = ("class", "h", "w") if name == "classes" else ("h", "w")
    if len(shape) != len(axes):
        raise ConfigError(f"{file}: output {name!r} is {_text(shape)}, expected ({', '.join(axes)})", _CONVENTION)
    width = shape[-1] or side
    if side % width:
        raise ConfigError(f"{file}: output {name!r} is {width} wide, not a whole part of {side}", _CONVENTION)
    return width


def _agree(file: Path, name: str, found: tuple[int | None, ...], wanted: tuple[int, ...]) -> None:
    if len(found) != len(wanted) or any(f not in (None, w) for f, w in zip(found, wanted, strict=True)):
        raise ConfigError(f"{file}: output {name!r} is {_text(found)}, expected {_text(wanted)}", _CONVENTION)


def _text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('?' if d is None else str(d) for d in shape)})"

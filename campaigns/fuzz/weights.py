"""safetensors: the weights of a network."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick

_SHAPES = {"0.weight": (6, 4), "0.bias": (6,), "2.weight": (6, 6), "2.bias": (6,), "4.weight": (3, 6), "4.bias": (3,)}


def _weights() -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in _SHAPES.items()}


def _make_safetensors(folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file(_weights(), folder / "own.safetensors")


def _read_safetensors(folder: Path) -> Any:
    from torch import nn

    from kras_plugins.models.network import load_strictly, read_tensors

    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    file = folder / "own.safetensors"
    load_strictly(network, read_tensors(file), file=file, what="a small network", hint="take its own weights")
    return {name: tensor.flatten().tolist() for name, tensor in network.state_dict().items()}


def _tensors(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: array.ravel().tolist() for name, array in weights.items()}


def _change_safetensors(folder: Path, rng: random.Random, _sound: Any) -> Change:
    file, weights = folder / "own.safetensors", _weights()
    content = file.read_bytes()
    (n,) = struct.unpack_from("<Q", content)
    header, data = json.loads(content[8 : 8 + n]), content[8 + n :]
    name = rng.choice(list(_SHAPES))

    def say(what: str, must: Any, size: int | None = None) -> Change:
        text = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
        return Change(what, must)

    def exchanged() -> Change:
        a, b = rng.choice([("0.bias", "2.bias")])
        header[a]["data_offsets"], header[b]["data_offsets"] = header[b]["data_offsets"], header[a]["data_offsets"]
        weights[a], weights[b] = weights[b], weights[a]
        return say(f"places of {a} and {b} exchanged", _tensors(weights))

    def renamed() -> Change:
        header[rng.choice([f"{name}s", "network." + name, ""])] = header.pop(name)
        return say(f"{name} has another name", Must.REFUSED)

    def dropped() -> Change:
        del header[name]
        return say(f"no {name}", Must.REFUSED)

    def shaped() -> Change:
        header[name]["shape"] = rng.choice(
            [[*header[name]["shape"][::-1], 1], [2**40], [0], [-1], [], "x", [6.5], [2**63, 2]]
        )
        return say(f"{name} of shape {header[name]['shape']}", Must.REFUSED)

    def typed() -> Change:
        header[name]["dtype"] = rng.choice(["F64", "I32", "F16", "BF16", "U8", "X", None, "BOOL"])
        return say(f"{name} is {header[name]['dtype']}", Must.REFUSED)

    def placed() -> Change:
        start, end = header[name]["data_offsets"]
        header[name]["data_offsets"] = rng.choice(
            [
                [start, end + 4],
                [start + 4, end],
                [end, start],
                [-4, 20],
                [2**62, 2**62 + 24],
                [start + 4, end + 4],
                ["a", "b"],
            ]
        )
        return say(f"{name} at {header[name]['data_offsets']}", Must.REFUSED)

    def order() -> Change:
        keys = rng.sample(list(header), len(header))
        moved = {k: header[k] for k in keys}
        header.clear()
        header.update(moved)
        return say("header in another order", Must.SAME)

    def about() -> Change:
        header["__metadata__"] = {"note": "mine"}
        return say("a note", Must.SAME)

    def odd_about() -> Change:
        header["__metadata__"] = rng.choice([3, [], {"a": 1}, {"a": {"b": "c"}}, "x"])
        return say("a note that is none", Must.SAME)

    def size() -> Change:
        return say("the header states another size", Must.REFUSED, rng.choice([0, 1, n - 1, n + 1, 2**40, 2**64 - 1]))

    def longer() -> Change:
        nonlocal data
        data += rng.randbytes(8)
        return say("bytes behind the end", Must.SAME)

    def number() -> Change:
        nonlocal data
        weights[name].flat[0] = 2.5
        start = header[name]["data_offsets"][0]
        data = data[:start] + struct.pack("<f", 2.5) + data[start + 4 :]
        return say(f"the first number of {name} is 2.5", _tensors(weights))

    def python() -> Change:
        file.write_bytes(rng.choice([b"\x80\x04K\x01.", b"PK\x03\x04", b"", b"{}", b"\0" * 8]))
        return Change("another kind of file", Must.REFUSED)

    ways = [exchanged, renamed, dropped, shaped, typed, placed, order, about, odd_about, size, longer, number, python]
    return pick(
        rng, [*((1, way) for way in ways), (2, lambda: cut(file, rng, Must.REFUSED)), (4, lambda: damage(file, rng))]
    )


KINDS = [
    Kind(
        name="safetensors",
        make=_make_safetensors,
        change=_change_safetensors,
        read=_read_safetensors,
        named=("own.safetensors",),
        warm=("torch", "kras_plugins.models.network", "safetensors.torch"),
    ),
]

"""What tests of Triton share: a tiny model with a known answer, and a real server that fails on demand."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kras_plugins import BackendError, ModelSpec, TensorSpec, Weights
from kras_plugins.models.repository import export_model
from kras_plugins.serving import environment
from kras_plugins.serving.server import DEFAULT_PORTS, ENGINE, Server, serving

SIDE = 8

# Appended to the product's engine: a real server, a real model, and one fault for each file it finds.
_FAULTS = """

import time


class Faulty(TritonPythonModel):
    def execute(self, requests):
        folder = Path(os.environ["KRAS_TEST_FAULTS"])
        answers = super().execute(requests)
        for fault in sorted(folder.glob("*.json")):
            order = json.loads(fault.read_text())
            if not order["always"]:
                try:
                    fault.unlink()  # whoever removes it plays it: once, whatever the number of instances
                except FileNotFoundError:
                    continue
            if order["kind"] == "slow":
                time.sleep(order["seconds"])
            elif order["kind"] == "error":
                answers[0] = triton.InferenceResponse(error=triton.TritonError("planted error"))
            elif order["kind"] == "nan":
                tensor = answers[0].output_tensors()[0]
                bad = np.full_like(tensor.as_numpy(), np.nan)
                answers[0] = triton.InferenceResponse([triton.Tensor(tensor.name(), bad)])
        return answers


TritonPythonModel = Faulty
"""


def tiny(name: str = "tiny", factor: float = 2.0, version: int = 1) -> ModelSpec:
    """A model whose answer is known: `factor` times the mean of each color of a tile."""

    def build(_weights: Path | None) -> Any:
        import torch

        class Means(torch.nn.Module):
            def forward(self, tiles: Any) -> Any:
                return tiles.float().mean(dim=(1, 2)) * factor

        return Means()

    return ModelSpec(
        name=name,
        inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(SIDE, SIDE, 3)),),
        outputs=(TensorSpec(name="features", dtype="float32", shape=(3,)),),
        build=build,
        weights=Weights(source="builtin", licence="Apache-2.0"),
        transform={"factor": factor},
        version=version,
        max_batch=16,
    )


def halvable() -> ModelSpec:
    """A model with a product, a normalizing layer and a shape that is read from the pixels, as encoders have them."""

    def build(_weights: Path | None) -> Any:
        import torch

        class Small(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first = torch.nn.Conv2d(3, 8, 4, stride=4)
                self.norm = torch.nn.LayerNorm(8)
                self.last = torch.nn.Linear(8, 3)
                self.token = torch.nn.Parameter(torch.rand(1, 1, 8))

            def forward(self, tiles: Any) -> Any:
                words = self.first((tiles.permute(0, 3, 1, 2).float() - 127.5) / 60).flatten(2).transpose(1, 2)
                words = torch.cat([self.token.expand(tiles.shape[0], -1, -1), words], dim=1)
                return self.last(self.norm(words).softmax(-1))[:, 0]

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Small()

    return replace(tiny("halvable"), build=build)


def answer(tiles: Any, factor: float = 2.0) -> Any:
    """What `tiny` must give."""
    return tiles.astype(np.float64).mean(axis=(1, 2)) * factor


class Faults:
    """Orders for the server: what the next batches shall suffer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._n = 0

    def plant(self, kind: str, *, always: bool = False, seconds: float = 0.0) -> None:
        self._n += 1
        file = self.folder / f"{self._n:03}.json"
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"kind": kind, "always": always, "seconds": seconds}))
        part.replace(file)

    def clear(self) -> None:
        for file in self.folder.glob("*.json"):
            file.unlink()


@contextmanager
def faulty_server(
    folder: Path,
    monkeypatch: Any,
    *,
    ports: dict[str, int] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[tuple[Server, Faults]]:
    """A real server of `folder / "models"`, in f32, whose engine obeys `folder / "faults"`."""
    (folder / "faults").mkdir(exist_ok=True)
    engine = folder / "engine.py"
    engine.write_text(ENGINE.read_text() + _FAULTS)
    monkeypatch.setenv("KRAS_TEST_FAULTS", str(folder / "faults"))
    ensure_installed()
    with serving(
        folder / "models",
        ports=ports or own_ports(),
        precision="f32",
        engine=engine,
        arguments=arguments,
    ) as server:
        yield server, Faults(folder / "faults")


def own_ports() -> dict[str, int]:
    """Three free ports, none of them usual: a server of the other worker must not take them while ours is down."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        for s in (a, b, c):
            s.bind(("127.0.0.1", 0))
        return {name: s.getsockname()[1] for name, s in zip(DEFAULT_PORTS, (a, b, c), strict=True)}


def ensure_installed() -> None:
    """`make test` has made the server's environment; a bare pytest makes it here."""
    try:
        environment.find()
    except BackendError:
        environment.install()


def export_tiny(folder: Path, *specs: ModelSpec) -> None:
    """Write models into `folder / "models"`."""
    (folder / "models").mkdir(exist_ok=True)
    for spec in specs or (tiny(),):
        export_model(spec, folder / "models")

"""An extractor around a small network."""

from __future__ import annotations

from pydantic import Field

from kras_plugins import ExtractorPlugin, ModelSpec, Options, TensorSpec, TileSpec, Weights, hookimpl


class NetworkOptions(Options):
    model: str = Field("small", description="name of the network")


def tile(options):
    return TileSpec(px=32, mpp=2.0)


def models(options):
    return (
        ModelSpec(
            name="small",
            inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(32, 32, 3)),),
            outputs=(TensorSpec(name="features", dtype="float32", shape=(5,)),),
            build=build,
            weights=catalog()["small"],
            transform={"px": 32, "scale": 255},
        ),
    )


def catalog():
    return {"small": Weights(source="random:0", licence="Apache-2.0")}


def build(path):
    import torch

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(3, 5)

        def forward(self, tiles):
            means = tiles.float().mean(dim=(1, 2)) / 255
            return self.last(means)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Small().eval()


def create(options, infer):
    def embed(tiles):
        return infer["small"]({"tiles": tiles})["features"]

    return embed


@hookimpl
def kras_extractors():
    yield ExtractorPlugin(
        name="network", summary="a small network", options=NetworkOptions, tile=tile, dim=lambda options: 5,
        models=models, create=create, catalog=catalog,
    )  # fmt: skip

"""What contracts do for authors: one network is a whole extractor, a decoder a profiler, a network a ModelSpec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from kras_plugins import (
    Backend,
    BackendError,
    ConfigError,
    ExtractorPlugin,
    Level,
    ModelSpec,
    Options,
    PluginError,
    ProfilerPlugin,
    SlideSource,
    TensorSpec,
    Tile,
    TileCells,
    TileSpec,
    Weights,
    encoder,
)  # fmt: skip
from kras_plugins.models.weights import model_digest

TILE = TileSpec(px=32, mpp=0.5)


def spec(source: str = "random:0", **changed: Any) -> ModelSpec:
    def network() -> torch.nn.Module:
        return timm.create_model("resnet10t", num_classes=0)

    given = {"architecture": "resnet10t", "tile": TILE, "dim": 512, "weights": Weights(source=source, licence="MIT")}
    return encoder("small", network, **{**given, **changed})


def extractor(**changed: Any) -> ExtractorPlugin:
    given = {"name": "small", "summary": "s", "tile": lambda _: TILE, "models": lambda _: (spec(),)}
    return ExtractorPlugin(**{**given, **changed})


def test_an_extractor_of_one_network_runs_it_and_knows_its_length() -> None:
    record = extractor()

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"features": inputs["tiles"].reshape(len(inputs["tiles"]), -1)[:, :512].astype(np.float32)}

    assert record.length(Options()) == 512
    tiles = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(
        record.assemble(Options(), {"small": infer})(tiles), tiles.reshape(2, -1)[:, :512].astype(np.float32)
    )


def test_an_extractor_of_two_networks_must_say_how_they_go_together() -> None:
    record = extractor(models=lambda _: (spec(), replace(spec(), name="other")))
    with pytest.raises(PluginError, match="more than one network"):
        record.length(Options())


@pytest.mark.parametrize(
    "given",
    [
        {"models": lambda _: ()} | {"tile": None},
        {"load": lambda _s, _o: None},
        {"tile": None, "models": lambda _: (), "create": lambda _o, _i: None},
    ],
)
def test_an_extractor_that_is_neither_or_both_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match="gives neither tile and models"):
        extractor(**given)


class Decode:
    def __call__(self, _outputs: Any, tile: Tile) -> TileCells:
        none = np.empty(0, np.float32)
        return TileCells(x=none, y=none, classes=[])


def profiler(**changed: Any) -> ProfilerPlugin:
    given: dict[str, Any] = {"name": "p", "summary": "s", "tile": lambda _: TILE, "decode": lambda _: Decode()}
    return ProfilerPlugin(**{**given, **changed})


def test_a_profiler_may_be_a_decoder_alone_or_with_one_network() -> None:
    tiles = np.zeros((2, 32, 32, 3), np.uint8)
    alone = profiler()
    made = alone.assemble(Options(), {})
    assert made.predict(tiles) == {}
    assert isinstance(made.decode, Decode)
    networked = profiler(models=lambda _: (spec(),))
    run: Callable[..., Any] = lambda inputs: {"features": inputs["tiles"]}  # noqa: E731
    assert networked.assemble(Options(), {"small": run}).predict(tiles)["features"] is tiles
    two = profiler(models=lambda _: (spec(), replace(spec(), name="other")))
    with pytest.raises(PluginError, match="more than one network"):
        two.assemble(Options(), {})
    with pytest.raises(PluginError, match="neither tile with decode"):
        profiler(create=lambda _o, _i: None)


def test_an_encoder_scales_channels_and_keeps_the_callers_random_numbers() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    module = spec().build(None)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(0)
    bare = timm.create_model("resnet10t", num_classes=0).eval()
    tiles = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        wanted = bare(((tiles / 255 - mean) / std).permute(0, 3, 1, 2))
        torch.testing.assert_close(module(tiles), wanted, rtol=1e-4, atol=1e-5)


def test_an_encoders_file_must_fit_but_for_timms_own_head(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    torch.manual_seed(1)
    whole = timm.create_model("resnet10t").eval()
    save_file(whole.state_dict(), file)
    module = spec(str(file)).build(file)
    assert torch.equal(module.network.conv1[0].weight, whole.conv1[0].weight)  # type: ignore[union-attr, index]
    save_file({**whole.state_dict(), "more": torch.zeros(1)}, file)
    with pytest.raises(BackendError, match="not the weights of resnet10t: unexpected more"):
        spec(str(file)).build(file)
    file.write_bytes(b"nothing")
    with pytest.raises(BackendError, match="not a file of tensors"):
        spec(str(file)).build(file)
    for other in ([torch.zeros(1)], torch.zeros(1), {"conv1.0.weight": 3}, {"state_dict": [1]}):
        torch.save(other, tmp_path / "w.pt")
        with pytest.raises(BackendError, match=r"w\.pt: not a file of tensors"):
            spec(str(tmp_path / "w.pt")).build(tmp_path / "w.pt")
    with pytest.raises(ConfigError, match="no seed"):
        spec("random:x").build(None)


def test_what_an_encoder_is_told_tells_its_features_apart() -> None:
    others = [
        spec("random:1"), spec(architecture="other"), spec(dim=8), spec(mean=(0.5, 0.5, 0.5)), spec(std=(1, 1, 1)),
        spec(tile=TileSpec(px=32, mpp=1.0)), spec(tile=TileSpec(px=64, mpp=0.5)),
    ]  # fmt: skip
    assert len({model_digest(s) for s in (spec(), *others)}) == len(others) + 1


def test_a_source_or_backend_derived_from_its_contract_need_not_say_what_it_does_not_know() -> None:
    class Plain(SlideSource):
        levels = (Level(width=1, height=1),)

        def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> Any:
            return np.zeros((size[1], size[0], 3), np.uint8)

    source = Plain()
    assert (source.mpp, source.objective_power, source.quickhash, dict(source.properties)) == (None, None, None, {})
    source.close()

    class Engine(Backend):
        precision, engine = "f32", "none"

        def load(self, spec: ModelSpec) -> Any:
            return None

    assert Engine().report() == {}
    Engine().close()


def test_a_tensor_spec_of_a_halo_is_as_large_as_what_is_read() -> None:
    assert spec(tile=TileSpec(px=32, mpp=0.5, halo_px=8)).inputs == (
        TensorSpec(name="tiles", dtype="uint8", shape=(48, 48, 3)),
    )

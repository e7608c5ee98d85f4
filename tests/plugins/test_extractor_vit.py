"""Extractor vit: presets, statistics, weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kras_plugins.errors import BackendError, ConfigError
from kras_plugins.host.manager import discover
from kras_plugins.models.export import build_module
from kras_plugins.models.weights import locate, model_digest

VIT = discover().find("extractor", "vit").record
TINY = "vit_tiny_patch16_224"


def spec(**options: object):  # type: ignore[no-untyped-def]
    return VIT.models(VIT.options(**options))[0]


def test_lunits_presets_use_the_statistics_lunit_published_and_no_resize() -> None:
    for name in ("lunit-s16", "lunit-s8"):
        transform = spec(model=name).transform
        assert transform["mean"] == [0.70322989, 0.53606487, 0.66096631]
        assert transform["std"] == [0.21716536, 0.26081574, 0.20723464]
        assert (transform["px"], transform["mpp"], transform["pooling"]) == (224, 0.5, "cls")


def test_an_encoder_is_described_without_torch_which_takes_seconds_to_import() -> None:
    code = """
import sys
from kras_extractor_vit import VitOptions
from kras_extractor_vit.network import spec
print(spec(VitOptions(model="vit-mini")).outputs[0].shape, "torch" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "(192,) False\n"


def some_tiles(n: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def reference_tokens(
    tiles: torch.Tensor, model: str, mean: list[float], std: list[float], **build: object
) -> torch.Tensor:
    """All tokens of timm's own model with the weights of `random:0`, on pixels normalized the textbook way."""
    import timm

    torch.manual_seed(0)
    vit = timm.create_model(model, pretrained=False, num_classes=0, **build).eval()
    x = tiles.permute(0, 3, 1, 2).float() / 255
    return vit.forward_features((x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1))


@pytest.mark.parametrize("model", [TINY, "vit_small_patch14_reg4_dinov2", "vit_base_patch16_clip_quickgelu_224"])
def test_features_are_timms_own_class_token_on_normalized_pixels(model: str) -> None:
    options = {"model": model, "weights": "random:0", "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "px": 224}
    build = {} if model == TINY else {"img_size": 224}
    with torch.inference_mode():
        want = reference_tokens(some_tiles(), model, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7], **build)[:, 0]
        got = build_module(spec(**options))(some_tiles())
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * float(want.std()))


def test_mean_pooling_takes_the_patch_tokens_alone() -> None:
    with torch.inference_mode():
        want = reference_tokens(some_tiles(), TINY, [0.5] * 3, [0.5] * 3)[:, 1:].mean(1)
        got = build_module(spec(model=TINY, weights="random:0", pooling="mean"))(some_tiles())
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


def test_random_weights_need_a_seed_and_are_the_same_for_the_same_one() -> None:
    one, same, other = (build_module(spec(model=TINY, weights=f"random:{s}")).state_dict() for s in (0, 0, 1))
    name = "network.vit.blocks.0.attn.qkv.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
    for seed in ("", "x", "²", "9" * 30):
        with pytest.raises(ConfigError, match="no seed"):
            build_module(spec(model=TINY, weights=f"random:{seed}"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_are_loaded_strictly(tmp_path: Path, suffix: str) -> None:
    built = build_module(spec(model=TINY, weights="random:3", pooling="mean"))
    state = built.network.vit.state_dict()
    file = tmp_path / f"weights{suffix}"
    save = (lambda s: save_file(s, file)) if suffix == ".safetensors" else (lambda s: torch.save(s, file))
    save({**state, "head.weight": torch.zeros(2, 192)})
    loaded = build_module(spec(model=TINY, weights=str(file), pooling="mean")).network.vit.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())
    save({k: v for k, v in state.items() if k != "norm.bias"} | {"extra": torch.zeros(1)})
    with pytest.raises(BackendError, match=r"missing norm.bias; unexpected extra"):
        build_module(spec(model=TINY, weights=str(file)))


def test_other_weights_pooling_or_statistics_change_what_features_are_stored_under(tmp_path: Path) -> None:
    base = spec(model=TINY, weights="random:0")
    assert model_digest(base) == model_digest(spec(model=TINY, weights="random:0"))
    others = [spec(model=TINY, weights="random:1"), spec(model=TINY, weights="random:0", pooling="mean")]
    others.append(spec(model=TINY, weights="random:0", std=(0.4, 0.5, 0.5)))
    assert len({model_digest(s) for s in (base, *others)}) == 4


def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BackendError) as e:
        locate(spec(model="lunit-s16").weights)
    assert "kras model fetch" in e.value.hint
    with pytest.raises(BackendError, match="no such weights file"):
        locate(spec(model=TINY, weights=str(tmp_path / "none.pth")).weights)


def test_a_preset_refuses_another_size_resolution_or_statistics() -> None:
    with pytest.raises(ConfigError, match=r"preset lunit-s16 was trained with 0\.5"):
        VIT.tile(VIT.options(model="lunit-s16", mpp=0.25))


def test_an_unknown_model_gets_suggestions() -> None:
    with pytest.raises(ConfigError) as e:
        VIT.tile(VIT.options(model="lunit-s61"))
    assert "lunit-s16" in e.value.hint


def test_the_declared_width_is_that_of_the_features() -> None:
    options = VIT.options(model="vit_tiny_patch16_224", weights="random:0", px=112)
    module = build_module(VIT.models(options)[0])
    with torch.inference_mode():
        features = module(torch.zeros(1, 112, 112, 3, dtype=torch.uint8))
    assert features.shape == (1, VIT.length(options))
    assert np.isfinite(features.numpy()).all()


def described_file(folder: Path, **changed: object) -> Path:
    """A file as `kras pretrain` writes it, with seeded random numbers."""
    import json

    import timm

    torch.manual_seed(5)
    vit = timm.create_model(TINY, num_classes=0, depth=2, img_size=112)
    facts = {"architecture": TINY, "arguments": {"depth": 2, "img_size": 112}, "px": 112, "mpp": 0.5, "dim": 192}
    facts |= {"mean": [0.7, 0.5, 0.6], "std": [0.2, 0.2, 0.2], "pooling": "cls", "licence": "CC0", **changed}
    file = folder / "own.safetensors"
    save_file(vit.half().state_dict(), file, {"kras_encoder": json.dumps(facts)})
    return file


def test_a_file_that_describes_itself_needs_no_model(tmp_path: Path) -> None:
    found = spec(weights=str(described_file(tmp_path)))
    assert found.transform["px"] == 112
    assert found.transform["mean"] == [0.7, 0.5, 0.6]
    assert found.weights.licence == "CC0"
    with torch.inference_mode():
        features = build_module(found)(some_tiles()[:, :112, :112])
    assert features.shape == (2, 192)
    assert found.transform_hash == spec(model=TINY, weights=str(tmp_path / "own.safetensors")).transform_hash
    folder = spec(weights=str(tmp_path))
    assert (folder.transform_hash, folder.weights.licence) == (found.transform_hash, "CC0"), "nor does its folder"


@pytest.mark.parametrize("options", [{"model": "vit_small_patch16_224"}, {"model": "lunit-s16"}, {"mpp": 0.25}])
def test_a_file_that_describes_itself_refuses_to_be_something_else(tmp_path: Path, options: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match=r"own|contains a"):
        spec(weights=str(described_file(tmp_path)), **options)


def test_weights_that_are_not_of_the_described_architecture_are_refused(tmp_path: Path) -> None:
    file = described_file(tmp_path, arguments={"depth": 3, "img_size": 112})
    with pytest.raises(BackendError, match=r"missing blocks\.2"):
        build_module(spec(weights=str(file)))


def test_a_damaged_description_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="description of the encoder is damaged"):
        spec(weights=str(described_file(tmp_path, mean=[0.5])))
    with pytest.raises(ConfigError, match="pooling max"):
        spec(weights=str(described_file(tmp_path, pooling="max")))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_network_that_is_no_vision_transformer_is_told(pooling: str) -> None:
    with pytest.raises(ConfigError, match="resnet18 is not a vision transformer"):
        build_module(spec(model="resnet18", weights="random:0", pooling=pooling))


def test_random_numbers_are_nobodys_work(tmp_path: Path) -> None:
    """Neither cited nor cautioned against as what the preset's own weights are."""
    for model in ("lunit-s16", "vit-mini"):
        made = spec(model=model, weights="random:0").weights
        assert (made.citation, made.caution, made.tcga) == ("", "", False)
    assert spec(model="vit-mini").weights.caution

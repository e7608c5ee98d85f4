"""Every preset: statistics as published, architecture built, exported and compared, files of other names converted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from kras_extractor_vit.network import spec_of
from kras_extractor_vit.presets import PRESETS, Preset
from kras_extractor_vit.published import to_timm
from kras_extractor_vit.transformer import create
from kras_plugins.errors import BackendError, ConfigError
from kras_plugins.host.manager import discover
from kras_plugins.models.export import build_module, export_onnx
from kras_plugins.models.repository import model_config

VIT = discover().find("extractor", "vit").record

LUNIT = ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BIOPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
HIBOU = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))

SCIENCE = {
    # name: dim, patch, statistics, license begins with, gated. From model cards, TRIDENT, slide2vec; not from the code.
    "lunit-s16": (384, 16, LUNIT, "Lunit", False),
    "lunit-s8": (384, 8, LUNIT, "Lunit", False),
    "kaiko-s16": (384, 16, HALF, "kaiko", False),
    "kaiko-s8": (384, 8, HALF, "kaiko", False),
    "kaiko-b16": (768, 16, HALF, "kaiko", False),
    "kaiko-b8": (768, 8, HALF, "kaiko", False),
    "kaiko-l14": (1024, 14, HALF, "kaiko", False),
    "phikon": (768, 16, IMAGENET, "Owkin", False),
    "phikon-v2": (1024, 16, IMAGENET, "Owkin", False),
    "uni": (1024, 16, IMAGENET, "CC-BY-NC-ND-4.0", True),
    "uni2-h": (1536, 14, IMAGENET, "CC-BY-NC-ND-4.0", True),
    "virchow": (2560, 14, IMAGENET, "Apache-2.0", True),
    "virchow2": (2560, 14, IMAGENET, "CC-BY-NC-ND-4.0", True),
    "h-optimus-0": (1536, 14, BIOPTIMUS, "Apache-2.0", True),
    "h-optimus-1": (1536, 14, BIOPTIMUS, "CC-BY-NC-ND-4.0", True),
    "h0-mini": (768, 14, BIOPTIMUS, "CC-BY-NC-ND-4.0", True),
    "gigapath": (1536, 16, IMAGENET, "Apache-2.0 with conditions", True),
    "hibou-b": (768, 14, HIBOU, "Apache-2.0", True),
    "hibou-L": (1024, 14, HIBOU, "Apache-2.0", True),
    "gpfm": (1024, 14, IMAGENET, "CC-BY-NC-ND-4.0", False),
    "midnight-12k": (3072, 14, HALF, "MIT", False),
    "openmidnight": (1536, 14, IMAGENET, "Apache-2.0", True),
}
WIDTH = 48


def spec(**options: object):  # type: ignore[no-untyped-def]
    return VIT.models(VIT.options(**options))[0]


def reduced(preset: Preset, **changes: object) -> Preset:
    """Two blocks of width 48, layer scales of one, so that a fault in a block is seen in the feature."""
    arguments = {**preset.arguments, "depth": 2, "embed_dim": WIDTH, "num_heads": 2}
    if "init_values" in arguments or "dinov2" in preset.timm:
        arguments["init_values"] = 1.0
    dim = WIDTH * (2 if preset.pooling == "cls+mean" else 1)
    return replace(preset, source="random:0", dim=dim, arguments=arguments, **changes)


def tiles(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", SCIENCE)
def test_a_preset_states_the_published_facts(name: str) -> None:
    dim, _, (mean, std), licence, gated = SCIENCE[name]
    preset = PRESETS[name]
    transform = spec(model=name).transform
    assert (tuple(transform["mean"]), tuple(transform["std"])) == (mean, std)
    assert (transform["px"], transform["mpp"]) == (224, 0.5)
    assert VIT.length(VIT.options(model=name)) == dim
    assert preset.licence.startswith(licence)
    assert preset.gated == gated
    assert preset.citation
    assert preset.weights.tcga is preset.tcga


def test_only_presets_whose_facts_were_read_lack_a_row_in_the_table() -> None:
    assert {n for n, p in PRESETS.items() if p.source.startswith("hf:")} == set(SCIENCE)


@pytest.mark.parametrize("name", SCIENCE)
def test_the_architecture_at_full_size_has_the_stated_width_patch_and_parameters(name: str) -> None:
    dim, patch, *_ = SCIENCE[name]
    preset = PRESETS[name]
    with torch.device("meta"):
        vit = create(preset)
    assert vit.num_features == (dim // 2 if preset.pooling == "cls+mean" else dim)
    assert vit.patch_embed.patch_size == (patch, patch)
    assert vit.patch_embed.grid_size == (224 // patch, 224 // patch)
    millions = sum(p.numel() for p in vit.parameters()) / 1e6
    assert preset.parameters is not None
    assert millions == pytest.approx(preset.parameters, rel=0.01)


def alike() -> dict[str, list[str]]:
    """Presets by the first one whose reduced network is the same, but for its seeded numbers and statistics."""
    groups: dict[str, list[str]] = {}
    with torch.device("meta"):
        for name in SCIENCE:
            preset = reduced(PRESETS[name])
            vit = create(preset)
            shapes = {k: tuple(v.shape) for k, v in vit.state_dict().items()}
            built = f"{vit} {shapes} {vit.no_embed_class} {vit.num_prefix_tokens} {preset.pooling}".replace(
                "1e-12", "1e-06"
            )
            groups.setdefault(built, []).append(name)
    return {names[0]: names for names in groups.values()}


@pytest.mark.parametrize("names", alike().values(), ids=lambda names: "=".join(names))
def test_every_architecture_exports_and_matches_pytorch(names: list[str], tmp_path: Path) -> None:
    name = names[0]
    made = spec_of(reduced(PRESETS[name]))
    export_onnx(made, tmp_path / "model.onnx")
    with torch.inference_mode():
        want = build_module(made)(torch.from_numpy(tiles())).numpy()
    got = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"tiles": tiles()})[0]
    assert got.shape == (3, *made.outputs[0].shape)
    assert want.std(axis=0).min() > 1e-3, "features must depend on the tile, or nothing was compared"
    np.testing.assert_allclose(got, want, atol=2e-4 * np.abs(want).max())


def test_class_token_and_mean_leave_registers_out() -> None:
    module = build_module(spec_of(reduced(PRESETS["virchow2"])))
    with torch.inference_mode():
        x = (
            torch.from_numpy(tiles(1)).permute(0, 3, 1, 2).float() / 255 - torch.tensor(IMAGENET[0]).view(1, 3, 1, 1)
        ) / (torch.tensor(IMAGENET[1]).view(1, 3, 1, 1))
        tokens = module.network.vit.forward_features(x)
        want = torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], dim=1)
        got = module(torch.from_numpy(tiles(1)))
    assert tokens.shape[1] == 1 + 4 + 256
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"model": "uni", "mpp": 0.25}, r"preset uni was trained with 0\.5"),
        ({"model": "virchow2", "mpp": 0.25}, r"preset virchow2 was trained with 0\.5 or 1\.0 or 2\.0"),
        ({"model": "phikon", "px": 256}, "preset phikon was trained with 224"),
        ({"model": "lunit-s8", "mean": IMAGENET[0]}, r"preset lunit-s8 was trained with \(0\.70322989"),
        ({"model": "midnight-12k", "std": (0.2, 0.2, 0.2)}, r"trained with \(0\.5, 0\.5, 0\.5\)"),
    ],
)
def test_what_a_preset_does_not_allow_is_refused_with_what_it_does(options: dict[str, object], allowed: str) -> None:
    with pytest.raises(ConfigError, match=allowed):
        VIT.tile(VIT.options(**options))


def test_an_allowed_resolution_changes_tile_and_transform_hash() -> None:
    assert VIT.tile(VIT.options(model="virchow2", mpp=1.0)).mpp == 1.0
    assert spec(model="virchow2", mpp=1.0).transform_hash != spec(model="virchow2").transform_hash


def test_another_pooling_changes_the_width() -> None:
    widths = {p: VIT.length(VIT.options(model="h0-mini", pooling=p)) for p in ("auto", "cls", "mean", "cls+mean")}
    assert widths == {"auto": 768, "cls": 768, "mean": 768, "cls+mean": 1536}
    assert VIT.length(VIT.options(model="midnight-12k", pooling="cls")) == 1536


# Names as in the files on the hub: transformers' ViTModel and Dinov2Model, documented in its conversion_mapping.py.
VIT_NAMES = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
DINOV2_NAMES = {"norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.output.dense"}
OUTER_NAMES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "reg_token": "embeddings.register_tokens",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}


def as_transformers_names_it(state: dict[str, torch.Tensor], swiglu: bool, old: bool) -> dict[str, torch.Tensor]:
    """A timm state dict as transformers would have saved it."""
    mlp = (
        {"mlp.fc1": "mlp.weights_in", "mlp.fc2": "mlp.weights_out"}
        if swiglu
        else {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    )
    inner = VIT_NAMES if old else {**DINOV2_NAMES, **mlp}
    found = {} if old else {"embeddings.mask_token": torch.zeros(1, WIDTH)}
    if "reg_token" in state:  # there the class token has a position of its own, here it was added
        state = {**state, "cls_token": state["cls_token"] - 0.25}
        positions = torch.cat([torch.full((1, 1, WIDTH), 0.25), state["pos_embed"]], dim=1)
        state["pos_embed"] = positions
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] != "blocks":
            stem = key if key in OUTER_NAMES else key.rpartition(".")[0]
            found[OUTER_NAMES[stem] + key[len(stem) :]] = value
            continue
        block, module, leaf = f"encoder.layer.{parts[1]}", ".".join(parts[2:-1]), parts[-1]
        if module == "attn.qkv":
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"{block}.attention.attention.{name}.{leaf}"] = part
        elif module in ("ls1", "ls2"):
            found[f"{block}.layer_scale{module[-1]}.lambda1"] = value
        else:
            found[f"{block}.{inner[module]}.{leaf}"] = value
    return found


@pytest.mark.parametrize("name", [n for n, p in PRESETS.items() if p.format.startswith("transformers")])
def test_files_published_for_transformers_load_strictly_and_give_the_same_features(name: str, tmp_path: Path) -> None:
    """The real weights were never run here; the map was compared with transformers' own modules (docs/how-to)."""
    preset = reduced(PRESETS[name])
    seeded = build_module(spec_of(replace(preset, pooling="mean")))
    swiglu = preset.arguments.get("mlp_layer") == "SwiGLUPacked" or preset.timm == "vit_giant_patch14_dinov2"
    state = as_transformers_names_it(seeded.network.vit.state_dict(), swiglu, preset.format == "transformers-vit")
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "model.safetensors")
    loaded = build_module(spec_of(replace(preset, pooling="mean", source=str(tmp_path))))
    with torch.inference_mode():
        x = torch.from_numpy(tiles(2))
        torch.testing.assert_close(loaded(x), seeded(x), rtol=1e-4, atol=1e-5)
    gone = next(k for k in state if k.endswith("attention.attention.key.bias"))
    save_file({k: v.contiguous() for k, v in state.items() if k != gone}, tmp_path / "model.safetensors")
    with pytest.raises(BackendError, match=r"missing blocks\.0\.attn\.qkv\.bias"):
        build_module(spec_of(replace(preset, source=str(tmp_path))))


def test_a_file_that_has_timms_names_already_is_taken_as_it_is(tmp_path: Path) -> None:
    """Else the class token of a model with registers would get its position twice."""
    preset = reduced(PRESETS["hibou-b"])
    seeded = build_module(spec_of(replace(preset, pooling="mean")))
    save_file(seeded.network.vit.state_dict(), tmp_path / "model.safetensors")
    loaded = build_module(spec_of(replace(preset, pooling="mean", source=str(tmp_path))))
    torch.testing.assert_close(loaded.state_dict(), seeded.state_dict(), rtol=0, atol=0)


def test_positions_published_for_larger_tiles_are_interpolated_as_transformers_does() -> None:
    """A linear ramp over the grid stays one: bicubic weights reproduce it away from the edge."""
    vit = build_module(spec_of(reduced(PRESETS["midnight-12k"]))).network.vit
    side = 32
    ramp = torch.linspace(0.5 / side, 1 - 0.5 / side, side)
    positions = torch.cat([torch.zeros(1), ramp.repeat_interleave(side)])[None, :, None].expand(1, -1, WIDTH)
    state = {"embeddings.position_embeddings": positions, "embeddings.cls_token": torch.zeros(1, 1, WIDTH)}
    placed = to_timm(state, vit, "transformers-dinov2")["pos_embed"]
    assert placed.shape == (1, 257, WIDTH)
    want = torch.linspace(0.5 / 16, 1 - 0.5 / 16, 16).repeat_interleave(16).reshape(16, 16)
    torch.testing.assert_close(placed[0, 1:, 0].reshape(16, 16)[2:-2], want[2:-2], rtol=0, atol=1e-3)


def test_dinov2s_own_names_are_taken_for_openmidnight(tmp_path: Path) -> None:
    preset = reduced(PRESETS["openmidnight"])
    seeded = build_module(spec_of(replace(preset, pooling="mean")))
    state = dict(seeded.network.vit.state_dict())
    original = {
        "mask_token": torch.zeros(1, WIDTH),
        "register_tokens": state.pop("reg_token"),
        "cls_token": state.pop("cls_token") - 0.5,
        "pos_embed": torch.cat([torch.full((1, 1, WIDTH), 0.5), state.pop("pos_embed")], dim=1),
        **{k.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): v for k, v in state.items()},
    }
    torch.save(original, tmp_path / "teacher_checkpoint_load.pt")
    loaded = build_module(spec_of(replace(preset, pooling="mean", source=str(tmp_path))))
    with torch.inference_mode():
        x = torch.from_numpy(tiles(2))
        torch.testing.assert_close(loaded(x), seeded(x), rtol=1e-4, atol=1e-5)


def test_a_file_made_for_larger_tiles_is_resampled_as_timm_does_for_kaiko_l14(tmp_path: Path) -> None:
    from timm.layers import resample_abs_pos_embed

    preset = reduced(PRESETS["kaiko-l14"])
    state = dict(build_module(spec_of(replace(preset, pooling="mean"))).network.vit.state_dict())
    state["pos_embed"] = torch.randn(1, 37 * 37, WIDTH, generator=torch.Generator().manual_seed(0))
    save_file(state, tmp_path / "model.safetensors")
    loaded = build_module(spec_of(replace(preset, source=str(tmp_path))))
    want = resample_abs_pos_embed(state["pos_embed"], [16, 16], num_prefix_tokens=0)
    torch.testing.assert_close(loaded.network.vit.pos_embed.data, want)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("run",))

    torch.save({"x": Harm()}, tmp_path / "w.pth")
    with pytest.raises(BackendError, match="not a file of tensors alone"):
        build_module(spec(model="lunit-s16", weights=str(tmp_path / "w.pth")))


def test_the_table_in_the_docs_is_that_of_the_presets() -> None:
    from kras_extractor_vit.table import markdown

    file = Path(__file__).resolve().parents[2] / "docs" / "models" / "encoders.md"
    assert file.read_text(encoding="utf-8") == markdown(), (
        "run: python -m kras_extractor_vit.table > docs/models/encoders.md"
    )


@pytest.mark.parametrize(("model", "largest"), [("lunit-s16", 512), ("vit-mini", 512), ("uni", 64)])
def test_small_encoders_may_be_given_large_batches_in_process_and_not_on_a_server(model: str, largest: int) -> None:
    spec = VIT.models(VIT.options(model=model))[0]
    assert spec.max_batch == largest
    assert model_config(spec, digest="").max_batch_size == 64

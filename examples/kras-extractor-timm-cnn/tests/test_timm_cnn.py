"""What kras relies on, and that features are those of timm itself."""

from pathlib import Path

import kras_extractor_timm_cnn as plugin
import numpy as np
import timm
import torch
from safetensors.torch import save_file

from kras_plugins.testing import conformance

test_contract = conformance(plugin, options={"extractor:timm_cnn": {"weights": "random:0"}})


def test_features_are_those_that_timm_computes_with_the_file_it_published_head_included(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = timm.create_model("resnet18").eval()  # as in timm's file: with the head
    file = tmp_path / "model.safetensors"
    save_file(whole.state_dict(), file)
    tiles = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    (spec,) = plugin.models(plugin.TimmCnnOptions(weights=str(file)))
    config = timm.get_pretrained_cfg("resnet18.a1_in1k")
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (config.mean, config.std))
    with torch.inference_mode():
        scaled = (torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255 - mean) / std
        wanted = whole.forward_head(whole.forward_features(scaled), pre_logits=True)
        torch.testing.assert_close(spec.build(file)(torch.from_numpy(tiles)), wanted, rtol=1e-4, atol=1e-4)


def test_licence_and_place_of_the_published_weights_are_those_that_timm_states() -> None:
    for model, dim in plugin.DIM.items():
        config = timm.get_pretrained_cfg(f"{model}.a1_in1k")
        weights = plugin.published(model)
        assert weights.licence.lower() == config.license
        assert config.hf_hub_id == f"timm/{model}.a1_in1k"
        assert weights.source == f"hf:{config.hf_hub_id}/model.safetensors"
        assert timm.create_model(model, num_classes=0).num_features == dim

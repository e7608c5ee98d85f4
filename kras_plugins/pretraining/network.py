"""Student and teacher: a transformer of timm and lightly's projection head; and the loss between them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from lightly.loss import DINOLoss
from lightly.models.modules.heads import DINOProjectionHead
from torch import Tensor

from kras_plugins.errors import ConfigError
from kras_plugins.pretraining.recipe import Recipe


class Network(torch.nn.Module):
    """Views float32[n 3 h w] of any sizes -> (class tokens, head's outputs), float32[n d] and float32[n k] a view."""

    def __init__(self, backbone: Any, head: torch.nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, views: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Views of one size that follow each other share a pass."""
        passes = [torch.cat(list(same)) for _, same in groupby(views, key=lambda v: v.shape[-1])]
        tokens = torch.cat([self.backbone.forward_features(x)[:, 0] for x in passes])
        n = len(views[0])
        return torch.split(tokens, n), torch.split(self.head(tokens), n)


def architecture(recipe: Recipe) -> dict[str, Any]:
    """The arguments that timm builds the encoder with, besides its name; ConfigError where the recipe is invalid."""
    import timm

    if not timm.is_model(recipe.model):
        near = timm.list_models("vit_*")[:3]
        raise ConfigError(f"model={recipe.model}: not a model of timm", f"such as {', '.join(near)}")
    if "img_size" in recipe.arguments:
        raise ConfigError("arguments: img_size is set by px", "leave it out and set px")
    config = timm.get_pretrained_cfg(recipe.model, allow_unregistered=False)
    native = config.input_size[-1] if config is not None else 224
    return {**recipe.arguments, **({} if recipe.px == native else {"img_size": recipe.px})}


def build(recipe: Recipe) -> Network:
    """A network with the first weights of the recipe's seed.

    Raises ConfigError where it cannot be built, has no class token, or views are not a whole number of its patches.
    """
    import timm

    arguments = architecture(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        try:
            backbone = timm.create_model(
                recipe.model, pretrained=False, num_classes=0, **{**arguments, "dynamic_img_size": True}
            )
        except Exception as e:  # timm has no error of its own for arguments that do not fit
            raise ConfigError(f"model={recipe.model}: {e}", "use a vision transformer, and arguments it knows") from e
        if not getattr(backbone, "has_class_token", False):
            raise ConfigError(f"model={recipe.model} has no class token", "use one that has, such as a plain ViT")
        _check_views(recipe, backbone.patch_embed.patch_size[0])
        hidden, bottleneck, outputs = recipe.head
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)  # of lightly's head
            head = DINOProjectionHead(backbone.num_features, hidden, bottleneck, outputs)
    return Network(backbone, head)


def _check_views(recipe: Recipe, patch: int) -> None:
    """ConfigError where views do not consist of whole patches."""
    for name in ("global_px", *(["local_px"] if recipe.local_views else [])):
        px = getattr(recipe, name)
        if px % patch:
            raise ConfigError(
                f"{name}={px}: patches of {recipe.model} have {patch} px",
                f"such as {name}={max(1, px // patch) * patch}",
            )


@torch.no_grad()
def follow(teacher: Network, student: Network, momentum: float) -> None:
    """The teacher becomes `momentum` times itself plus the rest of the student."""
    for mine, new in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(new, 1 - momentum)


class StepLoss(DINOLoss):  # type: ignore[misc] # mypy does not follow lightly
    """lightly's DINO loss whose center moves once per step, however many parts a batch is cut into."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(
            recipe.head[2], student_temp=recipe.student_temperature, center_momentum=recipe.center_momentum
        )
        self._seen: list[Tensor] = []

    def update_center(self, teacher_out: Tensor) -> None:
        """Keep the outputs until the step ends."""
        self._seen.append(teacher_out)

    def end_step(self) -> None:
        """Move the center by all outputs of the step, over all processes."""
        super().update_center(torch.cat(self._seen, dim=1))
        self._seen.clear()

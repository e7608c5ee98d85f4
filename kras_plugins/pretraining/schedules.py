"""What changes from step to step: learning rate, weight decay, the teacher's momentum and temperature."""

from __future__ import annotations

from dataclasses import dataclass

from lightly.utils.scheduler import cosine_schedule, cosine_warmup_schedule

from kras_plugins.pretraining.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """The values of one step."""

    lr: float
    weight_decay: float
    momentum: float
    temperature: float
    last_layer_frozen: bool


def settings_at(recipe: Recipe, step: int) -> StepSettings:
    """Values of step 0 … steps - 1 (Caron et al. 2021, section 3.2 and their code).

    Learning rate: linear rise, then half a cosine. Weight decay and momentum: half a cosine. Temperature of the
    teacher: linear over the same warm-up, then constant.
    """
    steps, warmup = recipe.steps, round(recipe.warmup * recipe.steps)
    first, last = recipe.teacher_temperature
    return StepSettings(
        lr=cosine_warmup_schedule(step, steps, recipe.lr, recipe.lr_end, warmup, 0.0),
        weight_decay=cosine_schedule(step, steps, *recipe.weight_decay),
        momentum=cosine_schedule(step, steps, *recipe.momentum),
        temperature=first + (last - first) * min(1.0, step / warmup if warmup else 1.0),
        last_layer_frozen=step < round(recipe.frozen * steps),
    )

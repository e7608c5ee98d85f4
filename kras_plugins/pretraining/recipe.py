"""Everything that decides the result of a pre-training: architecture, views, schedules, seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from kras_plugins.contracts.base import Options
from kras_plugins.errors import ConfigError
from kras_plugins.files.regular import parse_toml, read_text

Triple = tuple[float, float, float]
Range = tuple[float, float]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[int, Field(ge=1)]


class Recipe(Options):
    """One pre-training, DINO as Caron et al., ICCV 2021 (arXiv 2104.14294); steps count updates of the weights."""

    model_config = ConfigDict(allow_inf_nan=False)

    model: str = Field("vit_small_patch16_224", description="a vision transformer of timm, by name")
    arguments: dict[str, Any] = Field({}, description='arguments for timm besides the name, such as {"depth": 6}')
    px: int = Field(224, ge=16, le=1024, description="side of the tiles the encoder is made for, in pixels")
    mpp: float = Field(0.5, gt=0, description="their resolution in µm per pixel")
    mean: Triple = Field((0.70, 0.55, 0.68), description="mean of each channel in [0, 1], which is subtracted")
    std: tuple[Positive, Positive, Positive] = Field(
        (0.21, 0.25, 0.20), description="standard deviation of each channel, the divisor"
    )
    read_px: int = Field(256, ge=16, description="side of the tile that all views of a sample are cut from")
    global_px: int = Field(224, ge=16, description="side of the two global views, in pixels")
    global_scale: Range = Field((0.4, 1.0), description="their share of the tile's area, least and most")
    local_px: int = Field(96, ge=16, description="side of the local views, in pixels")
    local_scale: Range = Field((0.05, 0.4), description="their share of the tile's area, least and most")
    local_views: int = Field(6, ge=0, description="number of local views")
    stain: float = Field(1.0, ge=0, description="strength of the stain change, 0 for none")
    steps: int = Field(50_000, ge=1, description="updates of the weights")
    batch: int = Field(256, ge=2, description="samples per step, over all processes")
    accumulate: int = Field(1, ge=1, description="parts that a process cuts its share of a batch into")
    lr: float = Field(5e-4, gt=0, description="highest learning rate")
    lr_end: float = Field(1e-6, ge=0, description="learning rate at the end")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: tuple[NotNegative, NotNegative] = Field(
        (0.04, 0.4), description="weight decay at the start and at the end"
    )
    momentum: tuple[Share, Share] = Field((0.996, 1.0), description="momentum of the teacher's average, start and end")
    teacher_temperature: tuple[Positive, Positive] = Field(
        (0.04, 0.07), description="temperature of the teacher, start and after warm-up"
    )
    student_temperature: float = Field(0.1, gt=0, description="temperature of the student")
    center_momentum: float = Field(0.9, ge=0, le=1, description="momentum of the teacher's center; 1 is no centering")
    clip: float = Field(3.0, gt=0, description="largest norm of a step's gradient")
    frozen: float = Field(0.02, ge=0, le=1, description="share of the steps in which the last layer stays as it is")
    head: tuple[Width, Width, Annotated[int, Field(ge=2)]] = Field(
        (2048, 256, 16384), description="widths of the head: hidden, bottleneck, outputs (prototypes)"
    )
    precision: Literal["auto", "bf16", "f32"] = Field("auto", description="arithmetic; auto: bf16 where available")
    seed: int = Field(0, ge=0, description="seed of the first weights and of all samples")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("global_scale", "local_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} is not a range within 0 and 1")
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} cannot be cut into {self.accumulate} equal parts")
        return self


def read_recipe(file: Path | None, settings: Sequence[str], **given: Any) -> Recipe:
    """A recipe from a TOML file, `KEY=VALUE` settings (VALUE is JSON or plain text) and what is `given`, in rising
    precedence.

    Raises ConfigError naming the invalid setting.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values |= parse_toml(read_text(file))
        except (OSError, ValueError) as e:  # neither TOML nor even text
            raise ConfigError(f"{file}: {e}", "a recipe is a TOML file of KEY = VALUE lines") from e
    for setting in settings:
        key, mark, text = setting.partition("=")
        if not mark:
            raise ConfigError(f"--set {setting}: no `=`", "write --set KEY=VALUE")
        try:
            values[key] = json.loads(text)
        except (ValueError, RecursionError):
            values[key] = text
    values |= {k: v for k, v in given.items() if v is not None}
    try:
        return Recipe(**values)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"])) or "recipe"
        raise ConfigError(
            f"pre-training recipe, {where}: {first['msg']}", f"settings are: {', '.join(Recipe.model_fields)}"
        ) from e

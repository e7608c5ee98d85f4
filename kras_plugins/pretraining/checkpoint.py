"""The whole state of a training in one safetensors file, from which it resumes bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kras_plugins.errors import ConfigError
from kras_plugins.pretraining.network import Network, StepLoss
from kras_plugins.pretraining.recipe import Recipe

_KEY = "kras_pretrain"


@dataclass(frozen=True, kw_only=True)
class Training:
    """What changes during training. Randomness has no state: everything is drawn from the seed and the step number."""

    student: Network
    teacher: Network
    loss: StepLoss
    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """All state tensors by name; those of the optimizer as `optimizer.PARAMETER.NAME`."""
        parts: dict[str, torch.nn.Module] = {"student": self.student, "teacher": self.teacher, "loss": self.loss}
        found = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{k}": v for k, v in state.items()}
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned."""
        for part, module in (("student", self.student), ("teacher", self.teacher), ("loss", self.loss)):
            module.load_state_dict(
                {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
            )
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".", 2)
                state.setdefault(int(number), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def facts(recipe: Recipe, corpus: str) -> dict[str, Any]:
    """What must be the same for a training to resume."""
    return {"recipe": recipe.model_dump(mode="json"), "corpus": corpus, "torch": torch.__version__}


def write(file: Path, training: Training, same: Mapping[str, Any], progress: Mapping[str, float]) -> None:
    """Write the state so that the file is either complete or the previous one."""
    write_safetensors(file, training.tensors(), {_KEY: json.dumps({"same": same, "progress": progress})})


def read(file: Path, training: Training, same: Mapping[str, Any]) -> dict[str, float]:
    """Restore the state and return the progress it was written with.

    Raises ConfigError where the file is damaged or was made with another recipe, other tiles or another torch.
    """
    try:
        with safe_open(file, "pt") as f:
            told = json.loads((f.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, ValueError) as e:
        raise ConfigError(f"{file}: not a checkpoint: {e}", "delete it to start again") from e
    before = told.get("same", {})
    for key, value in same.items():
        if before.get(key) != value:
            raise ConfigError(
                f"{file}: was made with another {key}{_difference(before.get(key), value)}",
                "give the same command again to resume, or delete the checkpoint to start again",
            )
    training.restore(tensors)
    progress: dict[str, float] = told["progress"]
    return progress


def write_safetensors(file: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write to a temporary name beside `file`, then rename."""
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata))
    os.replace(part, file)


def _difference(old: object, new: object) -> str:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return ""
    changed = [f"{k} {old.get(k)}, now {new[k]}" for k in new if old.get(k) != new[k]]
    return f": {'; '.join(changed)}"

"""A torch network on its way to a ModelSpec: seeded at random by name or filled strictly from a file; normalized."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from kras_plugins.errors import BackendError, ConfigError

Network = TypeVar("Network")


class Normalized(torch.nn.Module):
    """uint8[n h w 3] -> `network` of float32[n 3 h w]: each channel, in [0, 1], minus `mean`, divided by `std`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, network: torch.nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.network = network
        # In 0..255, so that the graph has one subtraction and one product.
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1) * 255)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """The network's output for a batch of tiles."""
        out: torch.Tensor = self.network((tiles.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std)
        return out


def seeded(source: str, make: Callable[[], Network]) -> Network:
    """What `make` builds with torch's generator seeded by `random:SEED`, or by 0 for any other source.

    The caller's generator is left as it was. Raises ConfigError for `random:` without a whole number.
    """
    seed = source.removeprefix("random:") if source.startswith("random:") else "0"
    if not re.fullmatch("[0-9]{1,20}", seed) or int(seed) >= 2**64:
        raise ConfigError(f"weights {source}: no seed", "write random:0")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return make()


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file or of a torch file; no code in it is ever run.

    From a torch file, the entry `state_dict` or `model` is taken if there is one. Raises BackendError where it contains
    anything but tensors.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors: dict[str, torch.Tensor] = load_file(file)
            return tensors
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as e:  # neither library has an error of its own for files that contain something else
        raise BackendError(
            f"{file}: not a file of tensors alone: {e}", "use the safetensors file, or convert it"
        ) from e
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping):
            state = state.get(wrapper, state)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BackendError(
            f"{file}: not a file of tensors alone, by their names", "use the safetensors file, or convert it"
        )
    return dict(state)


def load_strictly(
    network: torch.nn.Module, state: Mapping[str, torch.Tensor], *, file: Path, what: str, hint: str
) -> None:
    """Load `state`, whose names and shapes must be the network's, no more and no less; no integers for its floats.

    Raises BackendError saying that `file` does not contain the weights of `what`, and what differs.
    """
    own = network.state_dict()
    problems = [f"missing {k}" for k in own if k not in state]
    problems += [f"unexpected {k}" for k in state if k not in own]
    problems += [
        f"{k} is {tuple(state[k].shape)}, not {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    problems += [
        f"{k} contains {str(state[k].dtype).removeprefix('torch.')}"
        for k in own
        if k in state and own[k].is_floating_point() and not state[k].is_floating_point()
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise BackendError(f"{file}: not the weights of {what}: {'; '.join(problems[:5])}{more}", hint)
    network.load_state_dict(dict(state))

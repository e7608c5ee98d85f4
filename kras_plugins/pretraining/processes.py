"""One process or several, as torch's launcher (`torchrun`) started them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from kras_plugins.errors import ConfigError

_PATIENCE = datetime.timedelta(days=1)
"""How long a process waits for the others: the first of them may look for tiles in thousands of slides."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """This process' number, how many there are, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process; all must call this."""
        if self.size == 1:
            return flag
        told = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told)

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def crew() -> Iterator[Crew]:
    """The processes of this training: those of WORLD_SIZE where torchrun set it, else this one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if size == 1:
        yield Crew(rank=0, size=1, device=device)
        return
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    except (ValueError, RuntimeError) as e:
        raise ConfigError(f"cannot join the other processes: {e}", "start with torchrun --nproc-per-node N …") from e
    try:
        yield Crew(rank=dist.get_rank(), size=size, device=device)
    finally:
        dist.destroy_process_group()

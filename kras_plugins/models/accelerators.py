"""Which accelerators PyTorch can use on this machine, and why it uses none although an NVIDIA GPU is present."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from kras_plugins.errors import described

CUDA_BUILD = "install PyTorch's CUDA build: on Linux the one on PyPI, elsewhere as described at https://pytorch.org"
NEWER_DRIVER = "install or update the NVIDIA driver (`nvidia-smi` says which), or a PyTorch for an older CUDA"


@dataclass(frozen=True)
class Card:
    """One NVIDIA GPU that PyTorch can use: its number among the visible ones, name and compute capability."""

    index: int
    name: str
    capability: tuple[int, int]

    @property
    def device(self) -> str:
        """PyTorch's name of it."""
        return f"cuda:{self.index}"


@dataclass(frozen=True, kw_only=True)
class Accelerators:
    """What PyTorch sees. `trouble`: why it cannot use this machine's NVIDIA GPUs, "" where it can or there are none.

    `remedy` goes with `trouble`; `mps` is Apple's GPU, `xpu` the names of Intel's.
    """

    torch: str = ""
    cards: tuple[Card, ...] = ()
    mps: bool = False
    xpu: tuple[str, ...] = ()
    trouble: str = ""
    remedy: str = ""


def likely() -> bool:
    """Whether to look with PyTorch, which takes seconds to import: False only where there can be no accelerator."""
    ways = ("/dev/dxg", "/dev/dri", "/dev/kfd")  # Windows' to its Linux, Intel's and AMD's
    return not sys.platform.startswith("linux") or _nvidia() or any(Path(way).exists() for way in ways)


def look() -> Accelerators:
    """Ask PyTorch. GPUs that CUDA_VISIBLE_DEVICES hides are not reported as missing."""
    import torch

    cards, trouble, remedy = _cards()
    xpu = tuple(torch.xpu.get_device_name(i) for i in range(torch.xpu.device_count())) if _has_xpu() else ()
    return Accelerators(
        torch=torch.__version__,
        cards=cards,
        mps=torch.backends.mps.is_available(),
        xpu=xpu,
        trouble=trouble,
        remedy=remedy,
    )


def _has_xpu() -> bool:
    import torch

    return bool(torch.xpu.is_available())


def _cards() -> tuple[tuple[Card, ...], str, str]:
    """The usable cards; if there are none although an NVIDIA GPU is present, why not and what to do."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the driver here and raises the same below
        try:
            if torch.cuda.is_available():
                found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
                return tuple(Card(i, p.name, (p.major, p.minor)) for i, p in enumerate(found)), "", ""
            if not _nvidia() or os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
                return (), "", ""
            if torch.version.cuda is None:
                return (), f"PyTorch {torch.__version__} is built without CUDA", CUDA_BUILD
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as e:  # torch raises both for a driver that it cannot use
            return (), f"PyTorch {torch.__version__}: {described(e)}", NEWER_DRIVER
    return (), f"PyTorch {torch.__version__} sees no GPU", NEWER_DRIVER


def _nvidia() -> bool:
    """Whether the system shows an NVIDIA GPU."""
    on_linux = sys.platform.startswith("linux")
    return any(Path("/dev").glob("nvidia[0-9]*")) if on_linux else shutil.which("nvidia-smi") is not None

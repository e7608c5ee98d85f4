"""The log of a training's steps: one JSON line each, and TensorBoard where asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kras_plugins.errors import ConfigError
from kras_plugins.pretraining.dino import Report


@contextmanager
def step_log(file: Path, board: Path | None) -> Iterator[Callable[[Report], None]]:
    """A function that adds a step to `file` and, where named, to the TensorBoard folder `board`.

    Raises ConfigError where TensorBoard is absent or its folder cannot be written.
    """
    with ExitStack() as stack:
        lines = stack.enter_context(file.open("a", encoding="utf-8", newline="\n"))
        writer = _board(board) if board else None
        if writer is not None:
            stack.callback(writer.close)

        def keep(r: Report) -> None:
            scalars: dict[str, Any] = {
                "loss": r.loss, "tiles_per_s": r.tiles_per_s, "waiting": r.waiting, **asdict(r.settings),
                **(asdict(r.health) if r.health else {}),
            }  # fmt: skip
            lines.write(json.dumps({"step": r.step, **scalars}) + "\n")
            if r.health is not None:
                lines.flush()
            if writer is not None:
                for name, value in scalars.items():
                    writer.add_scalar(name, float(value), r.step)

        yield keep


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as e:
        raise ConfigError("--tensorboard needs the package tensorboard", "pip install 'kras[pretrain]'") from e
    try:
        return SummaryWriter(str(folder))
    except OSError as e:
        raise ConfigError(f"--tensorboard {folder}: {e.strerror}", "name a folder") from e

"""Weights files that state how to use them, in the safetensors metadata that `kras pretrain` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from kras_extractor_vit.presets import Pooling, Preset
from kras_plugins import ConfigError

KEY = "kras_encoder"


def described(file: Path) -> Preset | None:
    """The preset that a weights file describes, None if it describes none (or is absent, which loading reports).

    Raises ConfigError if the description is damaged.
    """
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as f:
            text = (f.metadata() or {}).get(KEY)
    except (OSError, SafetensorError) as e:
        raise ConfigError(f"{file}: not a safetensors file: {e}", "copy it again, or name another file") from e
    if text is None:
        return None
    try:
        told: dict[str, Any] = json.loads(text)
        if told["pooling"] not in get_args(Pooling):
            raise ValueError(f"pooling {told['pooling']}")
        return Preset(
            name=file.stem,
            timm=str(told["architecture"]),
            source=str(file),
            licence=str(told["licence"]),
            dim=int(told["dim"]),
            px=int(told["px"]),
            mpp=float(told["mpp"]),
            mean=_triple(told["mean"]),
            std=_triple(told["std"]),
            pooling=told["pooling"],
            citation=f"{told.get('method', '')}; {json.dumps(told.get('data', {}))}",
            arguments=told["arguments"],
        )
    except (KeyError, TypeError, ValueError) as e:
        raise ConfigError(f"{file}: its description of the encoder is damaged: {e!r}", "write the file again") from e


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue

"""manifest.json: everything needed to know what was done, and to repeat it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from kras_plugins.data import split_extractor
from kras_plugins.host.manager import Registry
from kras_plugins.store import file_sha256
from kras_plugins.urls import redacted_values, without_credentials

SCHEMA_VERSION = 1

_LIBRARIES = (
    "kras", "numpy", "scipy", "scikit-learn", "scikit-image", "lightgbm", "torch", "timm", "openvino", "onnxruntime",
    "openslide-python", "openslide-bin", "tifffile",
)  # fmt: skip

_SECRETS = ("token", "password", "secret", "key")


def build_manifest(
    *,
    command: Sequence[str],
    registry: Registry,
    config: Mapping[str, Any],
    began: datetime,
    timings: Mapping[str, float],
    failures: Sequence[Mapping[str, str]],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of one call as JSON values.

    `command`: the words of the call; `facts`: the call's own (parts, slides, seed, bundle).
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "command": _without_secrets(command),
        "started": began.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": redacted(config),
        "versions": {"python": platform.python_version(), **library_versions()},
        "platform": f"{platform.system()} {platform.machine()}",
        "plugins": [f"{p.id} {p.version}" for p in registry.provided],
        "broken_plugins": [b.facts() for b in registry.broken],
        **redacted_values(facts),
        "failures": redacted_values(failures),
        "timings": {k: round(v, 3) for k, v in timings.items()},
    }


def stated_parts(facts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a manifest or a bundle states of extractors and profiler: by `extractor`, or `extractor@vit` for several."""
    named = {key: value for key, value in facts.items() if split_extractor(key)[0] in ("extractor", "profiler")}
    return {key: value for key, value in named.items() if isinstance(value, Mapping)}


def output_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of the named files of a folder that exist."""
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}


def library_versions() -> dict[str, str]:
    """The versions of the libraries that results depend on, by distribution; `absent` if one is not installed."""
    installed = {}
    for name in _LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "absent"
    return installed


def _without_secrets(words: Sequence[str]) -> list[str]:
    """Arguments with the value of any `…token=…`-like option left out, and the credentials of addresses."""
    kept = []
    for word in map(without_credentials, words):
        name, equals, _ = word.rpartition("=")
        kept.append(f"{name}=***" if equals and _is_secret(name) else word)
    return kept


def redacted(value: Any, name: str = "") -> Any:
    """Settings with the value of any `…token…`-like key left out, at any depth, and the credentials of addresses."""
    if isinstance(value, Mapping):
        return {k: redacted(v, str(k)) for k, v in value.items()}
    return "***" if name and _is_secret(name) and value else redacted_values(value)


def _is_secret(name: str) -> bool:
    return any(secret in name.lower().rsplit(".", 1)[-1] for secret in _SECRETS)

"""Find and fingerprint the weights of a model on this machine; nothing is downloaded here (`hub.py` does)."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from kras_plugins.contracts.model import ModelSpec, Weights
from kras_plugins.errors import BackendError
from kras_plugins.files.regular import regular
from kras_plugins.store import file_sha256

_USUAL = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = {".safetensors", ".bin", ".pth", ".pt", ".onnx"}


def locate(weights: Weights) -> Path | None:
    """The weights file on this machine; None for `random:` and `builtin`.

    Raises BackendError when it is missing, saying how to get it. Never downloads.
    """
    if is_seeded(weights):
        return None
    if weights.source.startswith("hf:"):
        from huggingface_hub import try_to_load_from_cache

        repo, file = hub_parts(weights)
        found = try_to_load_from_cache(repo, file, revision=weights.revision)
        if isinstance(found, str):
            return Path(found)
        raise BackendError(
            f"the weights {weights.source} are not on this machine",
            "fetch them with `kras model fetch`, give a local file or folder with -o extractor.vit.weights=PATH, or "
            "try the small encoder that is here: -o extractor.vit.model=vit-mini",
        )
    path = Path(weights.source).expanduser()
    if not path.exists():
        raise BackendError(f"{path}: no such weights file", "check the path of the `weights` option")
    return regular(_in_folder(path) if path.is_dir() else path, error=BackendError)


def _in_folder(folder: Path) -> Path:
    """The weights file of a folder as the hub serves it: the one under its usual name, else the only one there is."""
    found = sorted(f for f in folder.iterdir() if f.suffix in _SUFFIXES)
    usual = [f for name in _USUAL for f in found if f.name == name]
    if usual or len(found) == 1:
        return (usual or found)[0]
    raise BackendError(
        f"{folder}: {'no weights file' if not found else ', '.join(f.name for f in found)}",
        f"name the file itself, or a folder with {' or '.join(_USUAL)}",
    )


def digest(weights: Weights) -> str:
    """What identifies the weights: sha256 of the file, or the source itself for `random:` and `builtin`.

    Raises BackendError when the file is missing or its sha256 is not the one that the preset or the hub states.
    """
    path = locate(weights)
    if path is None:
        return weights.source
    found = _file_digest(path)
    stated = weights.sha256 or (hub_digest(path) if weights.source.startswith("hf:") else None)
    if stated and found != stated:
        raise BackendError(
            f"{path}: sha256 is {found}, expected {stated}", "the file is damaged or another one; fetch it again"
        )
    return found


def model_digest(spec: ModelSpec) -> str:
    """sha256 (hex) over all that decides a model's results: name, version, tensors, weights and transform."""
    tensors = [[t.name, t.dtype, list(t.shape)] for t in (*spec.inputs, *spec.outputs)]
    facts = [spec.name, spec.version, tensors, digest(spec.weights), spec.transform_hash]
    return hashlib.sha256(json.dumps(facts, separators=(",", ":")).encode()).hexdigest()


def is_seeded(weights: Weights) -> bool:
    """Whether the numbers come from code (`random:SEED` or `builtin`) and not from a file."""
    return weights.source == "builtin" or weights.source.startswith("random:")


def hub_digest(path: Path) -> str | None:
    """The sha256 that the hub states for a file in its cache (blobs are named by it), None where it states none."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def is_present(weights: Weights) -> bool:
    """Whether the weights can be loaded without a download."""
    try:
        locate(weights)
    except BackendError:
        return False
    return True


def hub_parts(weights: Weights) -> tuple[str, str]:
    """(OWNER/NAME, FILE) of `hf:` weights; BackendError where the source is not of that form."""
    parts = weights.source.removeprefix("hf:").split("/", 2)
    if len(parts) < 3:
        raise BackendError(f"weights {weights.source}: not of the form hf:OWNER/NAME/FILE", "or give a local file")
    return f"{parts[0]}/{parts[1]}", parts[2]


_DIGESTS: dict[tuple[str, int, int], str] = {}


def _file_digest(path: Path) -> str:
    # Gigabyte files are hashed several times in a run; size and modification time decide whether to read one again.
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _DIGESTS:
        _DIGESTS[key] = file_sha256(path)
    return _DIGESTS[key]

"""Find, fetch and fingerprint the weights of a model; a licence is shown and accepted before any download."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from platformdirs import user_config_path

from kras_plugins.contracts.model import ModelSpec, Weights
from kras_plugins.errors import BackendError
from kras_plugins.store import file_sha256, write_atomic


def locate(weights: Weights) -> Path | None:
    """The weights file on this machine; None for `random:` and `builtin`.

    Raises BackendError when it is missing, saying how to get it. Never downloads.
    """
    if is_seeded(weights):
        return None
    if weights.source.startswith("hf:"):
        from huggingface_hub import try_to_load_from_cache

        repo, file = _hub_parts(weights)
        found = try_to_load_from_cache(repo, file, revision=weights.revision)
        if isinstance(found, str):
            return Path(found)
        raise BackendError(
            f"the weights {weights.source} are not on this machine",
            "fetch them with `kras model fetch`, or give a local file with -o extractor.vit.weights=FILE",
        )
    path = Path(weights.source).expanduser()
    if not path.is_file():
        raise BackendError(f"{path}: no such weights file", "check the path of the `weights` option")
    return path


def digest(weights: Weights) -> str:
    """What identifies the numbers: sha256 of the file, or the source itself for `random:` and `builtin`.

    Raises BackendError when the file is missing or its sha256 is not the stated one.
    """
    path = locate(weights)
    if path is None:
        return weights.source
    found = _file_digest(path)
    if weights.sha256 and found != weights.sha256:
        raise BackendError(
            f"{path}: sha256 is {found}, expected {weights.sha256}",
            "the file is damaged or another one; fetch it anew",
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


def is_present(weights: Weights) -> bool:
    """Whether the weights can be loaded without a download."""
    try:
        locate(weights)
    except BackendError:
        return False
    return True


def fetch(weights: Weights) -> Path | None:
    """Download hub weights whose licence was accepted; returns the file, None where nothing needs fetching.

    The hub's token, mirror and offline variables are honored by huggingface_hub. Raises BackendError without consent
    or without network.
    """
    if not weights.source.startswith("hf:"):
        return locate(weights)
    if not has_consent(weights):
        raise BackendError(
            f"the licence of {weights.source} ({weights.licence}) was not accepted",
            "run `kras model fetch` and read it, or pass --accept-licence",
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, file = _hub_parts(weights)
    try:
        path = Path(hf_hub_download(repo, file, revision=weights.revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as e:
        gated = " It is gated: ask for access on its page and set HF_TOKEN." if weights.gated else ""
        raise BackendError(
            f"cannot fetch {weights.source}: {type(e).__name__}",
            f"check the network, HF_ENDPOINT and HF_TOKEN, or copy the file here and give its path.{gated}",
        ) from e
    digest(weights)
    return path


def has_consent(weights: Weights) -> bool:
    """Whether this user accepted this licence for this source before."""
    return _consents().get(weights.source) == weights.licence


def record_consent(weights: Weights) -> None:
    """Remember that this user accepted the licence."""
    file = _consent_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps({**_consents(), weights.source: weights.licence}, indent=1))


def _consents() -> dict[str, str]:
    file = _consent_file()
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _consent_file() -> Path:
    return Path(os.environ.get("KRAS_CONFIG", user_config_path("kras"))) / "accepted-licences.json"


def _hub_parts(weights: Weights) -> tuple[str, str]:
    parts = weights.source.removeprefix("hf:").split("/", 2)
    if len(parts) < 3:
        raise BackendError(f"weights {weights.source}: not of the form hf:OWNER/NAME/FILE", "or give a local file")
    return f"{parts[0]}/{parts[1]}", parts[2]


_DIGESTS: dict[tuple[str, int, int], str] = {}


def _file_digest(path: Path) -> str:
    # Gigabyte files are asked for several times in a run; size and time of change tell whether one must be read again.
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _DIGESTS:
        _DIGESTS[key] = file_sha256(path)
    return _DIGESTS[key]

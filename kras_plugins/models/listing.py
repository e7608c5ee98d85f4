"""The facts about a weights file: terms, size, digest, whether it is here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kras_plugins.contracts.model import Weights
from kras_plugins.errors import BackendError
from kras_plugins.models.hub import has_consent
from kras_plugins.models.weights import digest, is_present, locate


def weights_facts(weights: Weights, warn: Callable[[str], None]) -> dict[str, Any]:
    """Facts about one file as JSON values; a damaged file is reported to `warn`."""
    present = is_present(weights)
    path: Path | None = None
    sha256 = weights.sha256 or None
    if present and (path := locate(weights)) is not None:
        try:
            sha256 = digest(weights)
        except BackendError as e:
            warn(str(e))
    return {
        "weights": weights.source,
        "licence": weights.licence,
        "gated": weights.gated,
        "present": present,
        "accepted": has_consent(weights),
        "tcga": weights.tcga,
        "parameters": weights.parameters,
        "bytes": None if path is None else path.stat().st_size,
        "sha256": sha256,
        "citation": weights.citation,
    }

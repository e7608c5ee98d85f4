"""Download weights from the hub: the license accepted first, resumed where it was cut off, verified by sha256.

Token (HF_TOKEN, `hf auth login`), mirror (HF_ENDPOINT), offline switch (HF_HUB_OFFLINE) and cache folder (HF_HOME) are
huggingface_hub's own. It drops a partial file when it is killed; gigabytes over a slow line must not start over, so
the bytes are kept here beside its cache and handed over when they are complete.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from kras_plugins.contracts.model import Weights
from kras_plugins.errors import BackendError, ConfigError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.models.weights import digest, hub_digest, hub_parts, locate
from kras_plugins.store import file_sha256, user_config


def fetch(weights: Weights, mirror: str | None = None) -> Path | None:
    """Download hub weights whose license was accepted; returns the file, None where nothing needs fetching.

    `mirror` is used instead of HF_ENDPOINT. Raises BackendError without consent, network, access or disk space, and
    where the bytes are not those that the hub or the preset states: these are removed.
    """
    if not weights.source.startswith("hf:"):
        return locate(weights)
    if not has_consent(weights):
        raise BackendError(
            f"the license of {weights.source} ({weights.licence}) was not accepted",
            "run `kras model fetch` and read it, or pass --accept-license",
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    repo, file = hub_parts(weights)
    try:
        _complete_blob(repo, file, weights.revision, mirror)
        path = Path(hf_hub_download(repo, file, revision=weights.revision, endpoint=mirror))
    except (OSError, ValueError, HTTPError) as e:  # the hub's errors are OSErrors, those of its transport HTTPErrors
        raise _told(e, weights, mirror) from e
    _verify(path, weights)
    return path


def page(weights: Weights, mirror: str | None = None) -> str:
    """Address of the model's page, where its license is read and access asked for; empty for local files."""
    if not weights.source.startswith("hf:"):
        return ""
    from huggingface_hub import constants

    return f"{mirror or constants.ENDPOINT}/{hub_parts(weights)[0]}"


def has_consent(weights: Weights) -> bool:
    """Whether this user has already accepted this license for this source."""
    return _consents().get(weights.source) == weights.licence


def record_consent(weights: Weights) -> None:
    """Remember that this user accepted the license."""
    file = _consent_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps({**_consents(), weights.source: weights.licence}, indent=1))


def _complete_blob(repo: str, file: str, revision: str, mirror: str | None) -> None:
    """Put the whole file where huggingface_hub looks for it, resuming what an earlier call left.

    Raises what huggingface_hub raises. Without network, `hf_hub_download` uses a file that is there already.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    if isinstance(try_to_load_from_cache(repo, file, revision=revision), str):
        return
    url = hf_hub_url(repo, file, revision=revision, endpoint=mirror)
    facts = get_hf_file_metadata(url)
    if facts.etag is None or facts.size is None:
        return  # a server that states neither: huggingface_hub reports it
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    blob, part = blobs / facts.etag, blobs / f"{facts.etag}.kras-part"
    headers = build_hf_headers()
    if urlparse(facts.location).netloc != urlparse(url).netloc:
        headers.pop("authorization", None)  # storage behind a redirect must not get the token
    with WeakFileLock(blobs / f"{facts.etag}.kras-lock"):
        if blob.exists():
            return
        with part.open("ab") as out:
            http_get(facts.location, out, resume_size=out.tell(), headers=headers, expected_size=facts.size)
        part.replace(blob)


def _verify(path: Path, weights: Weights) -> None:
    stated = weights.sha256 or hub_digest(path)
    if stated is None:
        digest(weights)
        return
    found = file_sha256(path)
    if found != stated:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise BackendError(
            f"{weights.source}: the sha256 of the download is {found}, not {stated} as stated",
            "it was removed; fetch it again, from another mirror if it happens twice",
        )


def _told(e: Exception, weights: Weights, mirror: str | None) -> BackendError:
    """What went wrong, in words, and what to do."""
    from huggingface_hub import errors

    cause: Any = e.__cause__ if isinstance(e, errors.LocalEntryNotFoundError) and e.__cause__ else e
    status = getattr(getattr(cause, "response", None), "status_code", None)
    where, copied = page(weights, mirror), "or copy the file here and give its path with -o extractor.vit.weights=PATH"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return BackendError(f"{weights.source} is not here and HF_HUB_OFFLINE is set", f"unset it, {copied}")
    if isinstance(cause, errors.RevisionNotFoundError):
        return BackendError(f"{weights.source}: no revision {weights.revision!r}", f"see the branches at {where}")
    if isinstance(cause, errors.GatedRepoError) or status in (401, 403):
        return BackendError(
            f"{weights.source}: the hub gives no access ({status or 'gated'})",
            f"ask for access at {where}, then set HF_TOKEN to a token of that account, {copied}",
        )
    if isinstance(cause, errors.EntryNotFoundError | errors.RepositoryNotFoundError) or status == 404:
        return BackendError(f"{weights.source}: no such file on the hub", f"look at {where}; a mirror may lack it")
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return BackendError(
            f"{weights.source}: no space left for it",
            "free disk space or set HF_HOME to a larger disk; what was downloaded is kept and resumed",
        )
    return BackendError(
        f"cannot fetch {weights.source}: {type(cause).__name__}: {cause}",
        f"check the network and HF_ENDPOINT; what was downloaded is kept; {copied}",
    )


def _consents() -> dict[str, str]:
    file = _consent_file()
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as e:
        raise ConfigError(f"{file}: no longer a list of accepted licenses: {e}", "delete it and accept again") from e


def _consent_file() -> Path:
    return user_config() / "accepted-licences.json"

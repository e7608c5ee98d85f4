"""The bundles that a service scores with, by the digests that cases record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.errors import BackendError, ConfigError, UsageError
from kras_plugins.learning.content import CONTENT
from kras_plugins.learning.seal import check_seal
from kras_plugins.learning.signature import read_signature, require_trusted
from kras_plugins.service.settings import ServiceSettings

if TYPE_CHECKING:
    from kras_plugins.study.session import Session


@dataclass(frozen=True, kw_only=True)
class Bundles:
    """Folders by digest. `shown`: digests of those whose results are shown, the locked one first; `silent`: others."""

    folders: Mapping[str, Path]
    shown: tuple[str, ...]
    silent: tuple[str, ...] = ()


def open_bundles(settings: ServiceSettings) -> Bundles:
    """Check each bundle against its seal, and its signature if the settings demand one.

    Raises UsageError for a folder that is not a bundle, ConfigError if none is named or one is named twice, and
    StoreError for a bundle that is not whole, or that no trusted key signed although one must.
    """
    if not settings.bundles:
        raise ConfigError("no bundle was named", "name the `bundle` folder that `kras run` wrote")
    folders: dict[str, Path] = {}
    for folder in (*settings.bundles, *settings.silent):
        digest = _digest(folder, settings.require_signature)
        if digest in folders:
            raise ConfigError(f"{folder} and {folders[digest]} are the same bundle", "name each bundle once")
        folders[digest] = folder.absolute()
    digests = tuple(folders)
    shown = len(settings.bundles)
    return Bundles(folders=folders, shown=digests[:shown], silent=digests[shown:])


def require_usable(session: Session, folders: Iterable[Path]) -> None:
    """Open each bundle, and what makes its inputs, as scoring does: a failure here would fail every case.

    Raises ConfigError for a bundle that was made with other weights or plug-ins than this machine has, and what
    `open_bundle` does. A model server that does not answer raises nothing here: it is waited for later.
    """
    from kras_plugins.study.apply import open_bundle, open_bundle_parts

    for folder in folders:
        with suppress(BackendError), open_bundle_parts(session, open_bundle(session, folder)):
            pass


def _digest(folder: Path, signed: bool) -> str:
    if not (folder / CONTENT).is_file():
        raise UsageError(f"{folder}: not a bundle", "give the `bundle` folder that `kras run` wrote")
    digest = check_seal(folder)
    signature = read_signature(folder, digest)
    if signed:
        require_trusted(folder, signature)
    return digest

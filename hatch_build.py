"""What the package index shows: the README with links that lead there from anywhere, and the project's addresses.

Whoever publishes names the repository, as the release workflow does:
`KRAS_REPOSITORY=https://HOST/OWNER/NAME make dist`.
Without it links stay relative, and there are no addresses: no address is made up.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PICTURE = re.compile(r"(!\[[^\]]*\]\()(?!\w+:)([^)]+)\)")
_LINK = re.compile(r"(\]\()(?!\w+:|#)([^)]+)\)")


def absolute(text: str, repository: str, version: str) -> str:
    """Markdown whose links lead into the repository as it was at the tag of a version; pictures are files there."""
    pictured = _PICTURE.sub(rf"\g<1>{repository}/raw/v{version}/\g<2>)", text)
    return _LINK.sub(rf"\g<1>{repository}/blob/v{version}/\g<2>)", pictured)


def addresses(repository: str, version: str) -> dict[str, str]:
    """By the label that the package index shows."""
    pages = f"{repository}/blob/v{version}"
    return {
        "Documentation": f"{pages}/docs/index.md",
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{pages}/CHANGELOG.md",
        "Security": f"{pages}/SECURITY.md",
    }


class Shown(MetadataHookInterface):
    """Called by hatchling at each build; `metadata` is the table `project` of pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in what is dynamic: `readme` and `urls`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository, version = os.environ.get("KRAS_REPOSITORY", "").rstrip("/"), metadata["version"]
        if repository:
            text = absolute(text, repository, version)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = addresses(repository, version) if repository else {}

"""The names of patients and slides wherever people or logs may see them."""

from __future__ import annotations

from kras_plugins.service.settings import ServiceSettings
from kras_plugins.study.pseudonyms import pseudonym, read_key


class Naming:
    """The pseudonyms of a service, or the names themselves if pseudonyms are off.

    They are those of `kras predict --pseudonyms` with the same file, which is made if it is missing.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._key = None if settings.names is None else read_key(settings.names)

    def shown(self, name: str) -> str:
        """What stands for a name."""
        return name if self._key is None else pseudonym(self._key, name)

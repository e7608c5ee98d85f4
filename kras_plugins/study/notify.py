"""How a running study reports: to the Notify it is given, and to nothing else."""

from __future__ import annotations

from typing import Protocol

from kras_plugins.errors import KrasError


class Notify(Protocol):
    """What a study reports to: an `execution.Progress` and more. Called from several threads; returns are not used."""

    def begin(self, slides: int) -> None:
        """This many slides will be processed."""

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """Tiles of one stage of one slide."""

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """A slide is done or set aside."""

    def step(self, what: str, done: int, total: int) -> None:
        """This many steps of a stage of known length are done: fits, pages."""

    def note(self, text: str) -> None:
        """Something worth knowing, from a plug-in or a model."""

    def warn(self, text: str, trace: str = "") -> None:
        """Something that went wrong without costing a result; `trace`: where in the code, for debugging."""


class Silent:
    """A Notify that reports nothing."""

    def begin(self, slides: int) -> None:
        """Say nothing."""

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """Say nothing."""

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """Say nothing."""

    def step(self, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str, trace: str = "") -> None:
        """Say nothing."""


SILENT = Silent()


def duration(seconds: float) -> str:
    """A length of time as people say it: `less than a minute`, `12 min`, `2.5 h`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"

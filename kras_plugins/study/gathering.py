"""An output folder that gathers patients or slides over several calls: nothing is dropped, each call has an entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from kras_plugins.errors import ConfigError
from kras_plugins.manifest import output_digests, redacted
from kras_plugins.store import safe_name
from kras_plugins.study.identity import FEATURES, IDENTITY, clear, mapping, named_after, told_differences
from kras_plugins.study.outputs import FAILURES, MANIFEST, PREDICTIONS, make_folder, read_json, write_json

SCHEMA_VERSION = 2
_LOCK = ".adding"
"""Two calls may add to one folder at once; each waits while the other writes."""


@dataclass(frozen=True)
class Gathering:
    """`what`: what all of the folder has in common, as JSON values: bundle and prevalence, or plug-in and options."""

    folder: Path
    what: Mapping[str, Any]

    @classmethod
    def opened(cls, folder: Path, what: Mapping[str, Any], *, overwrite: bool = False) -> Self:
        """Take the folder; ConfigError where it holds something else, unless that may be replaced."""
        make_folder(folder)
        found = cls(folder, redacted(what))
        if overwrite:
            clear(folder)
        strange = [name for name in (IDENTITY, PREDICTIONS, FEATURES) if (folder / name).exists()]
        if found._manifest() is None and strange:
            raise ConfigError(
                f"{folder} holds {', '.join(strange)} of another kind of call, or of an earlier kras",
                "choose another --out, or replace it with --overwrite",
            )
        found._refuse_others()
        return found

    def refuse_other_slides(self, asked: Mapping[str, Sequence[str]]) -> None:
        """Raise ConfigError for a patient who is there with other slides than this call asks for."""
        for entry in self.calls():
            for patient, slides in mapping(entry.get("patients")).items():
                now = asked.get(patient, slides)
                if sorted(now) != sorted(slides):
                    raise ConfigError(
                        f"{self.folder} holds patient {patient} with {', '.join(slides)}, now {', '.join(now)}",
                        "score all slides of a patient in one call, into another --out",
                    )

    def refuse_changed_slides(self, slides: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise ConfigError for a slide that is there with another content. `slides`: their facts in a manifest."""
        for entry in self.calls():
            for name, facts in mapping(entry.get("slides")).items():
                if name in slides and slides[name]["fingerprint"] != mapping(facts).get("fingerprint"):
                    raise ConfigError(
                        f"{self.folder} holds results of another slide named {name}",
                        "give it another name, or choose another --out",
                    )

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Tables are read and written by one call at a time; what another has added meanwhile must fit, too."""
        with FileLock(self.folder / _LOCK):
            self._refuse_others()
            yield

    def record(self, entry: Mapping[str, Any], names: Iterable[str]) -> None:
        """Add the entry of a call, with the files that it wrote: those named after one of `names`, slides or patients.

        The last thing that a call does, within `adding`.
        """
        own = {safe_name(name) for name in names}
        files = [f.relative_to(self.folder) for f in sorted(self.folder.rglob("*")) if f.is_file()]
        written = [f.as_posix() for f in files if named_after(f.parts[0], own)]
        write_json(
            self.folder / MANIFEST,
            {
                "schema_version": SCHEMA_VERSION,
                **self.what,
                "calls": [*self.calls(), {**entry, "outputs": written}],
                "outputs": output_digests(self.folder, (PREDICTIONS, FAILURES, FEATURES)),
            },
        )

    def calls(self) -> list[dict[str, Any]]:
        """The entries of earlier calls."""
        return [dict(mapping(entry)) for entry in (self._manifest() or {}).get("calls", ())]

    def _refuse_others(self) -> None:
        before = self._manifest() or self.what
        differing = told_differences({k: v for k, v in before.items() if k in self.what}, self.what)
        if differing:
            raise ConfigError(
                f"{self.folder} holds results of another call: {differing}",
                "choose another --out, or replace them with --overwrite",
            )

    def _manifest(self) -> dict[str, Any] | None:
        """The folder's manifest, None where there is none or where it is of another kind."""
        file = self.folder / MANIFEST
        found = read_json(file) if file.is_file() else {}
        return found if isinstance(found.get("calls"), list) else None

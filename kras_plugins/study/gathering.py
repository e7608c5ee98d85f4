"""An output folder that gathers patients or slides over several calls: nothing is lost, and each call has an entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from kras_plugins.errors import ConfigError
from kras_plugins.files.portable import portable
from kras_plugins.manifest import output_digests, redacted
from kras_plugins.store import safe_name
from kras_plugins.study.identity import FEATURES, IDENTITY, PATIENTS, clear, mapping, named_after, told_differences
from kras_plugins.study.outputs import FAILURES, MANIFEST, MONITOR, PREDICTIONS, make_folder, read_json, write_json

SCHEMA_VERSION = 2
_LOCK = ".adding"
"""Two calls may add to one folder at once; each waits while the other writes."""


Stamp = tuple[int, int, int]
"""Inode, time of change and size of a file: they change when it is written again."""


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """`what`: what all in the folder has in common, as JSON values: bundle and prevalence, or plug-in and options.

    `names`: slides and patients of this call, by which files are named; `before`: files of such names that existed when
    the call began. They may be the slides themselves, so they are not outputs of the call.
    """

    folder: Path
    what: Mapping[str, Any]
    names: frozenset[str]
    before: Mapping[str, Stamp]

    @classmethod
    def opened(cls, folder: Path, what: Mapping[str, Any], names: Iterable[str], *, overwrite: bool = False) -> Self:
        """Claim the folder for a call with these names. Raises ConfigError if it has other content that must stay."""
        make_folder(folder)
        if overwrite:
            clear(folder)
        own = frozenset(map(safe_name, names))
        found = cls(folder=folder, what=portable(redacted(what), folder), names=own, before=_stamps(folder, own))
        strange = [name for name in (IDENTITY, PREDICTIONS, FEATURES) if (folder / name).exists()]
        if found._manifest() is None and strange:
            raise ConfigError(
                f"{folder} contains {', '.join(strange)} of another kind of call, or of an earlier kras",
                "choose another --out, or replace it with --overwrite",
            )
        found._refuse_others()
        return found

    def refuse_other_slides(self, asked: Mapping[str, Sequence[str]]) -> None:
        """Raise ConfigError for a patient who is already there, but with other slides than in this call."""
        for entry in self.calls():
            for patient, slides in mapping(entry.get("patients")).items():
                now = asked.get(patient, slides)
                if sorted(now) != sorted(slides):
                    raise ConfigError(
                        f"{self.folder} contains patient {patient} with {', '.join(slides)}, now {', '.join(now)}",
                        "score all slides of a patient in one call, into another --out",
                    )

    def refuse_changed_slides(self, slides: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise ConfigError for a slide that is already there with different content. `slides`: facts in a manifest."""
        for entry in self.calls():
            for name, facts in mapping(entry.get("slides")).items():
                if name in slides and slides[name]["fingerprint"] != mapping(facts).get("fingerprint"):
                    raise ConfigError(
                        f"{self.folder} contains results of another slide named {name}",
                        "give it another name, or choose another --out",
                    )

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Let one call at a time read and write tables; what another has added meanwhile must fit, too."""
        with FileLock(self.folder / _LOCK):
            self._refuse_others()
            yield

    def wrote(self, name: str) -> bool:
        """Whether an earlier call wrote a file of this name."""
        return any(name in (call.get("outputs") or ()) for call in self.calls())

    def record(self, entry: Mapping[str, Any], also: Iterable[str] = ()) -> None:
        """Add the entry of a call with the files it wrote: new ones named after its slides or patients, and `also`.

        This is the last step of a call, within `adding`. A call that was given again and did the same, for example
        because it was killed when it had just ended, has one entry.
        """
        now = _stamps(self.folder, self.names)
        written = [name for name, stamp in now.items() if self.before.get(name) != stamp]
        new = {**portable(entry, self.folder), "outputs": [*written, *also]}
        write_json(
            self.folder / MANIFEST,
            {
                "schema_version": SCHEMA_VERSION,
                **self.what,
                "calls": [*(call for call in self.calls() if call != new), new],
                "outputs": output_digests(self.folder, (PREDICTIONS, FAILURES, MONITOR, FEATURES, PATIENTS)),
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
                f"{self.folder} contains results of another call: {differing}",
                "choose another --out, or replace them with --overwrite",
            )

    def _manifest(self) -> dict[str, Any] | None:
        """The folder's manifest, None if it is missing or of another kind."""
        file = self.folder / MANIFEST
        found = read_json(file) if file.is_file() else {}
        return found if isinstance(found.get("calls"), list) else None


def _stamps(folder: Path, names: frozenset[str]) -> dict[str, Stamp]:
    """The files of a folder that are named after one of the names, or lie in a folder named so."""
    tops = [top for top in sorted(folder.iterdir()) if named_after(top.name, names)]
    files = [file for top in tops for file in (top, *sorted(top.rglob("*"))) if file.is_file()]
    stats = {file.relative_to(folder).as_posix(): file.stat() for file in files}
    return {name: (s.st_ino, s.st_mtime_ns, s.st_size) for name, s in stats.items()}
